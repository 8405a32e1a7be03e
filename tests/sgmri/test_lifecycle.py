"""The table of states has no dead end, no short cut to success, and a way back from everywhere."""

from itertools import pairwise
from pathlib import Path

import pytest

from sgmri.lifecycle import FINAL_STATES, TRANSITIONS, Reason, State, may_follow

S = State
every_state = pytest.mark.parametrize("state", State)


def reachable(start: State, without: frozenset[State] = frozenset()) -> set[State]:
    """Return every state that some path from ``start`` reaches, not passing through those of ``without``."""
    seen: set[State] = set()
    waiting = [start]
    while waiting:
        state = waiting.pop()
        if state not in seen and state not in without:
            seen.add(state)
            waiting += TRANSITIONS[state]
    return seen


def test_the_table_is_complete() -> None:
    """Every state has a row, and can be reached from the first instance on."""
    assert set(TRANSITIONS) == set(State) == reachable(S.RECEIVING)


@every_state
def test_a_late_instance_is_always_welcome(state: State) -> None:
    """RECEIVING follows every state: a series may grow after anything."""
    assert may_follow(state, S.RECEIVING)


@every_state
def test_everything_can_still_succeed_or_end(state: State) -> None:
    """From every state, commitment and failure can both be reached: no series is stuck."""
    assert {S.COMMITTED, S.FAILED} <= reachable(state)


@pytest.mark.parametrize("needed", [S.COMPLETE, S.QUEUED, S.READING, S.READ, S.STORED])
def test_nothing_is_committed_without_having_been_read_and_stored(needed: State) -> None:
    """Every path from the first instance to COMMITTED without an operator's retry passes each of these states."""
    assert S.COMMITTED in reachable(S.RECEIVING, without=frozenset({S.FAILED}))
    assert S.COMMITTED not in reachable(S.RECEIVING, without=frozenset({S.FAILED, needed}))


@pytest.mark.parametrize("state", [S.COMPLETE, S.QUEUED, S.READING, S.READ, S.STORED])
def test_every_step_may_fail(state: State) -> None:
    """A step that cannot go on ends in FAILED with a reason, not in silence."""
    assert may_follow(state, S.FAILED)


def test_a_skipped_series_is_not_read_unless_it_grows() -> None:
    """SKIPPED is no failure: no retry leads out of it, only a new instance."""
    assert TRANSITIONS[S.SKIPPED] == {S.RECEIVING}


@pytest.mark.parametrize("state", [S.READ, S.STORED, S.COMMITTED, S.FAILED])
def test_what_was_read_can_be_taken_back_and_read_again(state: State) -> None:
    """An operator may retract from every state in which there may be a reading; then it is read again, or stays so."""
    assert {S.RETRACTED, S.QUEUED} <= TRANSITIONS[state]
    assert TRANSITIONS[S.RETRACTED] == {S.RECEIVING, S.QUEUED}
    assert S.RETRACTED in FINAL_STATES


def test_only_an_operator_or_a_new_instance_leaves_a_failure() -> None:
    """FAILED leads back to the queue or to delivery, never straight to success."""
    assert S.FAILED in FINAL_STATES
    assert not TRANSITIONS[S.FAILED] & {S.STORED, S.COMMITTED, S.SKIPPED, S.READING}


@pytest.mark.parametrize(
    "life",
    [
        (S.RECEIVING, S.RECEIVING, S.COMPLETE, S.QUEUED, S.READING, S.READ, S.STORED, S.COMMITTED),
        (S.RECEIVING, S.COMPLETE, S.SKIPPED),
        (S.QUEUED, S.READING, S.QUEUED, S.READING, S.FAILED),
        (S.READ, S.READ, S.STORED, S.READ, S.STORED, S.COMMITTED),
        (S.QUEUED, S.READING, S.SKIPPED),
    ],
    ids=["all goes well", "not for us", "lease lost, then given up", "sent again after commitment", "pixels tell"],
)
def test_lives_that_the_product_promises(life: tuple[State, ...]) -> None:
    """Each step of a described life is in the table."""
    assert all(may_follow(before, after) for before, after in pairwise(life))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (S.RECEIVING, S.QUEUED),
        (S.QUEUED, S.READ),
        (S.READING, S.STORED),
        (S.READ, S.COMMITTED),
        (S.COMMITTED, S.READ),
        (S.RETRACTED, S.READ),
        (S.READING, S.RETRACTED),
        (S.FAILED, S.COMMITTED),
    ],
)
def test_short_cuts_are_refused(before: State, after: State) -> None:
    """A state cannot be jumped over."""
    assert not may_follow(before, after)


@pytest.mark.parametrize("word", [*State, *Reason])
def test_operators_are_told_what_every_state_and_reason_means(word: State | Reason) -> None:
    """Each has exactly one row in docs/operations.md: what an operator may see is explained there."""
    page = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {word} |")]
    assert len(rows) == 1
