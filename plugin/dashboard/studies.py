"""The studies: what came last, where each series stands and for how long."""

from starlette.requests import Request
from starlette.responses import Response

from plugin.dashboard.desk import desk_of, page
from sgmri.lifecycle import Reason, State
from worker import suspension, watching
from worker.journal import SeriesRow
from worker.worklist import Worklist

PAGE = 50
"""Series on a page."""


def overview(request: Request) -> Response:
    """Show the newest studies, or those before a given one; filtered by state and reason."""
    desk, query = desk_of(request), request.query_params
    state, reason = query.get("state", ""), query.get("reason", "")
    rows = watching.page_of_series(
        desk.journal,
        states=[State(state)] if state in State.__members__ else [],
        reason=Reason(reason) if reason in Reason.__members__ else None,
        before=_place(query.get("before", "")),
        limit=PAGE + 1,
    )
    shown = rows[:PAGE]
    return page(
        request,
        "studies.html",
        studies=_by_study(shown),
        counts=desk.journal.counts(),
        mode=suspension.look(desk.journal),
        stalled_s=Worklist(journal=desk.journal).stalled_s(desk.settings.queue.stalled_after_s),
        states=list(State),
        reasons=list(Reason),
        chosen={"state": state, "reason": reason},
        before=f"{shown[-1].received_at!r}~{shown[-1].series_key}" if len(rows) > PAGE else "",
        is_first="before" not in query,
    )


def _by_study(rows: tuple[SeriesRow, ...]) -> list[list[SeriesRow]]:
    """Put the series of a study together, the studies in the order of their newest series."""
    studies: dict[str, list[SeriesRow]] = {}
    for row in rows:
        studies.setdefault(row.study_instance_uid, []).append(row)
    return list(studies.values())


def _place(text: str) -> tuple[float, str] | None:
    """Read where a page begins; whatever is no such place is the first page."""
    at, _, key = text.partition("~")
    try:
        return (float(at), key[:16]) if key else None
    except ValueError:
        return None
