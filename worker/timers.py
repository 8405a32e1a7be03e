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
from worker.journal_tables import SERIES

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
    receiving = SERIES.c.state == State.RECEIVING
    last, lease, next_try = SERIES.c.last_instance_at, SERIES.c.lease_until, SERIES.c.next_try_at
    with journal.begin() as connection:
        if by_s > 0:
            came_before = receiving & (last < now - by_s / 2)
            connection.execute(update(SERIES).where(came_before).values(last_instance_at=last + by_s))
            connection.execute(update(SERIES).where(lease > 0, lease < now).values(lease_until=lease + by_s))
            connection.execute(update(SERIES).where(next_try > 0, next_try < now).values(next_try_at=next_try + by_s))
        else:
            connection.execute(update(SERIES).where(receiving & (last > now)).values(last_instance_at=last + by_s))
            connection.execute(update(SERIES).where(lease > now + lease_s).values(lease_until=now + lease_s))
            connection.execute(update(SERIES).where(next_try > 0).values(next_try_at=next_try + by_s))
