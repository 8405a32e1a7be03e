"""The receivers that are timed beside each other, and the folders that they store to."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plugin.parts import free_port
from plugin.settings import load

BASE = "storescp"
ORTHANC = "Orthanc"
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
_BARE = """
import sys, time
from pathlib import Path
from dicom_io.receiver.listener import Receiver
from dicom_io.scp import Callbacks
from dicom_io.spool import Spool
from sgmri.settings import Listener, Peer

port, folder, durability = sys.argv[1:]
settings = Listener(port=int(port), durability=durability, peers=(Peer(ae_title="SENDER"),), min_free_bytes=1)
spool = Spool(Path(folder), synced=durability != "none")
Receiver(settings, spool, Callbacks(stored=lambda instance: None, committed=lambda result: None)).start()
time.sleep(3600)
"""

Command = Callable[[int, Path], list[str]]


def _sgmri(**listener: str) -> Command:
    def command(port: int, folder: Path) -> list[str]:
        keys = "\n".join(f'{key} = "{value}"' for key, value in listener.items())
        config = folder / "sgmri.toml"
        config.write_text(
            f"""
            [listener]
            port = {port}
            min_free_bytes = 1
            {keys}
            [[listener.peers]]
            ae_title = "SENDER"
            [storage]
            state_dir = "{folder}"
            [series]
            quiet_period_s = 3600.0
            [broker]
            url = "redis://127.0.0.1:1/0"
            """
        )
        load(config)  # a mistake here would look like a receiver that does not start
        return [sys.executable, "-m", "plugin.cli", "serve", "listener", "--config", str(config)]

    return command


def _bare(durability: str) -> Command:
    return lambda port, folder: [sys.executable, "-c", _BARE, str(port), str(folder / "spool"), durability]


def _storescp(port: int, folder: Path) -> list[str]:
    return ["storescp", "--fork", "--output-directory", str(folder), str(port)]


def _storescp_bit_preserving(port: int, folder: Path) -> list[str]:
    return ["storescp", "+B", *_storescp(port, folder)[1:]]


def _orthanc(port: int, folder: Path) -> list[str]:
    config = folder / "orthanc.json"
    settings = {"DicomPort": port, "HttpServerEnabled": False, "StorageDirectory": str(folder / "db"), "Plugins": []}
    config.write_text(json.dumps({**settings, "IndexDirectory": str(folder / "db"), "DicomAet": "SGMRI"}))
    return [shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin") or "Orthanc", str(config)]


def _pynetdicom(port: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-aet", "SGMRI", "-od", str(folder), "-q"]


RECEIVERS: dict[str, Command] = {
    BASE: _storescp,
    "storescp +B": _storescp_bit_preserving,
    ORTHANC: _orthanc,
    "pynetdicom app": _pynetdicom,
    "sgmri strict": _sgmri(receiver="own", durability="strict"),
    "sgmri journal": _sgmri(receiver="own", durability="journal"),
    "sgmri none": _sgmri(receiver="own", durability="none"),
    "sgmri pynetdicom": _sgmri(receiver="pynetdicom", durability="strict"),
    "bare strict": _bare("strict"),
    "bare journal": _bare("journal"),
    "bare none": _bare("none"),
}


STATES = ("worn", "fresh")


@contextmanager
def folder_in(root: Path, state: str) -> Iterator[Path]:
    """Give an empty folder to store to, on a disk in one of :data:`STATES`.

    worn: what was stored is deleted at once, beside what comes next; fresh: it is written out, and stays with the root.
    """
    if state == "worn":
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    else:
        yield Path(tempfile.mkdtemp(dir=root))
        os.sync()


@contextmanager
def receiving(name: str, folder: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Run a receiver that stores to a folder; give port and process."""
    port = free_port()
    process = subprocess.Popen(
        RECEIVERS[name](port, folder), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(port, process)
        yield port, process
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit(f"the receiver did not start: {process.args!r}")
            time.sleep(0.1)


def cpu_ms(pid: int) -> float:
    """Return the processor time of a process, of its children that have ended, and of those that it has."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime (proc(5))
    spent_ms = ticks * 1000 / os.sysconf("SC_CLK_TCK")
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread, or a child, that has just ended
            spent_ms += sum(cpu_ms(int(child)) for child in path.read_text().split())
    return spent_ms
