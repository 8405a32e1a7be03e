"""The worklist: order, lanes, suspension and stalls, on both databases, with a clock of the tests' own."""

import threading
import time
from collections.abc import Iterator

import pytest

from sgmri.lanes import Lane
from sgmri.lifecycle import Reason, State
from sgmri.settings import Queue
from tests.worker.place import Clock
from worker import suspension
from worker.journal import Journal, SeriesRow
from worker.receipts import Received
from worker.suspension import Mode
from worker.worklist import Worklist, entry

AGEING = Queue(ageing_s=600.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worklist(journal_url: str, clock: Clock) -> Iterator[Worklist]:
    journal = Journal(journal_url, clock=clock)
    yield Worklist(journal=journal)
    journal.close()


def queue(
    journal: Journal,
    key: str,
    lane: Lane = Lane.NORMAL,
    settings: Queue = AGEING,
    sop_instance_uid: str = "2.25.3",
) -> SeriesRow:
    """Put a series on the worklist, as the dispatcher does."""
    journal.receive(
        Received(
            series_key=key,
            study_instance_uid="2.25.1",
            series_instance_uid=f"2.25.{len(key)}",
            sop_instance_uid=sop_instance_uid,
            sop_class_uid="1.2",
            file_name="1.dcm",
            size_bytes=1,
        )
    )
    journal.move(journal.series(key), State.COMPLETE, completed_at=journal.clock())
    journal.move(journal.series(key), State.QUEUED, **entry(lane, journal.clock(), settings))
    return journal.series(key)


def order(worklist: Worklist) -> list[str]:
    """Begin readings until none is left."""
    taken = []
    while (row := worklist.take("me", 60.0)) is not None:
        taken.append(row.series_key)
    return taken


def test_lanes_come_before_time_and_time_before_nothing(worklist: Worklist, clock: Clock) -> None:
    """Urgent series first, off-peak ones last, and within a lane whoever came first."""
    for key, lane in [("o", Lane.OFF_PEAK), ("n1", Lane.NORMAL), ("n2", Lane.NORMAL), ("s", Lane.STAT)]:
        queue(worklist.journal, key, lane)
        clock.now += 1
    assert worklist.by_lane() == {Lane.STAT: 1, Lane.NORMAL: 2, Lane.OFF_PEAK: 1}
    assert order(worklist) == ["s", "n1", "n2", "o"]


def test_under_a_stream_of_urgent_series_the_others_are_read(worklist: Worklist, clock: Clock) -> None:
    """More urgent series than can be read: a normal one waits one ageing, an off-peak one two, and not longer."""
    queue(worklist.journal, "o", Lane.OFF_PEAK)
    queue(worklist.journal, "n", Lane.NORMAL)
    begun: dict[str, float] = {}
    start = clock.now
    for minute in range(21):
        queue(worklist.journal, f"s{minute}a", Lane.STAT)
        queue(worklist.journal, f"s{minute}b", Lane.STAT)
        for _ in range(2):  # nobody could read more than comes
            row = worklist.take("me", 60.0)
            assert row is not None
            begun[row.series_key] = clock.now - start
        clock.now += 60.0
    assert (begun["n"], begun["o"]) == (600.0, 1200.0)


def test_off_peak_series_wait_for_their_hours(worklist: Worklist, clock: Clock) -> None:
    """Before the hours they are not read though nobody else waits; an operator's other lane lets them go at once."""
    later, much_later = (time.strftime("%H:%M", time.localtime(clock.now + hours * 3600)) for hours in (1, 2))
    queue(worklist.journal, "o", Lane.OFF_PEAK, Queue(ageing_s=600.0, off_peak=f"{later}-{much_later}"))
    assert (worklist.ready(10), worklist.take("me", 60.0)) == (0, None)
    assert worklist.move_to(worklist.journal.series("o"), Lane.STAT, AGEING)
    moved = worklist.journal.series("o")
    assert (moved.lane, moved.first_lane_at) == (Lane.STAT, clock.now)
    assert order(worklist) == ["o"]
    assert not worklist.move_to(worklist.journal.series("o"), Lane.STAT, AGEING), "it is read already"


def test_one_that_waits_for_its_next_try_holds_nobody_up(worklist: Worklist, clock: Clock) -> None:
    """A series that failed is passed by until its time, and then comes first: it keeps its place."""
    first = queue(worklist.journal, "first")
    clock.now += 1
    queue(worklist.journal, "second")
    worklist.journal.move(first, State.QUEUED, reason=Reason.ENGINE_FAILED, next_try_at=clock.now + 30)
    assert order(worklist) == ["second"]
    queue(worklist.journal, "third")
    clock.now += 31
    assert order(worklist) == ["first", "third"]


def test_many_workers_never_begin_one_series_twice(worklist: Worklist) -> None:
    """Eight threads empty a worklist of 24: each series is begun once."""
    keys = [f"k{number:02}" for number in range(24)]
    for key in keys:
        queue(worklist.journal, key)
    begun: list[str] = []
    threads = [threading.Thread(target=lambda: begun.extend(order(worklist))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == keys
    assert all(row.attempts == 1 for row in worklist.journal.all_series())


@pytest.mark.parametrize("mode", [Mode.SUSPENDED, Mode.FINISHING])
def test_no_reading_begins_while_suspended(worklist: Worklist, clock: Clock, journal_url: str, mode: Mode) -> None:
    """Whoever asks, now or after a restart, gets nothing, and nobody is rung; resumed, all goes on where it stood."""
    queue(worklist.journal, "a")
    suspension.change(worklist.journal, mode)
    clock.now += 1
    suspension.change(worklist.journal, mode)
    again = Worklist(journal=Journal(journal_url, clock=clock))
    assert (again.take("me", 60.0), again.ready(10)) == (None, 0)
    since = suspension.look(again.journal)
    assert (since.mode, since.mode_since) == (mode, clock.now - 1)
    suspension.change(again.journal, Mode.RUNNING)
    assert again.ready(10) == 1
    assert order(again) == ["a"]
    again.journal.close()


def test_after_a_suspension_no_reading_is_about_to_begin(worklist: Worklist) -> None:
    """Readings begin in eight threads while readings are suspended: what begins has begun when that returns."""
    for number in range(60):
        queue(worklist.journal, f"k{number:03}")
    threads = [threading.Thread(target=order, args=(worklist,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    suspension.change(worklist.journal, Mode.FINISHING)
    begun = worklist.journal.counts().get(State.READING, 0)
    for thread in threads:
        thread.join()
    assert worklist.journal.counts().get(State.READING, 0) == begun


def test_a_stall_is_series_that_wait_while_none_is_begun(worklist: Worklist, clock: Clock) -> None:
    """Not while somebody reads, not while suspended, not before the time; then it says for how long."""
    assert worklist.stalled_s(300.0) is None
    queue(worklist.journal, "a")
    queue(worklist.journal, "b")
    clock.now += 299
    assert worklist.stalled_s(300.0) is None
    clock.now += 2
    assert worklist.stalled_s(300.0) == 301
    row = worklist.take("me", 600.0)
    assert row is not None
    clock.now += 301
    assert worklist.stalled_s(300.0) is None, "somebody reads"
    clock.now += 300
    assert worklist.stalled_s(300.0) == 601, "whoever read is silent"
    suspension.change(worklist.journal, Mode.FINISHING)
    assert worklist.stalled_s(300.0) is None
    suspension.change(worklist.journal, Mode.RUNNING)
    assert worklist.stalled_s(300.0) is None, "readings may begin again only now"
