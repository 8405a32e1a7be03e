"""Two hosts on one machine: network namespaces behind a bridge. Needs root and iproute2."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BRIDGE = "10.213.77.1"
HOSTS = {"sgmri-one": "10.213.77.11", "sgmri-two": "10.213.77.12"}


def can_make_hosts() -> bool:
    return os.geteuid() == 0 and shutil.which("ip") is not None


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def remove() -> None:
    """Remove bridge and hosts, or what a run that was killed has left of them."""
    for number, name in enumerate(HOSTS):
        # The link first: a namespace that still has a process goes later than its name, and its link with it
        for arguments in (("link", "del", f"sgmri-v{number}"), ("netns", "del", name)):
            subprocess.run(["ip", *arguments], check=False, capture_output=True)
    subprocess.run(["ip", "link", "del", "sgmri-br"], check=False, capture_output=True)


@contextmanager
def network() -> Iterator[None]:
    """Make a bridge and two hosts on it."""
    remove()
    try:
        ip("link", "add", "sgmri-br", "type", "bridge")
        ip("addr", "add", f"{BRIDGE}/24", "dev", "sgmri-br")
        ip("link", "set", "sgmri-br", "up")
        for number, (name, address) in enumerate(HOSTS.items()):
            ip("netns", "add", name)
            ip("link", "add", f"sgmri-v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"sgmri-v{number}", "master", "sgmri-br", "up")
            for arguments in (("addr", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
                ip("-n", name, *arguments)
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        remove()


def on_host(name: str, config: Path) -> list[str]:
    """Return the command that runs a reading worker on a host; its name is the host's, also in the journal."""
    serve = f"{sys.executable} -m plugin.cli serve worker --queues reading --config {config}"
    return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", f"hostname {name} && exec {serve}"]
