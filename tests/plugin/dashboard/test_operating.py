"""What operators do on the pages, and what viewers cannot."""

import pytest

from plugin.dashboard.access import Role
from sgmri.audit import Action, Outcome
from sgmri.lanes import Lane
from sgmri.lifecycle import Reason, State
from tests.plugin.dashboard.conftest import Board
from worker import suspension
from worker.suspension import Mode
from worker.worklist import Worklist

pytestmark = pytest.mark.xdist_group("dashboard")

DEEDS = ("retry", "cancel", "replay", "lane/stat")


def test_an_operator_moves_cancels_and_retries(queued: Board) -> None:
    """Each deed changes the journal, is audited, and leads back to the series, which says what was done."""
    client, key = queued.client(Role.OPERATOR), queued.place.row.series_key

    def do(deed: str) -> str:
        answer = client.post(f"/series/{key}/{deed}")
        assert answer.status_code == 200, answer.text
        return answer.text

    assert "The series is in its new lane" in do("lane/stat")
    assert queued.place.row.lane is Lane.STAT
    assert "To lane normal" in client.get(f"/series/{key}").text and "to off-peak" in client.get("/worklist").text
    assert "is cancelled" in do("cancel")
    assert (queued.place.row.state, queued.place.row.reason) == (State.FAILED, Reason.CANCELLED)
    assert "CANCELLED: 1" in client.get("/failures").text
    assert "is tried again" in do("retry")
    row = Worklist(journal=queued.journal).take("worker", 60.0)
    assert row is not None and key[:8] in client.get("/worklist").text
    do("cancel")
    assert not queued.journal.renew_lease(key, "worker", 60.0)  # the worker gives the reading up
    assert client.post(f"/series/{key}/cancel").status_code == 409  # nothing is under way
    assert client.post(f"/series/{key}/lane/sofa").status_code == 404
    deeds = [(event.detail, event.outcome) for event in queued.audited if event.action is Action.OPERATE]
    assert deeds[:3] == [(word, Outcome.SUCCESS) for word in ("moved", "cancelled", "retried")]
    assert deeds[-1] == ("cancelled", Outcome.FAILURE)


def test_results_that_are_sent_can_be_cancelled_and_go_on(read: Board) -> None:
    """A cancelled delivery does not go on by itself; a retry takes it up with the objects that were written."""
    client, key = read.client(Role.OPERATOR), read.place.row.series_key
    client.post(f"/series/{key}/cancel")
    assert read.place.state() is State.FAILED
    assert read.place.workplace.outbox.waiting() == ()
    client.post(f"/series/{key}/retry")
    assert read.place.state() is State.READ
    assert "queued for another reading" in client.post(f"/series/{key}/replay").text
    assert (read.place.row.state, read.place.row.generation) == (State.QUEUED, 1)


def test_readings_are_suspended_drained_and_resumed(board: Board) -> None:
    """The worklist's mode is one for all hosts, and every page of studies says so."""
    client = board.client(Role.OPERATOR)
    for deed, mode in (("suspend", Mode.SUSPENDED), ("drain", Mode.FINISHING), ("resume", Mode.RUNNING)):
        assert f"<strong>{mode}</strong>" in client.post(f"/worklist/{deed}").text
        assert suspension.look(board.journal).mode is mode
        assert (f"Readings: {mode}" in client.get("/").text) is (mode is not Mode.RUNNING)


@pytest.mark.parametrize("role", [Role.VIEWER, None])
def test_nobody_else_operates(queued: Board, role: Role | None) -> None:
    """A viewer is refused, has no buttons, and a request without the session's token changes nothing."""
    key, before = queued.place.row.series_key, queued.place.row
    client = queued.client(role or Role.OPERATOR)
    if role is None:
        del client.headers["X-CSRF-Token"]
    paths = [*(f"/series/{key}/{deed}" for deed in DEEDS), "/worklist/suspend", "/model/verify", "/rules"]
    for path in paths:
        assert client.post(path).status_code == 403, path
        assert client.get(path).status_code in (403, 405) or path == "/rules", path
    if role is Role.VIEWER:
        assert not any(
            f'action="{path}"' in client.get(page).text for path in paths for page in ("/worklist", f"/series/{key}")
        )
        assert client.get("/rules").status_code == 403
    assert queued.place.row == before and suspension.look(queued.journal).mode is Mode.RUNNING
