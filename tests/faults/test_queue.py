"""Rows of the fault table about the queue: a broker that is away or forgets, a worker that dies or hangs."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from conformance.phantoms import make, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from plugin.listener import ListenerService
from plugin.parts import free_port, start_broker
from plugin.processes import Processes
from plugin.settings import load
from sgmri.lifecycle import Reason, State
from tests.e2e.system import require
from worker.app import READING_QUEUE, create_app
from worker.bells import depth, ring_for_readings
from worker.journal import Journal
from worker.worklist import Worklist

pytestmark = [pytest.mark.xdist_group("e2e")]


@contextmanager
def listening(tmp_path: Path, broker_url: str) -> Iterator[tuple[ListenerService, Path]]:
    config = tmp_path / "sgmri.toml"
    config.write_text(
        f"""
[listener]
port = 0
min_free_bytes = 1
[[listener.peers]]
ae_title = "SCANNER"
[storage]
state_dir = "{tmp_path / "state"}"
[series]
quiet_period_s = 0.5
[broker]
url = "{broker_url}"
[worker]
lease_s = 5.0
time_limit_s = 12.0
max_attempts = 2
min_free_memory_bytes = 1
sweep_period_s = 0.3
[delivery]
retry_first_s = 10.0
""",
        encoding="utf-8",
    )
    service = ListenerService(load(config))
    service.start()
    try:
        yield service, config
    finally:
        service.stop()


def send(service: ListenerService, tmp_path: Path, *phantoms: tuple[str, int]) -> None:
    listener = Destination(ae_title="SGMRI", host="127.0.0.1", port=service.port, calling_ae_title="SCANNER")
    for name, seed in phantoms:
        paths = write(make(name, seed=seed), tmp_path / f"{name}-{seed}")
        store(listener, [sendable(path) for path in paths])


def wait_for(journal: Journal, there: Callable[[], bool], timeout_s: float = 170.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < deadline, [(row.state, row.reason, row.attempts) for row in journal.all_series()]
        time.sleep(0.05)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("end", ["dies", pytest.param("hangs", marks=pytest.mark.kill)])
def test_a_series_that_ends_its_worker_is_given_up_and_holds_nobody_up(tmp_path: Path, end: str) -> None:
    """Rows 42, 46 and 47: killed by it or past its time limit each time, a worker still reads the others.

    The broker forgets everything in between, and nothing is lost by that.
    """
    require("redis-server")
    with Processes(tmp_path) as processes:
        broker = start_broker("redis", processes, tmp_path / "broker")
        with listening(tmp_path, broker.url) as (service, config):
            journal = service.journal
            # the knee comes first, and would be read first each time
            send(service, tmp_path, ("knee-normal", 1))
            wait_for(journal, lambda: journal.counts() == {State.QUEUED: 1})
            send(service, tmp_path, ("brain-normal", 1), ("brain-normal", 2), ("brain-normal", 3))
            wait_for(journal, lambda: journal.counts() == {State.QUEUED: 4})
            processes.start("worker", [sys.executable, "-m", "tests.faults.odd_worker", str(config), end])
            wait_for(journal, lambda: State.READING in journal.counts())
            with Redis.from_url(broker.url) as client:
                client.flushall()
            wait_for(journal, lambda: journal.counts() == {State.READ: 3, State.FAILED: 1})
            (knee,) = journal.all_series(State.FAILED)
            assert (knee.reason, knee.attempts) == (Reason.ATTEMPTS_EXHAUSTED, 2)
            brains = journal.all_series(State.READ)
            assert all(row.attempts == 1 for row in brains)
            ends = [journal.timeline(row.series_key)[-1].at for row in (knee, *brains)]
            assert min(ends) < ends[0], "the brains waited for the knee's last attempt"


def test_bells_are_as_many_as_series_whoever_rings(tmp_path: Path) -> None:
    """Rows 41 and 43: a broker that comes late, or is full, gets its messages later; never one too many."""
    require("redis-server")
    with Processes(tmp_path) as processes:
        broker = start_broker("redis", processes, tmp_path / "broker")
        with Redis.from_url(broker.url) as client, listening(tmp_path, broker.url) as (service, _):
            client.config_set("maxmemory", "1")  # refuses what would need more (noeviction)
            send(service, tmp_path, ("brain-normal", 1), ("brain-normal", 2))
            wait_for(service.journal, lambda: service.journal.counts() == {State.QUEUED: 2})
            client.config_set("maxmemory", "0")
            wait_for(service.journal, lambda: depth(broker.url, READING_QUEUE) == 2)
            app, worklist = create_app(broker.url), Worklist(journal=service.journal)
            assert all(ring_for_readings(app, worklist, most=64) for _ in range(5))
            assert depth(broker.url, READING_QUEUE) == 2
            away = create_app(f"redis://127.0.0.1:{free_port()}/0")
            assert not ring_for_readings(away, worklist, most=64)


def test_a_broker_that_is_away_delays_no_instance(tmp_path: Path) -> None:
    """Row 41: with the broker away, instances are taken and series are queued; nobody's C-STORE rings."""
    with listening(tmp_path, f"redis://127.0.0.1:{free_port()}/0") as (service, _):
        send(service, tmp_path, *(("brain-normal", seed) for seed in range(4)))
        wait_for(service.journal, lambda: service.journal.counts() == {State.QUEUED: 4})
