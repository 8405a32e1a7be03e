"""The journal: the truth about every series, and the outbox of what is still to be done.

A database, so that the broker is only a bell (ADR 0004): losing Redis, or a message twice, loses and doubles
nothing. Each change of state is one conditional UPDATE, so two processes cannot both make it; a transition that
:data:`sgmri.lifecycle.TRANSITIONS` does not have is a :class:`sgmri.errors.StateError`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from sgmri.errors import StateError
from sgmri.lanes import Lane
from sgmri.lifecycle import Reason, State, may_follow
from worker.database import open_database
from worker.journal_schema import prepare
from worker.journal_tables import CHECKPOINTS, EVENTS, INSTANCES, SERIES
from worker.receipts import Received, record


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """What the journal knows of one series."""

    series_key: str
    study_instance_uid: str
    series_instance_uid: str
    state: State
    reason: Reason
    generation: int
    instances: int
    expected_instances: int | None
    question_set_id: str | None
    received_at: float
    last_instance_at: float
    completed_at: float | None
    lease_owner: str | None
    lease_until: float
    attempts: int
    deliveries: int
    next_try_at: float
    updated_at: float
    lane: Lane
    first_lane_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One line of a series' timeline."""

    at: float
    stage: str
    duration_s: float | None
    reason: Reason
    generation: int


Change = dict[str, str | float | None]

_SPOOL = "spool"  # the one checkpoint there is: one listener owns a spool


class Journal:
    """Read and change the truth.

    Parameters
    ----------
    url
        SQLAlchemy URL.
    clock
        Seconds since the epoch; an argument so that tests own the time.

    Raises
    ------
    ConfigError
        If the URL cannot be used, the database does not answer, or its journal is of another version.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._engine = open_database(url)
        try:
            prepare(self._engine, clock())
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def begin(self, *, durable: bool = False) -> Iterator[Connection]:
        """Open a transaction (for the journal's other half, :mod:`worker.outbox`).

        Parameters
        ----------
        durable
            Whether a power cut just after it must not undo it; PostgreSQL never does.
        """
        with self._engine.execution_options(durable=durable).begin() as connection:
            yield connection

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """Keep one idle connection: the last one that closes makes SQLite empty and sync its write-ahead log."""
        with self._engine.connect():
            yield

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        with self._engine.connect().execution_options(reads_only=True) as connection:
            yield connection

    # -- receiving ----------------------------------------------------------------------------------------------

    def receive(self, *instances: Received, checkpoint: float | None = None) -> int:
        """Record stored instances; open a new generation of a series that had been complete.

        Parameters
        ----------
        instances
            What was stored, in the order in which it came.
        checkpoint
            When set: with these, every instance that was stored before this time is in the journal.

        Returns
        -------
        How many are new. One that was there changes nothing, so a study sent again is read once; but if its file had
        been lost, a series that waits for its reading, or failed for what is missing, is received again.
        """
        with self._engine.begin() as connection:
            new = record(connection, instances, self.clock())
            if checkpoint is not None and not connection.execute(update(CHECKPOINTS).values(at=checkpoint)).rowcount:
                connection.execute(insert(CHECKPOINTS).values(name=_SPOOL, at=checkpoint))
        return new

    def checkpoint(self) -> float | None:
        """Return since when an instance may have been stored that the journal does not have; None if it may be any."""
        with self.look() as connection:
            return connection.execute(select(CHECKPOINTS.c.at).where(CHECKPOINTS.c.name == _SPOOL)).scalar()

    def quiet(
        self, quiet_period_s: float, *, at_expected_count: bool, now: float | None = None
    ) -> tuple[SeriesRow, ...]:
        """Return the receiving series that are complete now: quiet long enough, or at their expected count."""
        is_quiet = SERIES.c.last_instance_at <= (self.clock() if now is None else now) - quiet_period_s
        complete = (is_quiet | (SERIES.c.instances >= SERIES.c.expected_instances)) if at_expected_count else is_quiet
        with self.look() as connection:
            rows = connection.execute(select(SERIES).where(SERIES.c.state == State.RECEIVING, complete))
            return tuple(series_row(row) for row in rows)

    def next_quiet_at(self, quiet_period_s: float) -> float | None:
        """Return when the first receiving series will have been quiet for long enough; None where none receives."""
        query = select(func.min(SERIES.c.last_instance_at)).where(SERIES.c.state == State.RECEIVING)
        with self.look() as connection:
            earliest = connection.execute(query).scalar()
        return None if earliest is None else earliest + quiet_period_s

    # -- changing state -----------------------------------------------------------------------------------------

    def move(self, row: SeriesRow, after: State, *, reason: Reason = Reason.NONE, **change: str | float | None) -> bool:
        """Change the state of a series, if it is still what ``row`` says.

        Parameters
        ----------
        row
            The series as it was read; state, generation and lease owner must still agree.
        after
            The state to enter.
        reason
            Why.
        change
            Further columns to set.

        Returns
        -------
        Whether it was changed; False if somebody else was first or the series has grown.

        Raises
        ------
        StateError
            If the lifecycle has no such transition.
        """
        with self.begin() as connection:
            return self.move_within(connection, row, after, reason=reason, **change)

    def move_within(
        self,
        connection: Connection,
        row: SeriesRow,
        after: State,
        *,
        reason: Reason = Reason.NONE,
        **change: str | float | None,
    ) -> bool:
        """Change the state of a series as a part of a transaction; see :meth:`move`."""
        if not may_follow(row.state, after):
            raise StateError(f"the lifecycle has no transition from {row.state} to {after}")
        now = self.clock()
        unchanged = (
            (SERIES.c.series_key == row.series_key)
            & (SERIES.c.state == row.state)
            & (SERIES.c.generation == row.generation)
            & (SERIES.c.lease_owner.is_(None) if row.lease_owner is None else SERIES.c.lease_owner == row.lease_owner)
        )
        values: Change = {"state": after, "reason": reason, "updated_at": now, **change}
        done = connection.execute(update(SERIES).where(unchanged).values(**values)).rowcount == 1
        if done and after is not row.state:
            self._log(connection, row.series_key, row.generation, after.value, reason=reason)
        return done

    def lease_within(self, connection: Connection, row: SeriesRow, owner: str, lease_s: float) -> bool:
        """Let a queued series be read by its owner from now on, as a part of a transaction; False if another has it."""
        now = self.clock()
        done = connection.execute(
            update(SERIES)
            .where(
                SERIES.c.series_key == row.series_key,
                SERIES.c.state == row.state,
                SERIES.c.generation == row.generation,
                (SERIES.c.lease_until <= now) | (SERIES.c.lease_owner == owner),
            )
            .values(
                state=State.READING,
                lease_owner=owner,
                lease_until=now + lease_s,
                attempts=SERIES.c.attempts + 1,
                updated_at=now,
            )
        ).rowcount
        if done:
            self._log(connection, row.series_key, row.generation, State.READING.value)
        return done == 1

    def renew_lease(self, series_key: str, owner: str, lease_s: float) -> bool:
        """Say that the owner is alive; False if the lease is no longer its own."""
        with self._engine.begin() as connection:
            return (
                connection.execute(
                    update(SERIES)
                    .where(SERIES.c.series_key == series_key, SERIES.c.lease_owner == owner)
                    .values(lease_until=self.clock() + lease_s)
                ).rowcount
                == 1
            )

    # -- looking ------------------------------------------------------------------------------------------------

    def series(self, series_key: str) -> SeriesRow:
        """Return one series.

        Raises
        ------
        KeyError
            If the journal does not have it.
        """
        with self.look() as connection:
            row = connection.execute(select(SERIES).where(SERIES.c.series_key == series_key)).first()
        if row is None:
            raise KeyError(series_key)
        return series_row(row)

    def series_of(self, keys: Sequence[str]) -> tuple[SeriesRow, ...]:
        """Return the series of some keys, as far as the journal has them."""
        with self.look() as connection:
            found = connection.execute(select(SERIES).where(SERIES.c.series_key.in_(keys)))
            return tuple(series_row(row) for row in found)

    def all_series(self, *states: State, limit: int | None = None) -> tuple[SeriesRow, ...]:
        """Return the series in some states (or all), oldest first, at most ``limit`` of them."""
        query = select(SERIES).order_by(SERIES.c.received_at).limit(limit)
        if states:
            query = query.where(SERIES.c.state.in_(states))
        with self.look() as connection:
            return tuple(series_row(row) for row in connection.execute(query))

    def newest(self, count: int) -> tuple[SeriesRow, ...]:
        """Return the series that came last, oldest first."""
        query = select(SERIES).order_by(SERIES.c.received_at.desc()).limit(count)
        with self.look() as connection:
            return tuple(series_row(row) for row in connection.execute(query))[::-1]

    def beginning_with(self, key: str, *, limit: int) -> tuple[SeriesRow, ...]:
        """Return the series whose key begins so, at most ``limit`` of them."""
        query = select(SERIES).where(SERIES.c.series_key.startswith(key, autoescape=True)).limit(limit)
        with self.look() as connection:
            return tuple(series_row(row) for row in connection.execute(query))

    def file_names(self, series_key: str) -> tuple[str, ...]:
        """Return the spool files of a series."""
        query = select(INSTANCES.c.file_name).where(INSTANCES.c.series_key == series_key)
        with self.look() as connection:
            return tuple(sorted(str(name) for (name,) in connection.execute(query)))

    def counts(self) -> dict[State, int]:
        """Count the series by state."""
        query = select(SERIES.c.state, func.count()).group_by(SERIES.c.state)
        with self.look() as connection:
            return {State(state): int(count) for state, count in connection.execute(query)}

    # -- the timeline -------------------------------------------------------------------------------------------

    def log(self, row: SeriesRow, stage: str, *, duration_s: float | None = None, reason: Reason = Reason.NONE) -> None:
        """Add a line to a series' timeline."""
        with self._engine.begin() as connection:
            self._log(connection, row.series_key, row.generation, stage, duration_s=duration_s, reason=reason)

    def timeline(self, series_key: str) -> tuple[EventRow, ...]:
        """Return a series' timeline, oldest first."""
        query = select(EVENTS).where(EVENTS.c.series_key == series_key).order_by(EVENTS.c.at, EVENTS.c.event_id)
        with self.look() as connection:
            return tuple(
                EventRow(
                    at=row.at,
                    stage=row.stage,
                    duration_s=row.duration_s,
                    reason=Reason(row.reason),
                    generation=row.generation,
                )
                for row in connection.execute(query)
            )

    def _log(
        self,
        connection: Connection,
        series_key: str,
        generation: int,
        stage: str,
        *,
        duration_s: float | None = None,
        reason: Reason = Reason.NONE,
    ) -> None:
        connection.execute(
            insert(EVENTS).values(
                series_key=series_key,
                generation=generation,
                at=self.clock(),
                stage=stage,
                duration_s=duration_s,
                reason=reason,
            )
        )


def series_row(row: Row[Any]) -> SeriesRow:
    """Turn a row of the table into what the journal knows."""
    values = dict(row._mapping)
    typed = {"state": State(values["state"]), "reason": Reason(values["reason"]), "lane": Lane(values["lane"])}
    return SeriesRow(**{**values, **typed})
