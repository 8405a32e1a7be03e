"""Rows 44 to 47 of the fault table: workers that are told to stop, die, hang or run out of memory."""

import signal
from collections.abc import Callable

import pytest

from sgmri.lifecycle import Reason, State
from tests.faults.ward import HANGS, HEALTHY, KILLS, SLOW, TOO_BIG, Ward, series

pytestmark = [pytest.mark.kill, pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

ENDED = (State.READ, State.FAILED)


@pytest.mark.timeout(400)  # three times the time limit, and a lease after each
def test_what_breaks_the_worker_fails_alone(make_ward: Callable[[], Ward]) -> None:
    """Rows 44, 46, 47: a series that kills the process, one that hangs, one too big: FAILED; others are read."""
    ward = make_ward()
    ward.start_broker()
    for number, frames in enumerate((KILLS, HANGS, TOO_BIG, HEALTHY), start=1):
        ward.send(series(frames, number, ward.directory / "scanner"))
    ward.wait(lambda: ward.states() == [State.QUEUED] * 4)
    ward.start_worker(time_limit_s=8.0)
    ward.wait(lambda: all(state in ENDED for state in ward.states()), timeout_s=300)
    rows = ward.by_frames()
    assert rows[HEALTHY].state is State.READ
    for frames in (KILLS, HANGS, TOO_BIG):
        assert (rows[frames].state, rows[frames].attempts) == (State.FAILED, 3), frames
        assert rows[frames].reason in (Reason.ATTEMPTS_EXHAUSTED, Reason.ENGINE_FAILED, Reason.OUT_OF_MEMORY)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL])
def test_a_worker_that_is_stopped_in_mid_reading_loses_none(
    make_ward: Callable[[], Ward], number: signal.Signals
) -> None:
    """Rows 44, 45: it ends the reading, or the next worker does it once more; one result, the same either way."""
    ward = make_ward()
    ward.start_broker()
    worker = ward.start_worker()
    ward.send(series(SLOW, 1, ward.directory / "scanner"))
    ward.wait(lambda: ward.states() == [State.READING])
    if number is signal.SIGKILL:
        ward.processes.kill(worker)
    else:
        worker.send_signal(number)
        worker.wait(60)
    if ward.states() != [State.READ]:
        ward.start_worker()
        ward.wait(lambda: ward.states() == [State.READ])
    (row,) = ward.rows()
    assert row.attempts >= (2 if number is signal.SIGKILL else 1)
    assert len(list((ward.directory / "state" / "outbox").glob("*/*/sr.dcm"))) == 1
