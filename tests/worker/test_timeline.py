"""The timeline as a stream and as counts, on both databases, with a clock of the tests' own."""

from collections.abc import Iterator

import pytest
from sqlalchemy import insert

from sgmri.lanes import Lane
from sgmri.lifecycle import Reason, State
from tests.worker.place import Clock
from tests.worker.test_worklist import queue
from worker.journal import Journal
from worker.journal_tables import EVENTS
from worker.timeline import BUCKETS_S, Tail, Tallies


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(journal_url: str, clock: Clock) -> Iterator[Journal]:
    journal = Journal(journal_url, clock=clock)
    yield journal
    journal.close()


def test_a_tail_hands_out_each_event_once(journal: Journal, clock: Clock) -> None:
    """What was there before is not new; what is not done is new again; after a restart it goes on where it stopped."""
    queue(journal, "before")
    clock.now += 1
    tail = Tail(journal, "test")
    assert tail.new() == ()
    tail.done(())
    clock.now += 1
    queue(journal, "a")
    new = tail.new()
    assert [event.stage for event in new] == ["first instance", "COMPLETE", "QUEUED"]
    tail.done(new[:1])
    assert tail.new() == new[1:]
    tail.done(new[1:])
    assert tail.new() == ()
    for passed_s, key in ((1.0, "b"), (1000.0, "c")):
        clock.now += passed_s
        queue(journal, key)
        tail = Tail(journal, "test")
        assert [event.series_key for event in tail.new()] == [key] * 3
        tail.done(tail.new())
        assert tail.new() == ()


def test_a_tail_loses_no_event_that_is_seen_late(journal: Journal, clock: Clock) -> None:
    """On PostgreSQL an event may become visible after one with a higher number."""
    queue(journal, "a")
    tail = Tail(journal, "test")
    for event_id, stage in ((99, "higher"), (98, "late")):
        values = {"series_key": "a", "generation": 0, "at": clock.now, "stage": stage, "reason": "NONE"}
        with journal.begin() as connection:
            connection.execute(insert(EVENTS).values(event_id=event_id, **values))
        assert [event.stage for event in tail.new()] == [stage]
        tail.done(tail.new())


def test_the_tally_counts_stages_states_and_turnaround(journal: Journal, clock: Clock) -> None:
    """Each event once by stage and reason; durations of work, of states that were left, and until a result was there.

    It is the same however often it is asked, and whether the events are young or settled.
    """
    tallies = Tallies(journal)
    row = queue(journal, "a", Lane.NORMAL)
    for passed_s, state in ((40.0, State.READING), (2.0, State.READ), (700.0, State.FAILED)):
        clock.now += passed_s
        journal.move(row, state, reason=Reason.PEER_UNAVAILABLE if state is State.FAILED else Reason.NONE)
        row = journal.series("a")
        if state is State.READING:
            journal.log(row, "answer", duration_s=1.5)
    first = tallies.now()
    clock.now += 1000.0
    tallies.now()
    for tally in (first, tallies.now(), Tallies(journal).now()):
        assert tally.events["FAILED", "PEER_UNAVAILABLE"] == 1
        assert tally.events["READING", "NONE"] == 1
        assert tally.stages.keys() == {"answer"}
        answer = tally.stages["answer"]
        assert (answer.count, answer.sum_s) == (1, 1.5)
        assert answer.within == [int(bound >= 1.5) for bound in BUCKETS_S]
        spent = {state: round(durations.sum_s, 6) for state, durations in tally.states.items()}
        assert spent == {"RECEIVING": 0.0, "COMPLETE": 0.0, "QUEUED": 40.0, "READING": 2.0, "READ": 700.0}
        assert {state: durations.sum_s for state, durations in tally.turnaround.items()} == {"READ": 42.0}


def test_a_clock_that_was_put_back_gives_no_negative_duration(journal: Journal, clock: Clock) -> None:
    """Such a time is left out; the event counts all the same."""
    row = queue(journal, "a")
    clock.now -= 3600.0
    journal.move(row, State.READING)
    tally = Tallies(journal).now()
    assert tally.events["READING", "NONE"] == 1
    assert "QUEUED" not in tally.states
