"""Whether readings may begin: an operator's word, in the journal, so that it holds for every host and after a restart.

Receiving and delivering go on whatever it says.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, select, update

from worker.journal import Journal
from worker.journal_tables import WORKLIST


class Mode(StrEnum):
    """What becomes of readings."""

    RUNNING = "RUNNING"
    """They begin as workers are free."""
    FINISHING = "FINISHING"
    """None begins; those under way end."""
    SUSPENDED = "SUSPENDED"
    """None begins; those under way are given back to the worklist, and are begun again from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistRow:
    """The worklist as a whole: its mode, since when, and when a reading last began (None: never)."""

    mode: Mode
    mode_since: float
    taken_at: float | None


def change(journal: Journal, mode: Mode) -> None:
    """Set the mode; when this returns, no reading begins that it forbids."""
    with journal.begin() as connection:
        connection.execute(
            update(WORKLIST).where(WORKLIST.c.mode != mode).values(mode=mode, mode_since=journal.clock())
        )


def look(journal: Journal) -> WorklistRow:
    """Return how the worklist stands."""
    with journal.look() as connection:
        row = connection.execute(select(WORKLIST)).one()
    return WorklistRow(mode=Mode(row.mode), mode_since=row.mode_since, taken_at=row.taken_at)


def may_begin(connection: Connection) -> bool:
    """Tell whether a reading may begin; until the transaction ends, nobody else changes it or begins one."""
    mode = connection.execute(select(WORKLIST.c.mode).with_for_update()).scalar_one()
    return Mode(mode) is Mode.RUNNING
