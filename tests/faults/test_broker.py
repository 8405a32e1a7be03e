"""Rows 41 to 43 and 53 of the fault table: the broker is away, forgets, or is full; the journal rings again."""

from collections.abc import Callable

import pytest

from sgmri.lifecycle import State
from tests.faults.ward import HEALTHY, SLOW, Ward, series
from worker.app import READING_QUEUE
from worker.bells import depth

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def bells(ward: Ward) -> int:
    return depth(ward.broker_url, READING_QUEUE) or 0


def await_bell(ward: Ward) -> None:
    ward.wait(lambda: bells(ward) >= 1)


def test_a_broker_that_is_down_at_completion_is_rung_when_it_is_back(make_ward: Callable[[], Ward]) -> None:
    """Row 41: the series is queued in the journal without it, C-STORE included, and the bell comes later."""
    ward = make_ward()
    ward.send(series(HEALTHY, 1, ward.directory / "scanner"))
    ward.wait(lambda: ward.states() == [State.QUEUED])
    ward.start_broker()
    await_bell(ward)


@pytest.mark.parametrize("how", ["restarted without persistence", "FLUSHALL"])
def test_a_broker_that_forgets_is_rung_again(make_ward: Callable[[], Ward], how: str) -> None:
    """Row 42: the message is gone, the journal is not: after a lease another bell."""
    from redis import Redis

    ward = make_ward()
    broker = ward.start_broker()
    ward.send(series(HEALTHY, 1, ward.directory / "scanner"))
    await_bell(ward)
    if how == "FLUSHALL":
        with Redis.from_url(ward.broker_url) as client:
            client.flushall()
    else:
        ward.processes.kill(broker)
        ward.start_broker()
    await_bell(ward)
    assert ward.states() == [State.QUEUED]


def test_a_full_broker_loses_no_bell(make_ward: Callable[[], Ward]) -> None:
    """Row 43: while Redis refuses to write for want of memory the series waits; with memory again it is rung for."""
    from redis import Redis

    ward = make_ward()
    ward.start_broker()
    with Redis.from_url(ward.broker_url) as client:
        client.config_set("maxmemory", "1kb")
        ward.send(series(HEALTHY, 1, ward.directory / "scanner"))
        ward.wait(lambda: ward.states() == [State.QUEUED])
        ward.send(series(HEALTHY, 2, ward.directory / "scanner"))
        ward.wait(lambda: ward.states() == [State.QUEUED] * 2)
        assert bells(ward) == 0
        client.config_set("maxmemory", "0")
    ward.wait(lambda: bells(ward) >= 2)


def test_a_worker_whose_message_could_not_be_taken_back_goes_on(make_ward: Callable[[], Ward]) -> None:
    """Row 53: the broker goes while a reading is in hand and comes back after its end: the next reading is done."""
    ward = make_ward()
    broker = ward.start_broker()
    ward.start_worker()
    ward.send(series(SLOW, 1, ward.directory / "scanner"))
    ward.wait(lambda: ward.states() == [State.READING])
    ward.processes.kill(broker)
    ward.wait(lambda: ward.states() == [State.READ])
    ward.wait(lambda: "Couldn't ack" in ward.processes.log("worker").read_text())
    ward.start_broker()
    ward.send(series(HEALTHY, 2, ward.directory / "scanner"))
    ward.wait(lambda: ward.states() == [State.READ] * 2)
