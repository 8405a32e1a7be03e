"""Success does not wait for the journal: what it does not know when the process dies, or its database fails."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from conformance.phantoms import make, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from plugin.listener import ListenerService, spool_dir
from sgmri.lifecycle import State
from sgmri.settings import Settings, parse

_ROOT = Path(__file__).parents[2]
_LISTEN = """
import sys, time
from plugin.listener import ListenerService
from tests.faults.test_index import listener_settings

service = ListenerService(listener_settings(sys.argv[1], sys.argv[2]))
service.start()
print(service.port, flush=True)
time.sleep(600)
"""


def listener_settings(state_dir: str, durability: str) -> Settings:
    return parse(
        {
            "listener": {
                "port": 0,
                "min_free_bytes": 1,
                "peers": [{"ae_title": "SCANNER"}],
                "durability": durability,
            },
            "storage": {"state_dir": state_dir},
            "series": {"quiet_period_s": 2.0},
            "broker": {"url": "redis://127.0.0.1:1/0"},
        }
    )


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Keep everybody else from writing into the journal."""
    with closing(sqlite3.connect(state_dir / "journal.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def send(port: int, paths: Sequence[Path]) -> None:
    """Send instances; each is answered with success, or this raises."""
    place = Destination(ae_title="SGMRI", host="127.0.0.1", port=port, calling_ae_title="SCANNER")
    store(place, [sendable(path) for path in paths])


def await_queued(service: ListenerService, instances: int) -> None:
    deadline = time.monotonic() + 60
    while [row.state for row in service.journal.all_series()] != [State.QUEUED]:
        assert time.monotonic() < deadline, service.journal.all_series()
        time.sleep(0.05)
    (row,) = service.journal.all_series()
    assert (row.instances, row.generation) == (instances, 0)
    assert len(service.journal.file_names(row.series_key)) == instances


@pytest.mark.parametrize("durability", ["strict", "journal"])
def test_kill_between_response_and_journal_loses_nothing(tmp_path: Path, durability: str) -> None:
    """Instances are answered while the journal's writer is stalled; kill -9; the next start has the series whole."""
    paths = write(make("brain-normal"), tmp_path / "brain")
    state = tmp_path / "state"
    with subprocess.Popen(
        [sys.executable, "-c", _LISTEN, str(state), durability], stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            send(port, paths[:5])
            with locked(state):
                send(port, paths[5:])
                process.kill()
                process.wait()
        finally:
            process.kill()
    service = ListenerService(listener_settings(str(state), durability))
    service.start()
    try:
        await_queued(service, len(paths))
    finally:
        service.stop()


def test_a_locked_journal_delays_and_parts_no_series(tmp_path: Path) -> None:
    """While the database is locked instances are taken, and none of their series is completed without them."""
    paths = write(make("brain-normal"), tmp_path / "brain")
    settings = listener_settings(str(tmp_path / "state"), "strict")
    service = ListenerService(settings)
    service.start()
    try:
        send(service.port, paths[:1])
        with locked(tmp_path / "state"):
            send(service.port, paths[1:])
            assert len(list(spool_dir(settings).glob("*/*.dcm"))) == len(paths)
        await_queued(service, len(paths))
    finally:
        service.stop()
