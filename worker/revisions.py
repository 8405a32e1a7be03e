"""The readings of one series in the journal: it is read again when it grows or when an operator wants it.

No reading has a state of its own: that of its series is the newest one's, an older one is superseded (ADR 0014), and
one that was taken back counts no more (ADR 0016).
"""

import logging
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import func, select

from sgmri.lifecycle import TRANSITIONS, Reason, State, ending
from sgmri.settings import Queue
from worker.deliveries import is_in_hand
from worker.journal import Journal, SeriesRow
from worker.journal_tables import INSTANCES, RESULTS, RETRACTIONS, REVISIONS
from worker.worklist import entry

_log = logging.getLogger(__name__)

_REPORT = "SR"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingRow:
    """One reading of a series, and how far its report has come.

    Parameters
    ----------
    generation
        Of the series when it was read.
    has_report
        Whether a structured report was written; without one, its first object stands for it.
    stored_at, committed_at
        When the first destination took its report, and when all that are asked for proof had given it; None where not.
    revises
        Generation of the reading whose report it names as predecessor; None where it names none.
    superseded_by
        Generation of the next reading that counts; None for the newest.
    is_outgrown
        Whether instances have come since.
    retracted
        Why it was taken back; None where it was not.
    note_sent_at
        When the last destination took the note that rejects it; None where one has not.
    """

    generation: int
    has_report: bool
    stored_at: float | None
    committed_at: float | None
    revises: int | None
    superseded_by: int | None
    is_outgrown: bool
    retracted: Reason | None
    note_sent_at: float | None


def readings(journal: Journal, series_key: str) -> tuple[ReadingRow, ...]:
    """Return the readings of a series, oldest first."""
    objects = (
        select(RESULTS, REVISIONS.c.predecessor_uid, RETRACTIONS.c.reason, RETRACTIONS.c.sent_at)
        .outerjoin(REVISIONS, REVISIONS.c.sop_instance_uid == RESULTS.c.sop_instance_uid)
        .outerjoin(
            RETRACTIONS,
            (RETRACTIONS.c.series_key == RESULTS.c.series_key) & (RETRACTIONS.c.generation == RESULTS.c.generation),
        )
        .where(RESULTS.c.series_key == series_key)
        # the report stands for its reading
        .order_by(RESULTS.c.generation, RESULTS.c.kind != _REPORT, RESULTS.c.position)
    )
    newest_instance = select(func.max(INSTANCES.c.generation)).where(INSTANCES.c.series_key == series_key)
    with journal.look() as connection:
        found = connection.execute(objects).all()
        grown_at = connection.execute(newest_instance).scalar() or 0
    reports = [next(of_reading) for _, of_reading in groupby(found, key=lambda row: row.generation)]
    generation_of = {report.sop_instance_uid: report.generation for report in reports}
    counting = [report.generation for report in reports if report.reason is None]
    return tuple(
        ReadingRow(
            generation=report.generation,
            has_report=report.kind == _REPORT,
            stored_at=report.stored_at,
            committed_at=report.committed_at,
            revises=generation_of.get(report.predecessor_uid),
            superseded_by=next((later for later in counting if later > report.generation), None),
            is_outgrown=report.generation < grown_at,
            retracted=None if report.reason is None else Reason(report.reason),
            note_sent_at=report.sent_at,
        )
        for report in reports
    )


def earlier_readings(journal: Journal, row: SeriesRow, *, delivered: bool) -> tuple[ReadingRow, ...]:
    """Return the readings before this generation that a new one may revise, the newest first; no retracted ones.

    Parameters
    ----------
    journal, row
        The series as it is now.
    delivered
        Whether only those count that the destination took: it should find there what a report refers to.
    """
    return tuple(
        one
        for one in reversed(readings(journal, row.series_key))
        if one.generation < row.generation and one.retracted is None and (one.stored_at is not None or not delivered)
    )


def edition(journal: Journal, row: SeriesRow) -> int:
    """Return how many readings of a series were taken back before its present generation."""
    return sum(
        one.retracted is not None and one.generation < row.generation for one in readings(journal, row.series_key)
    )


def next_generation(row: SeriesRow, now: float, queue: Queue) -> dict[str, Any]:
    """Return what a series that was read is queued with for another reading."""
    return {
        "generation": row.generation + 1,
        "completed_at": now,  # the time of the new reading: two readings of one time could not be told apart
        "attempts": 0,
        "deliveries": 0,
        "lease_owner": None,
        "lease_until": 0.0,
        **entry(row.lane, now, queue),
    }


def read_again(journal: Journal, row: SeriesRow, queue: Queue) -> bool:
    """Queue a series that was read for another reading, by the engine as it is now: a generation of its own.

    Parameters
    ----------
    journal, row
        The series.
    queue
        It enters the worklist anew.

    Returns
    -------
    Whether it was queued; False where it has no reading, or somebody is at it.
    """
    now = journal.clock()
    if State.QUEUED not in TRANSITIONS[row.state] or is_in_hand(journal, row) or not readings(journal, row.series_key):
        return False
    done = journal.move(row, State.QUEUED, **next_generation(row, now, queue))
    if done:
        journal.log(journal.series(row.series_key), "read again")
    return done


def leave(journal: Journal, row: SeriesRow, reason: Reason) -> bool:
    """End a series that is not read; an earlier report of it stands, and the timeline says so.

    Returns
    -------
    Whether it was changed; False if the series has changed meanwhile.
    """
    done = journal.move(row, ending(reason), reason=reason, lease_owner=None, lease_until=0.0, next_try_at=0.0)
    if done and earlier_readings(journal, row, delivered=False):
        _log.warning("the report of an earlier reading of this series stands")
        journal.log(row, "earlier report stands", reason=reason)
    return done
