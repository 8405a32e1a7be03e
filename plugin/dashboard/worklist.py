"""The worklist by lane, what is being read, and whether readings begin at all."""

from starlette.requests import Request
from starlette.responses import Response

from plugin.dashboard.desk import desk_of, page
from plugin.rules import LANES
from sgmri.lifecycle import State
from worker import suspension, watching
from worker.delivery import breakers
from worker.worklist import Worklist

_SHOWN = 50
"""Series of each lane."""


def overview(request: Request) -> Response:
    """Show the worklist."""
    desk = desk_of(request)
    worklist = Worklist(journal=desk.journal)
    return page(
        request,
        "worklist.html",
        mode=suspension.look(desk.journal),
        stalled_s=worklist.stalled_s(desk.settings.queue.stalled_after_s),
        counts=worklist.by_lane(),
        lanes={lane: watching.queued(desk.journal, lane, limit=_SHOWN) for lane in LANES.values()},
        reading=desk.journal.all_series(State.READING, limit=_SHOWN),
        unreachable=sorted(breakers(desk.journal, desk.settings).open()),
        names={lane: name for name, lane in LANES.items()},
    )
