"""The suite against real peers on the loopback interface; as a program, with a report of each.

    scripts/test-network [DIRECTORY [PEER...]]

A report says what a peer does as it is set up here; a failed check is no verdict on a product.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import trustme

from conformance.network.run import run
from conformance.network.session import Setup, Tls
from conformance.report import Report, html, junit, markdown
from dicom_io.network import Destination, echo
from plugin.parts import free_port, orthanc_config
from plugin.processes import Processes
from sgmri.errors import PeerUnavailable
from sgmri.settings import Peer
from sgmri.settings_tls import ListenerTls
from tests import receivers

CALLER = "SUITE"
_PATH = f"/usr/sbin:/usr/bin:/usr/local/bin:{Path(sys.executable).parent}"
_READY_S = 60.0
_STUCK_S = 3.0
"""How long peers of ours, and those that can be told, let a connection be stuck."""


@dataclass(frozen=True, kw_only=True)
class RealPeer:
    """A peer that can be started.

    Parameters
    ----------
    title
        What its report is called.
    program
        What must be installed.
    roles
        What it is tested as.
    start
        Runs it on a port, told where we listen.
    """

    title: str
    program: str
    roles: frozenset[str]
    start: Callable[[Path, int, int], "Iterator[Running]"]

    @property
    def is_here(self) -> bool:
        """Whether it is installed."""
        return shutil.which(self.program, path=_PATH) is not None


@dataclass(frozen=True, kw_only=True)
class Running:
    """A peer that runs."""

    ae_title: str
    port: int
    tls: Tls | None = None


def _own(kind: str) -> Callable[[Path, int, int], Iterator[Running]]:
    def start(directory: Path, port: int, our_port: int) -> Iterator[Running]:
        peers = (Peer(ae_title=CALLER),)
        timeouts = {"network_timeout_s": _STUCK_S, "request_timeout_s": _STUCK_S}
        with receivers.running(kind, directory / "spool", peers=peers, port=port, **timeouts):
            yield Running(ae_title="SGMRI", port=port)

    return start


def _own_tls(directory: Path, port: int, our_port: int) -> Iterator[Running]:
    tls = certificates(directory)
    secure = ListenerTls(
        certificate=str(directory / "peer.pem"), key=str(directory / "peer.key"), ca=str(tls.ca), port=port
    )
    timeouts = {"network_timeout_s": _STUCK_S, "request_timeout_s": _STUCK_S}
    with receivers.running("own", directory / "spool", peers=(Peer(ae_title=CALLER),), tls=secure, **timeouts):
        yield Running(ae_title="SGMRI", port=port, tls=tls)


def _program(directory: Path, port: int, ae_title: str, *command: str, tls: Tls | None = None) -> Iterator[Running]:
    with Processes(directory) as processes:
        processes.start("peer", command, env={"TCP_NODELAY": "1"}, cwd=directory)
        _wait(ae_title, port, is_plain=tls is None)
        yield Running(ae_title=ae_title, port=port, tls=tls)


def _wait(ae_title: str, port: int, *, is_plain: bool) -> None:
    to = Destination(ae_title=ae_title, host="127.0.0.1", port=port, calling_ae_title=CALLER, timeout_s=5.0)
    ends_at = time.monotonic() + _READY_S
    while is_plain:
        try:
            echo(to)
        except PeerUnavailable:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.2)
        else:
            return
    time.sleep(1.0)  # over TLS the suite itself finds out


_STORESCP = ("storescp", "--fork", "+xa", "-ts", "3", "-ta", "3", "-aet", "STORESCP")


def _storescp(directory: Path, port: int, our_port: int) -> Iterator[Running]:
    return _program(directory, port, "STORESCP", *_STORESCP, "-od", str(directory), str(port))


def _storescp_tls(directory: Path, port: int, our_port: int) -> Iterator[Running]:
    tls = certificates(directory)
    secure = ("+tls", str(directory / "peer.key"), str(directory / "peer.pem"), "+cf", str(tls.ca))
    return _program(directory, port, "STORESCP", *_STORESCP, "-od", str(directory), *secure, str(port), tls=tls)


def certificates(directory: Path) -> Tls:
    """Make an authority, certificates for both sides, and two that must be refused."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    issued = {
        "peer": authority.issue_cert("localhost"),
        "ours": authority.issue_cert("localhost"),
        "stranger": stranger.issue_cert("localhost"),
        "expired": authority.issue_cert(
            "localhost", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2020, 1, 2, tzinfo=UTC)
        ),
    }
    for name, certificate in issued.items():
        certificate.private_key_pem.write_to_path(directory / f"{name}.key")
        for place, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(directory / f"{name}.pem", append=place > 0)
    refused = tuple((directory / f"{name}.pem", directory / f"{name}.key") for name in ("stranger", "expired"))
    return Tls(ca=directory / "ca.pem", certificate=directory / "ours.pem", key=directory / "ours.key", refused=refused)


def _dcmqrscp(directory: Path, port: int, our_port: int) -> Iterator[Running]:
    (directory / "db").mkdir()
    config = directory / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nsuite = ({CALLER}, 127.0.0.1, {our_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {directory / 'db'} RW (1000, 4096mb) ANY\nAETable END\n",
        encoding="ascii",
    )
    return _program(directory, port, "QRSCP", "dcmqrscp", "-ta", "3", "-c", str(config))


def _orthanc(directory: Path, port: int, our_port: int) -> Iterator[Running]:
    config = orthanc_config(directory, port, free_port(), {CALLER: our_port})
    modalities = config["DicomModalities"]
    assert isinstance(modalities, dict)
    modalities[CALLER]["AllowMove"] = True
    config["DicomScpTimeout"] = int(_STUCK_S)
    (directory / "orthanc.json").write_text(json.dumps(config), encoding="utf-8")
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin") or "Orthanc"
    return _program(directory, port, "ORTHANC", program, str(directory / "orthanc.json"))


def _pynetdicom(directory: Path, port: int, our_port: int) -> Iterator[Running]:
    command = (sys.executable, "-m", "pynetdicom", "storescp", str(port), "-aet", "PYNETDICOM", "-od", str(directory))
    return _program(directory, port, "PYNETDICOM", *command, "-ta", "3", "-tn", "3", "-q")


_STORAGE = frozenset({"storage"})
PEERS: Mapping[str, RealPeer] = MappingProxyType(
    {
        "sgmri": RealPeer(title="our listener", program="python", roles=_STORAGE, start=_own("own")),
        "sgmri-journal": RealPeer(
            title="our listener, policy journal", program="python", roles=_STORAGE, start=_own("own-journal")
        ),
        "sgmri-tls": RealPeer(
            title="our listener over TLS", program="python", roles=_STORAGE | {"tls"}, start=_own_tls
        ),
        "orthanc": RealPeer(
            title="Orthanc", program="Orthanc", roles=_STORAGE | {"query", "commitment"}, start=_orthanc
        ),
        "storescp": RealPeer(title="DCMTK storescp", program="storescp", roles=_STORAGE, start=_storescp),
        "storescp-tls": RealPeer(
            title="DCMTK storescp over TLS", program="storescp", roles=frozenset({"tls"}), start=_storescp_tls
        ),
        "dcmqrscp": RealPeer(title="DCMTK dcmqrscp", program="dcmqrscp", roles=_STORAGE | {"query"}, start=_dcmqrscp),
        "pynetdicom": RealPeer(title="pynetdicom storescp", program="python", roles=_STORAGE, start=_pynetdicom),
    }
)
"""Everybody who is tested."""


def report_of(name: str, *, destructive: bool = False, patience_s: float = 35.0) -> Report:
    """Start a peer, test it, and stop it."""
    peer = PEERS[name]
    with tempfile.TemporaryDirectory() as directory:
        port, our_port = free_port(), free_port()
        with contextmanager(peer.start)(Path(directory), port, our_port) as running:
            report = run(
                Setup(
                    destination=Destination(
                        ae_title=running.ae_title, host="127.0.0.1", port=port, calling_ae_title=CALLER, timeout_s=5.0
                    ),
                    roles=peer.roles,
                    patience_s=patience_s,
                    listen=("127.0.0.1", our_port),
                    tls=running.tls,
                    destructive=destructive,
                ),
                seed=1,
            )
    return replace(report, subject=peer.title)


def main(arguments: list[str]) -> int:
    """Test them all; 1 if a check of our own listener failed."""
    directory = Path(arguments[0]) if arguments else None
    wrong = 0
    for name, peer in PEERS.items():
        if len(arguments) > 1 and name not in arguments[1:]:
            continue
        if not peer.is_here:
            print(f"{peer.title}: not installed")  # noqa: T201 - its output
            continue
        report = report_of(name, destructive=name.startswith("sgmri"))
        print(f"{peer.title}: {report.summary}")  # noqa: T201 - its output
        for entry in report.failed:
            print(f"   {entry.severity:8} {entry.id:30} {entry.result.text}")  # noqa: T201 - its output
        if directory is not None:
            (directory / f"{name}.md").write_text(markdown(report), encoding="utf-8")
            if name == "orthanc":
                (directory / f"{name}.html").write_text(html(report), encoding="utf-8")
                (directory / f"{name}.xml").write_text(junit(report), encoding="utf-8")
        wrong += len(report.failed) if name.startswith("sgmri") else 0
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("TCP_NODELAY", "1")
    sys.exit(main(sys.argv[1:]))
