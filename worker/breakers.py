"""Circuit breakers: a destination that cannot be reached is left alone by all workers, and probed once in a while.

Closed, a destination is called as usual. After some failed connections in a row it is open: nobody calls it. When a
probe is due, the first who comes claims it by one conditional UPDATE, which also says when the next one is due; if the
destination answers, the breaker is closed and everything that waits for it is due at once.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from sgmri.lifecycle import Reason, State
from worker.journal import Journal
from worker.journal_tables import BREAKERS, DELIVERIES

_UNREACHED = (Reason.PEER_UNAVAILABLE, Reason.PEER_REJECTS)


class Gate(StrEnum):
    """Whether a destination may be called."""

    CLOSED = "closed"
    """As usual."""
    OPEN = "open"
    """Not now."""
    PROBE = "probe"
    """By whoever got this answer, once, to see whether it is there again."""


def left_alone(connection: Connection) -> dict[str, float]:
    """Return when the next probe is due, by destination that is left alone."""
    found = connection.execute(select(BREAKERS).where(BREAKERS.c.probe_at > 0))
    return {row.destination: float(row.probe_at) for row in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakers:
    """The circuit breakers of all destinations.

    Parameters
    ----------
    journal
        Where they stand, for all workers.
    max_failures
        Failed connections in a row that open one.
    probe_interval_s
        Time between two probes.
    """

    journal: Journal
    max_failures: int
    probe_interval_s: float

    def failures(self) -> dict[str, int]:
        """Return failed connections in a row by destination; those that have none may be missing."""
        with self.journal.look() as connection:
            return {row.destination: int(row.failures) for row in connection.execute(select(BREAKERS))}

    def open(self) -> dict[str, float]:
        """Return when the next probe is due, by destination that is left alone."""
        with self.journal.look() as connection:
            return left_alone(connection)

    def gate(self, destination: str) -> Gate:
        """Return whether a destination may be called now; claims its probe, if one is due."""
        now = self.journal.clock()
        this = BREAKERS.c.destination == destination
        with self.journal.look() as connection:
            probe_at = connection.execute(select(BREAKERS.c.probe_at).where(this)).scalar()
        if not probe_at:
            return Gate.CLOSED
        if probe_at > now:
            return Gate.OPEN
        with self.journal.begin() as connection:
            claimed = connection.execute(
                update(BREAKERS)
                .where(this, BREAKERS.c.probe_at == probe_at)
                .values(probe_at=now + self.probe_interval_s)
            ).rowcount
        return Gate.PROBE if claimed else Gate.OPEN

    def failed(self, destination: str) -> bool:
        """Count a failed connection; return whether the breaker is open by it."""
        this = BREAKERS.c.destination == destination
        with self.journal.begin() as connection:
            done = connection.execute(update(BREAKERS).where(this).values(failures=BREAKERS.c.failures + 1)).rowcount
            if not done:
                try:
                    with connection.begin_nested():
                        connection.execute(insert(BREAKERS).values(destination=destination, failures=1, probe_at=0.0))
                except IntegrityError:  # another process has just inserted it
                    connection.execute(update(BREAKERS).where(this).values(failures=BREAKERS.c.failures + 1))
            opened = connection.execute(
                update(BREAKERS)
                .where(this, BREAKERS.c.failures >= self.max_failures, BREAKERS.c.probe_at == 0.0)
                .values(probe_at=self.journal.clock() + self.probe_interval_s)
            ).rowcount
        return bool(opened)

    def answered(self, destination: str) -> bool:
        """Note that a destination was reached; return whether its breaker had been open."""
        this = BREAKERS.c.destination == destination
        with self.journal.look() as connection:
            found = connection.execute(select(BREAKERS).where(this)).first()
        if found is None or (found.failures == 0 and found.probe_at == 0.0):
            return False
        with self.journal.begin() as connection:
            connection.execute(update(BREAKERS).where(this).values(failures=0, probe_at=0.0))
            if found.probe_at:
                waiting = (
                    (DELIVERIES.c.destination == destination)
                    & DELIVERIES.c.state.in_((State.READ, State.STORED))
                    & DELIVERIES.c.reason.in_(_UNREACHED)
                )
                connection.execute(update(DELIVERIES).where(waiting).values(next_try_at=0.0))
        return bool(found.probe_at)
