"""What people who watch ask the journal: pages of series, failures by reason, how long each stage takes.

Only looks, and never at more rows than a page shows or a limit says, however many years the journal holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import func, select

from sgmri.lanes import Lane
from sgmri.lifecycle import Reason, State
from worker.journal import Journal, SeriesRow, series_row
from worker.journal_tables import EVENTS, SERIES, WORKLIST
from worker.timeline import BEGINS

_STAGES = {
    State.RECEIVING: "receiving",
    State.COMPLETE: "deciding",
    State.QUEUED: "waiting",
    State.READING: "reading",
    State.READ: "sending",
    State.STORED: "committing",
}
"""What a series does while it is in a state that does not last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The series that failed for one reason: how many, since when, and the newest of them."""

    reason: Reason
    count: int
    oldest_at: float
    newest: tuple[SeriesRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of one series: what, when it ended, how long it took."""

    series_key: str
    name: str
    ended_at: float
    duration_s: float


def page_of_series(
    journal: Journal,
    *,
    states: Sequence[State] = (),
    reason: Reason | None = None,
    before: tuple[float, str] | None = None,
    limit: int,
) -> tuple[SeriesRow, ...]:
    """Return series, the newest first.

    Parameters
    ----------
    journal
        The truth.
    states, reason
        Only series that stand so; none for all.
    before
        Time of receipt and key of the last series of the page before; None for the first page.
    limit
        How many at most.
    """
    query = select(SERIES).order_by(SERIES.c.received_at.desc(), SERIES.c.series_key.desc()).limit(limit)
    if states:
        query = query.where(SERIES.c.state.in_(states))
    if reason is not None:
        query = query.where(SERIES.c.reason == reason)
    if before is not None:
        at, key = before
        query = query.where((SERIES.c.received_at < at) | ((SERIES.c.received_at == at) & (SERIES.c.series_key < key)))
    with journal.look() as connection:
        return tuple(series_row(row) for row in connection.execute(query))


def series_of_study(journal: Journal, study_instance_uid: str, *, limit: int) -> tuple[SeriesRow, ...]:
    """Return the series of a study, in the order of coming."""
    query = (
        select(SERIES).where(SERIES.c.study_instance_uid == study_instance_uid).order_by(SERIES.c.received_at)
    ).limit(limit)
    with journal.look() as connection:
        return tuple(series_row(row) for row in connection.execute(query))


def queued(journal: Journal, lane: Lane, *, limit: int) -> tuple[SeriesRow, ...]:
    """Return the series that wait in a lane, in the order in which they are read."""
    query = (
        select(SERIES)
        .where(SERIES.c.state == State.QUEUED, SERIES.c.lane == lane)
        .order_by(SERIES.c.first_lane_at)
        .limit(limit)
    )
    with journal.look() as connection:
        return tuple(series_row(row) for row in connection.execute(query))


def failures(journal: Journal, *, newest: int) -> tuple[Failures, ...]:
    """Return the series that failed, by reason, the most frequent first.

    Parameters
    ----------
    journal
        The truth.
    newest
        How many of each reason are named.
    """
    failed = SERIES.c.state == State.FAILED
    counted = (
        select(SERIES.c.reason, func.count().label("count"), func.min(SERIES.c.updated_at).label("oldest_at"))
        .where(failed)
        .group_by(SERIES.c.reason)
        .order_by(func.count().desc(), SERIES.c.reason)
    )
    with journal.look() as connection:
        found = connection.execute(counted).all()
    return tuple(
        Failures(
            reason=Reason(row.reason),
            count=row._mapping["count"],
            oldest_at=row.oldest_at,
            newest=page_of_series(journal, states=[State.FAILED], reason=Reason(row.reason), limit=newest),
        )
        for row in found
    )


def pulse(journal: Journal) -> tuple[float, ...]:
    """Return figures that change whenever a page might; costs the same however much the journal holds."""
    last_event = select(func.max(EVENTS.c.event_id))
    received = select(func.count(), func.sum(SERIES.c.instances)).where(SERIES.c.state == State.RECEIVING)
    mode = select(WORKLIST.c.mode_since)
    with journal.look() as connection:
        receiving, instances = connection.execute(received).one()
        return (
            float(connection.execute(last_event).scalar() or 0),
            float(receiving),
            float(instances or 0),
            float(connection.execute(mode).scalar() or 0.0),
        )


def stages(journal: Journal, *, since: float, limit: int) -> tuple[Stage, ...]:
    """Return the stages that series went through lately, the steps of a reading among them.

    Parameters
    ----------
    journal
        The truth.
    since
        Stages that ended before are left out; seconds since the epoch.
    limit
        So many of the newest lines of all timelines are looked at.
    """
    query = select(EVENTS).order_by(EVENTS.c.event_id.desc()).limit(limit)
    by_reading: dict[tuple[str, int], list[tuple[float, str]]] = {}
    found: list[Stage] = []
    with journal.look() as connection:
        for row in reversed(connection.execute(query).all()):
            if row.at < since:
                continue
            if row.duration_s is not None:
                stage = Stage(series_key=row.series_key, name=row.stage, ended_at=row.at, duration_s=row.duration_s)
                found.append(stage)
            else:
                by_reading.setdefault((row.series_key, row.generation), []).append((row.at, row.stage))
    for (series_key, _), lines in by_reading.items():
        found += _between(series_key, lines)
    return tuple(found)


def _between(series_key: str, lines: Sequence[tuple[float, str]]) -> Iterator[Stage]:
    """Yield what lies between the states of one generation."""
    entered = [(at, BEGINS[line]) for at, line in lines if line in BEGINS]
    for (at, state), (ended_at, _) in pairwise(entered):
        if state in _STAGES:
            yield Stage(
                series_key=series_key, name=_STAGES[state], ended_at=ended_at, duration_s=max(ended_at - at, 0.0)
            )
