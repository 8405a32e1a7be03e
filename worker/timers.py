"""The journal's timers when the clock is put forward or back: they are moved with it.

Times in the journal are wall-clock times, for several machines and restarts share them. A jump would end quiet periods
and leases before their time, or hold everything up for as long as it went back.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import update

from sgmri.lifecycle import State
from worker.journal import Journal
from worker.journal_tables import DELIVERIES, SERIES

_NOTICED_S = 2.0


@dataclass(slots=True)
class ClockWatch:
    """Notices that a clock jumps.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    monotonic
        Seconds that only go forward, and evenly.
    """

    clock: Callable[[], float]
    monotonic: Callable[[], float] = time.monotonic
    _offset_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._offset_s = self.clock() - self.monotonic()

    def jumped_s(self) -> float:
        """Return by how much the clock has jumped since the last call, in seconds; 0 below two."""
        offset_s = self.clock() - self.monotonic()
        jump_s = offset_s - self._offset_s
        if abs(jump_s) < _NOTICED_S:
            return 0.0
        self._offset_s = offset_s
        return jump_s


def shift(journal: Journal, by_s: float, *, lease_s: float) -> None:
    """Move the timers that run by what the clock has jumped; what was written since the jump stays.

    Parameters
    ----------
    journal
        Whose clock has jumped.
    by_s
        How far, in seconds; back where negative.
    lease_s
        No lease lasts longer.
    """
    now = journal.clock()
    last = SERIES.c.last_instance_at
    came_before = last < now - by_s / 2 if by_s > 0 else last > now
    with journal.begin() as connection:
        receiving = update(SERIES).where(SERIES.c.state == State.RECEIVING, came_before)
        connection.execute(receiving.values(last_instance_at=last + by_s))
        for table in (SERIES, DELIVERIES):
            lease, next_try = table.c.lease_until, table.c.next_try_at
            if by_s > 0:
                connection.execute(update(table).where(lease > 0, lease < now).values(lease_until=lease + by_s))
                due = update(table).where(next_try > 0, next_try < now)
            else:
                connection.execute(update(table).where(lease > now + lease_s).values(lease_until=now + lease_s))
                due = update(table).where(next_try > 0)
            connection.execute(due.values(next_try_at=next_try + by_s))
