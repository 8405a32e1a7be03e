"""How much of everything there is in the journal now, in a few queries, for whoever watches the product."""

from dataclasses import dataclass

from sqlalchemy import func, select

from sgmri.lifecycle import State
from worker.journal import Journal
from worker.journal_tables import DELIVERIES, SERIES

WAITING = (State.COMPLETE, State.QUEUED, State.READING, State.READ, State.STORED)
"""States in which a series waits for something of ours or of a destination's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What there is.

    Parameters
    ----------
    series
        (state, reason) -> how many series.
    instances
        How many instances have ever been received; one that came twice counts once.
    since
        State -> since when the one that has been in it longest has been, in seconds since the epoch.
    deliveries
        (destination, state, reason) -> how many readings.
    """

    series: dict[tuple[str, str], int]
    instances: int
    since: dict[str, float]
    deliveries: dict[tuple[str, str, str], int]


def take(journal: Journal) -> Census:
    """Count."""
    by_state = select(
        SERIES.c.state, SERIES.c.reason, func.count(), func.sum(SERIES.c.instances), func.min(SERIES.c.updated_at)
    ).group_by(SERIES.c.state, SERIES.c.reason)
    to = (DELIVERIES.c.destination, DELIVERIES.c.state, DELIVERIES.c.reason)
    with journal.look() as connection:
        states = connection.execute(by_state).all()
        deliveries = connection.execute(select(*to, func.count()).group_by(*to)).all()
    since: dict[str, float] = {}
    for state, _, _, _, updated_at in states:
        if state in WAITING:
            since[state] = min(updated_at, since.get(state, updated_at))
    return Census(
        series={(state, reason): count for state, reason, count, _, _ in states},
        instances=sum(instances for _, _, _, instances, _ in states),
        since=since,
        deliveries={(destination, state, reason): count for destination, state, reason, count in deliveries},
    )
