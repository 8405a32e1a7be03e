"""The readings of one series in the journal: a series that grows is read again, and its report revises the one before.

No reading has a state of its own: that of its series is the newest one's, and an older one is superseded (ADR 0014).
"""

import logging
from dataclasses import dataclass
from itertools import zip_longest

from sqlalchemy import select

from sgmri.lifecycle import Reason, ending
from worker.journal import Journal, SeriesRow
from worker.journal_tables import RESULTS, REVISIONS

_log = logging.getLogger(__name__)

_REPORT = "SR"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingRow:
    """One reading of a series, and how far its report has come.

    Parameters
    ----------
    generation
        Of the series when it was read.
    stored_at, committed_at
        When the destination took its report, and responsibility for it; None where it has not.
    revises
        Generation of the reading whose report it names as predecessor; None where it names none.
    superseded_by
        Generation of the next reading; None for the newest.
    """

    generation: int
    stored_at: float | None
    committed_at: float | None
    revises: int | None
    superseded_by: int | None


def readings(journal: Journal, series_key: str) -> tuple[ReadingRow, ...]:
    """Return the readings of a series, oldest first."""
    query = (
        select(RESULTS, REVISIONS.c.predecessor_uid)
        .outerjoin(REVISIONS, REVISIONS.c.sop_instance_uid == RESULTS.c.sop_instance_uid)
        .where(RESULTS.c.series_key == series_key, RESULTS.c.kind == _REPORT)
        .order_by(RESULTS.c.generation)
    )
    with journal.look() as connection:
        reports = connection.execute(query).all()
    generation_of = {report.sop_instance_uid: report.generation for report in reports}
    return tuple(
        ReadingRow(
            generation=report.generation,
            stored_at=report.stored_at,
            committed_at=report.committed_at,
            revises=generation_of.get(report.predecessor_uid),
            superseded_by=following.generation if following else None,
        )
        for report, following in zip_longest(reports, reports[1:])
    )


def earlier_reports(journal: Journal, row: SeriesRow, *, delivered: bool) -> tuple[int, ...]:
    """Return the generations before this one whose report a new one may name, the newest first.

    Parameters
    ----------
    journal, row
        The series as it is now.
    delivered
        Whether only reports count that the destination took: it should find there what a report refers to.
    """
    return tuple(
        one.generation
        for one in reversed(readings(journal, row.series_key))
        if one.generation < row.generation and (one.stored_at is not None or not delivered)
    )


def leave(journal: Journal, row: SeriesRow, reason: Reason) -> bool:
    """End a series that is not read; an earlier report of it stands, and the timeline says so.

    Returns
    -------
    Whether it was changed; False if the series has changed meanwhile.
    """
    done = journal.move(row, ending(reason), reason=reason, lease_owner=None, lease_until=0.0, next_try_at=0.0)
    if done and earlier_reports(journal, row, delivered=False):
        _log.warning("the report of an earlier reading of this series stands")
        journal.log(row, "earlier report stands", reason=reason)
    return done
