"""One series: where it stands, how it came there, why it was or was not read, and how far its results have come."""

from collections.abc import Sequence
from itertools import pairwise

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicom_io.selection import choose
from dicom_io.series import describe
from plugin import choices
from plugin.dashboard.access import reveal_identity, user_of
from plugin.dashboard.desk import desk_of, page, series_of
from plugin.listener import spool_dir
from plugin.rules import LANES, load_rules
from sgmri.errors import SeriesError
from sgmri.lifecycle import State
from worker.deliveries import Deliveries
from worker.destinations import targets
from worker.journal import EventRow
from worker.revisions import readings
from worker.watching import series_of_study

_MAX_SIBLINGS = 50


def detail(request: Request) -> Response:
    """Show a series."""
    desk, row = desk_of(request), series_of(request)
    deliveries = Deliveries(journal=desk.journal, targets=targets(desk.settings))
    siblings = series_of_study(desk.journal, row.study_instance_uid, limit=_MAX_SIBLINGS)
    return page(
        request,
        "series.html",
        row=row,
        timeline=_with_waits(desk.journal.timeline(row.series_key)),
        deliveries=[(one, deliveries.objects(one)) for one in deliveries.of(row)],
        readings=readings(desk.journal, row.series_key),
        siblings=[one for one in siblings if one.series_key != row.series_key],
        lanes=LANES,
        is_queued=row.state is State.QUEUED,
        may_see_identity=user_of(request).may_see_identity,
    )


def _with_waits(events: Sequence[EventRow]) -> list[tuple[EventRow, float | None]]:
    """Put beside each line how long the step took, or else how much time lies before it."""
    waits = [None, *(after.at - before.at for before, after in pairwise(events))]
    return [
        (event, event.duration_s if event.duration_s is not None else wait)
        for event, wait in zip(events, waits, strict=True)
    ]


def selection(request: Request) -> Response:
    """Show what the series would be taken for now, by what evidence, and why the rest of it is left."""
    desk, row = desk_of(request), series_of(request)
    paths = desk.paths(row)
    if not paths:
        raise HTTPException(409, "Retention has removed the images of this series: nothing can be looked at.")
    try:
        facts = describe(paths)
        series = choices.series_document(facts, choose(facts, rules=load_rules(desk.settings.selection.rules)))
    except SeriesError as error:
        series = {"taken": False, "reason": error.reason.value, "explanation": str(error), "sub_volumes": []}
    return page(request, "selection.html", row=row, series=series)


async def identity(request: Request) -> Response:
    """Show whose images these are, read from one of them now; nothing of it is kept, and the look is audited."""
    desk = desk_of(request)
    row = await run_in_threadpool(series_of, request)
    patient = await reveal_identity(request, row.series_key, spool_dir(desk.settings))
    return page(request, "identity.html", row=row, patient=patient)
