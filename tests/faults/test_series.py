"""Rows 35 to 40 and 51 of the fault table: a series that comes twice, otherwise, in parts or late; clocks that jump."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from sqlalchemy import select

from plugin.listener import ListenerService
from sgmri.lifecycle import State
from tests.faults.ward import HEALTHY, Ward, series
from tests.worker.place import Clock
from tests.worker.test_journal import received
from worker.database import sqlite_url
from worker.journal import Journal
from worker.journal_tables import INSTANCES
from worker.outbox import Outbox
from worker.timers import ClockWatch, shift
from worker.worklist import Worklist

_HOUR_S = 3600.0


def queued(ward: Ward) -> int:
    """Return how often the only series was queued."""
    (row,) = ward.rows()
    return [event.stage for event in ward.service.journal.timeline(row.series_key)].count("QUEUED")


def test_four_associations_and_twice_the_same_are_one_job(make_ward: Callable[[], Ward]) -> None:
    """Rows 35, 37: a study on four associations at once, and all of it again, is one series and one reading."""
    ward = make_ward()
    paths = series(HEALTHY, 1, ward.directory / "scanner")
    for _ in range(2):
        threads = [threading.Thread(target=ward.send, args=(paths[number::4],)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ward.wait(lambda: ward.states() == [State.QUEUED])
    (row,) = ward.rows()
    assert (row.instances, row.generation, queued(ward)) == (HEALTHY, 0, 1)


def test_other_bytes_under_a_known_uid_are_an_alert(
    make_ward: Callable[[], Ward], caplog: pytest.LogCaptureFixture
) -> None:
    """Row 36: both copies are kept, the journal marks the conflict, and the log says so once, without a UID."""
    ward = make_ward()
    paths = series(HEALTHY, 1, ward.directory / "scanner")
    ward.send(paths)
    ds = dcmread(paths[0])
    ds.PixelData = bytes(len(ds.PixelData))
    ds.save_as(paths[0])
    ward.send(paths[:1])
    ward.wait(lambda: ward.states() == [State.QUEUED])
    assert len(list((ward.directory / "state" / "spool").glob("*/*.other"))) == 1
    with ward.service.journal.look() as connection:
        conflicts = connection.execute(select(INSTANCES.c.conflict)).scalars().all()
    assert sorted(conflicts) == [False] * (HEALTHY - 1) + [True]
    (alert,) = [message for message in caplog.messages if "other bytes" in message]
    assert str(ds.SOPInstanceUID) not in alert


def test_late_instances_open_a_new_generation(make_ward: Callable[[], Ward]) -> None:
    """Rows 38, 39: a study spread over longer than the quiet period is queued again, whole, as its next generation."""
    ward = make_ward()
    paths = series(HEALTHY, 1, ward.directory / "scanner")
    ward.send(paths[:6])
    ward.wait(lambda: ward.states() == [State.QUEUED])
    ward.send(paths[6:])
    ward.wait(lambda: ward.states() == [State.QUEUED] and ward.rows()[0].generation == 1)
    (row,) = ward.rows()
    assert (row.instances, queued(ward)) == (HEALTHY, 2)


def test_a_restart_in_the_quiet_period_goes_on_with_it(make_ward: Callable[[], Ward]) -> None:
    """Row 51: the listener stops before the series is quiet; the next one completes it once."""
    ward = make_ward()
    ward.send(series(HEALTHY, 1, ward.directory / "scanner"))
    ward.service.stop()
    assert ward.states() in ([State.RECEIVING], [State.QUEUED])
    ward.service = ListenerService(ward.settings)
    ward.service.start()
    ward.wait(lambda: ward.states() == [State.QUEUED])
    assert queued(ward) == 1


@dataclass
class Clocks:
    """A wall clock that can be put forward and back, and one that cannot."""

    journal: Journal
    wall: Clock
    steady: Clock
    watch: ClockWatch

    def pass_s(self, seconds: float) -> None:
        self.wall.now += seconds
        self.steady.now += seconds

    def jump(self, by_s: float) -> None:
        self.wall.now += by_s

    def heed(self) -> None:
        shift(self.journal, self.watch.jumped_s(), lease_s=60.0)


@pytest.fixture
def clocks(tmp_path: Path) -> Iterator[Clocks]:
    wall, steady = Clock(), Clock()
    journal = Journal(sqlite_url(tmp_path), clock=wall)
    yield Clocks(journal, wall, steady, ClockWatch(wall, steady))
    journal.close()


@pytest.mark.parametrize("by_s", [_HOUR_S, -_HOUR_S])
def test_a_clock_that_jumps_moves_no_quiet_period(clocks: Clocks, by_s: float) -> None:
    """Row 40: neither is a series complete an hour early, nor does it wait for an hour; one that comes later counts."""
    clocks.journal.receive(received(1))
    clocks.pass_s(5)
    clocks.jump(by_s)
    clocks.heed()
    assert clocks.journal.quiet(10.0, at_expected_count=False) == ()
    clocks.journal.receive(received(2))
    clocks.pass_s(9)
    assert clocks.watch.jumped_s() == 0.0
    assert clocks.journal.quiet(10.0, at_expected_count=False) == ()
    clocks.pass_s(2)
    assert len(clocks.journal.quiet(10.0, at_expected_count=False)) == 1


@pytest.mark.parametrize("by_s", [_HOUR_S, -_HOUR_S])
def test_a_clock_that_jumps_moves_no_lease_and_no_retry(clocks: Clocks, by_s: float) -> None:
    """Row 40: a worker keeps its lease for as long as it had, and a retry comes when it was to come."""
    journal, outbox = clocks.journal, Outbox(journal=clocks.journal)
    journal.receive(received(1))
    key = journal.all_series()[0].series_key
    journal.move(journal.series(key), State.COMPLETE)
    journal.move(journal.series(key), State.QUEUED, next_try_at=clocks.wall.now + 30)
    clocks.pass_s(10)
    clocks.jump(by_s)
    clocks.heed()
    worklist = Worklist(journal=journal)
    assert worklist.ready(2) == 0
    clocks.pass_s(21)
    assert worklist.ready(2) == 1

    assert worklist.take("worker", 60.0)
    clocks.pass_s(10)
    clocks.jump(by_s)
    clocks.heed()
    assert outbox.abandoned() == ()
    clocks.pass_s(61)
    assert len(outbox.abandoned()) == 1


def test_small_steps_of_the_clock_are_none(clocks: Clocks) -> None:
    """Time servers correct by fractions of a second all the time."""
    clocks.jump(0.5)
    assert clocks.watch.jumped_s() == 0.0
    clocks.jump(2.0)
    assert clocks.watch.jumped_s() == 2.5
