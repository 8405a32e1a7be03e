"""The worklist: the queued series in the order in which they are read.

The order is the journal's: a message only says that there is work, and the worker that it wakes takes the best series.
No step looks at more series than it needs, however many wait.
"""

from dataclasses import dataclass
from typing import Any, TypedDict

from sqlalchemy import Select, func, select, update

from sgmri.lanes import Lane, in_first_lane_at, off_peak
from sgmri.lifecycle import Reason, State
from sgmri.settings import Queue, Settings
from worker import suspension
from worker.journal import Journal, SeriesRow, series_row
from worker.journal_tables import SERIES, WORKLIST
from worker.suspension import Mode

_QUEUED = SERIES.c.state == State.QUEUED


def _best(now: float) -> Select[Any]:
    return (
        select(SERIES)
        # the sum keeps SQLite from the index by next_try_at: it would sort all that wait to find the first
        .where(_QUEUED, SERIES.c.next_try_at + 0.0 <= now)
        .order_by(SERIES.c.first_lane_at)
        .limit(1)
        # one that somebody changes just now is not waited for; the sweeper rings again if it still waits then
        .with_for_update(skip_locked=True)
    )


class Entry(TypedDict):
    """The columns of a series' place in the worklist."""

    lane: Lane
    first_lane_at: float
    next_try_at: float


def entry(lane: Lane, now: float, queue: Queue) -> Entry:
    """Return the place of a series that enters the worklist.

    Parameters
    ----------
    lane
        Where it begins.
    now
        Seconds since the epoch.
    queue
        Ageing and off-peak hours.
    """
    hours = off_peak(queue.off_peak)
    since = hours.next_opening(now) if hours is not None and lane is Lane.OFF_PEAK else now
    return {"lane": lane, "first_lane_at": in_first_lane_at(lane, since, queue.ageing_s), "next_try_at": since}


def backoff_s(settings: Settings, row: SeriesRow) -> float:
    """Return how long a reading that did not end waits for its next attempt: three times as long each time."""
    return settings.delivery.retry_first_s * 3.0 ** (row.attempts - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worklist:
    """The queued series.

    Parameters
    ----------
    journal
        Where they are kept.
    """

    journal: Journal

    def take(self, owner: str, lease_s: float) -> SeriesRow | None:
        """Begin the next reading.

        Parameters
        ----------
        owner
            Who reads.
        lease_s
            How long it is believed without a sign of life.

        Returns
        -------
        The series, READING with the owner's lease; None where none may begin now.
        """
        now = self.journal.clock()
        with self.journal.begin() as connection:
            if not suspension.may_begin(connection):
                return None
            found = connection.execute(_best(now)).first()
            if found is None or not self.journal.lease_within(connection, series_row(found), owner, lease_s):
                return None
            connection.execute(update(WORKLIST).values(taken_at=now))
        return self.journal.series(found.series_key)

    def put_off(self, reason: Reason, wait_s: float) -> None:
        """Let the series that would be next wait, for a reason that is not its own."""
        now = self.journal.clock()
        with self.journal.begin() as connection:
            found = connection.execute(_best(now)).first()
            if found is not None:
                self.journal.move_within(
                    connection, series_row(found), State.QUEUED, reason=reason, next_try_at=now + wait_s
                )

    def ready(self, limit: int) -> int:
        """Count the series that can be read now, up to a limit; none while readings are suspended."""
        if suspension.look(self.journal).mode is not Mode.RUNNING:
            return 0
        some = select(SERIES.c.series_key).where(_QUEUED, SERIES.c.next_try_at <= self.journal.clock()).limit(limit)
        with self.journal.look() as connection:
            return int(connection.execute(select(func.count()).select_from(some.subquery())).scalar_one())

    def move_to(self, row: SeriesRow, lane: Lane, queue: Queue) -> bool:
        """Put a queued series into a lane, as if it had waited there; False if it is queued no more.

        A series that waits for its next try, or for the off-peak hours, waits no longer.
        """
        now = self.journal.clock()
        place = entry(lane, now, queue)
        if lane is not Lane.OFF_PEAK:
            place["next_try_at"] = min(now, row.next_try_at)
        return row.state is State.QUEUED and self.journal.move(row, State.QUEUED, reason=row.reason, **place)

    def by_lane(self) -> dict[Lane, int]:
        """Count the queued series of each lane."""
        query = select(SERIES.c.lane, func.count()).where(_QUEUED).group_by(SERIES.c.lane)
        with self.journal.look() as connection:
            found = {Lane(lane): int(count) for lane, count in connection.execute(query)}
        return {lane: found.get(lane, 0) for lane in Lane}

    def stalled_s(self, after_s: float) -> float | None:
        """Return for how long series have waited while none was begun and nobody reads; None where it is no stall.

        Parameters
        ----------
        after_s
            Shorter waits are no stall, in seconds.
        """
        now = self.journal.clock()
        worklist = suspension.look(self.journal)
        # by the index: the one that could be read first
        waiting = select(SERIES).where(_QUEUED, SERIES.c.next_try_at <= now).order_by(SERIES.c.next_try_at).limit(1)
        reading = (
            select(SERIES.c.series_key).where(SERIES.c.state == State.READING, SERIES.c.lease_until > now).limit(1)
        )
        with self.journal.look() as connection:
            first = connection.execute(waiting).first()
            is_reading = connection.execute(reading).first() is not None
        if first is None or is_reading or worklist.mode is not Mode.RUNNING:
            return None
        begun = max(worklist.taken_at or 0.0, worklist.mode_since, first.next_try_at, first.updated_at)
        return now - begun if now - begun > after_s else None
