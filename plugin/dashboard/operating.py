"""What operators do: each a form that is posted, remembered in the audit log, and answered by the page it came from."""

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from plugin import operations
from plugin.dashboard.desk import Desk, back, desk_of, series_of
from plugin.rules import LANES
from sgmri.audit import Action, Outcome
from worker import suspension
from worker.journal import SeriesRow
from worker.suspension import Mode
from worker.worklist import Worklist

_Deed = Callable[[Desk, SeriesRow], bool]


def retry(request: Request) -> Response:
    """Try a failed or waiting series again."""
    return _on_series(
        request, "retried", lambda desk, row: operations.retry(desk.settings, desk.journal, row) is not None
    )


def cancel(request: Request) -> Response:
    """Let nothing more be done for a series."""
    return _on_series(request, "cancelled", lambda desk, row: operations.cancel(desk.journal, row))


def replay(request: Request) -> Response:
    """Have a series read again."""
    return _on_series(request, "replayed", lambda desk, row: operations.replay(desk.settings, desk.journal, row))


def move(request: Request) -> Response:
    """Put a queued series into another lane."""
    lane = LANES.get(request.path_params["lane"])
    if lane is None:
        raise HTTPException(404, "There is no such lane.")
    return _on_series(
        request, "moved", lambda desk, row: Worklist(journal=desk.journal).move_to(row, lane, desk.settings.queue)
    )


def suspend(request: Request) -> Response:
    """Let no reading begin, and give those under way back."""
    return _on_worklist(request, Mode.SUSPENDED, "suspended")


def drain(request: Request) -> Response:
    """Let no reading begin, and those under way end."""
    return _on_worklist(request, Mode.FINISHING, "drained")


def resume(request: Request) -> Response:
    """Let readings begin again."""
    return _on_worklist(request, Mode.RUNNING, "resumed")


def _on_series(request: Request, said: str, deed: _Deed) -> Response:
    desk, row = desk_of(request), series_of(request)
    done = deed(desk, row)
    outcome = Outcome.SUCCESS if done else Outcome.FAILURE
    desk.remember(request, Action.OPERATE, row, detail=said, outcome=outcome)
    if not done:
        raise HTTPException(
            409,
            f"Nothing was changed: the series is {row.state}, where this cannot be done, or somebody works on it just "
            "now. Look at it again, then try once more.",
        )
    return back(f"/series/{row.series_key}", said)


def _on_worklist(request: Request, mode: Mode, said: str) -> Response:
    desk = desk_of(request)
    suspension.change(desk.journal, mode)
    desk.remember(request, Action.OPERATE, detail=said)
    return back("/worklist", said)
