"""The journal's deliveries: how far each reading has come at each destination, and what follows for its series.

Every destination has a state, a lease and a next try of its own, so that none waits for another. The series' state
follows from them in the same transaction: READ while one still lacks an object, STORED when all have stored,
COMMITTED when all that are asked for proof have given it; FAILED when none goes on and one was given up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from sgmri.lifecycle import Reason, State
from worker.destinations import Target
from worker.journal import Journal, SeriesRow, series_row
from worker.journal_tables import DELIVERED, DELIVERIES, RESULTS, SERIES


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """How far one reading has come at one destination."""

    series_key: str
    generation: int
    destination: str
    form: str
    state: State
    reason: Reason
    tries: int
    next_try_at: float
    since: float
    stored_at: float | None
    committed_at: float | None
    lease_owner: str | None
    lease_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """One object of a reading, and what one destination did with it."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    file_name: str
    stored_at: float | None
    committed_at: float | None
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """The deliveries to the destinations of the settings.

    Parameters
    ----------
    journal
        Where they are kept.
    targets
        The destinations; what the journal says of others is left alone.
    """

    journal: Journal
    targets: tuple[Target, ...] = ()

    # -- looking ------------------------------------------------------------------------------------------------

    def of(self, row: SeriesRow, generation: int | None = None) -> tuple[DeliveryRow, ...]:
        """Return the deliveries of a generation (None: the present one), in the order of the destinations."""
        with self.journal.look() as connection:
            return self._of(connection, row.series_key, row.generation if generation is None else generation)

    def one(self, series_key: str, generation: int, destination: str) -> DeliveryRow | None:
        """Return the delivery of one reading to one destination; None where there is none."""
        with self.journal.look() as connection:
            found = self._of(connection, series_key, generation)
        return next((delivery for delivery in found if delivery.destination == destination), None)

    def _of(self, connection: Connection, series_key: str, generation: int) -> tuple[DeliveryRow, ...]:
        names = [target.outlet.name for target in self.targets]
        query = select(DELIVERIES).where(
            DELIVERIES.c.series_key == series_key,
            DELIVERIES.c.generation == generation,
            DELIVERIES.c.destination.in_(names),
        )
        rows = [
            DeliveryRow(**{**found._mapping, "state": State(found.state), "reason": Reason(found.reason)})
            for found in connection.execute(query)
        ]
        return tuple(sorted(rows, key=lambda one: names.index(one.destination)))

    def objects(self, delivery: DeliveryRow) -> tuple[ObjectRow, ...]:
        """Return the objects of a delivery, in the order in which they are sent."""
        this = (DELIVERED.c.sop_instance_uid == RESULTS.c.sop_instance_uid) & (
            DELIVERED.c.destination == delivery.destination
        )
        query = (
            select(
                RESULTS.c.kind,
                RESULTS.c.sop_class_uid,
                RESULTS.c.sop_instance_uid,
                RESULTS.c.series_instance_uid,
                RESULTS.c.file_name,
                DELIVERED.c.stored_at,
                DELIVERED.c.committed_at,
                DELIVERED.c.reason,
            )
            .outerjoin(DELIVERED, this)
            .where(
                RESULTS.c.series_key == delivery.series_key,
                RESULTS.c.generation == delivery.generation,
                RESULTS.c.form == delivery.form,
            )
            .order_by(RESULTS.c.position)
        )
        with self.journal.look() as connection:
            return tuple(
                ObjectRow(**{**found._mapping, "reason": Reason(found.reason or Reason.NONE)})
                for found in connection.execute(query)
            )

    def goes_on(self, delivery: DeliveryRow) -> bool:
        """Return whether something is still to be done for a delivery."""
        proves = any(one.outlet.proves for one in self.targets if one.outlet.name == delivery.destination)
        return delivery.state is State.READ or (delivery.state is State.STORED and proves)

    # -- beginning ----------------------------------------------------------------------------------------------

    def begin(self, connection: Connection, row: SeriesRow, forms: Sequence[str]) -> None:
        """Begin the deliveries of a reading that has just ended, as a part of a transaction.

        Parameters
        ----------
        connection, row
            The transaction, and the series.
        forms
            The forms in which it has objects.
        """
        connection.execute(
            delete(DELIVERIES).where(
                DELIVERIES.c.series_key == row.series_key, DELIVERIES.c.generation == row.generation
            )
        )
        for target in self.targets:
            if target.form in forms and target.outlet.takes(row.question_set_id):
                connection.execute(
                    insert(DELIVERIES).values(
                        series_key=row.series_key,
                        generation=row.generation,
                        destination=target.outlet.name,
                        form=target.form,
                        state=State.READ,
                        reason=Reason.NONE,
                        since=self.journal.clock(),
                    )
                )

    def begin_late(self, row: SeriesRow) -> None:
        """Begin the deliveries of a series that was read when no destination was set, unless they have begun."""
        forms = select(RESULTS.c.form).where(
            RESULTS.c.series_key == row.series_key, RESULTS.c.generation == row.generation
        )
        with self.journal.begin() as connection:
            self._locked(connection, row.series_key)
            if not self._of(connection, row.series_key, row.generation):
                self.begin(connection, row, [str(form) for (form,) in connection.execute(forms)])

    # -- changing -----------------------------------------------------------------------------------------------

    def take_lease(self, delivery: DeliveryRow, owner: str, lease_s: float) -> DeliveryRow | None:
        """Become the one who delivers there; None if another is, or the delivery has changed."""
        now = self.journal.clock()
        free = (
            _is(delivery)
            & (DELIVERIES.c.state == delivery.state)
            & (DELIVERIES.c.next_try_at == delivery.next_try_at)
            & (DELIVERIES.c.lease_until <= now)
        )
        # of an earlier generation, which may have the very same objects
        in_hand = select(DELIVERIES.c.generation).where(
            DELIVERIES.c.series_key == delivery.series_key,
            DELIVERIES.c.destination == delivery.destination,
            DELIVERIES.c.lease_until > now,
        )
        values = {"lease_owner": owner, "lease_until": now + lease_s}
        with self.journal.begin() as connection:
            series = self._locked(connection, delivery.series_key)
            if series.generation != delivery.generation or series.state not in (State.READ, State.STORED):
                return None
            if connection.execute(in_hand).first() is not None:
                return None
            if not connection.execute(update(DELIVERIES).where(free).values(**values)).rowcount:
                return None
            found = self._of(connection, delivery.series_key, delivery.generation)
        return next(one for one in found if one.destination == delivery.destination)

    def renew_lease(self, delivery: DeliveryRow, lease_s: float) -> bool:
        """Say that the owner is alive; False if the lease is no longer its own."""
        until = self.journal.clock() + lease_s
        with self.journal.begin() as connection:
            changed = connection.execute(update(DELIVERIES).where(_is_still(delivery)).values(lease_until=until))
        return changed.rowcount == 1

    def mark(self, delivery: DeliveryRow, sop_instance_uids: Sequence[str], **change: float | str | None) -> None:
        """Record what became of objects at a destination.

        Parameters
        ----------
        delivery, sop_instance_uids
            Where, and which.
        change
            Columns to set: ``stored_at``, ``committed_at``, ``reason``.
        """
        with self.journal.begin() as connection:
            for uid in sop_instance_uids:
                self._mark(connection, delivery, uid, change)

    def _mark(
        self, connection: Connection, delivery: DeliveryRow, uid: str, change: dict[str, float | str | None]
    ) -> None:
        this = (DELIVERED.c.destination == delivery.destination) & (DELIVERED.c.sop_instance_uid == uid)
        if not connection.execute(update(DELIVERED).where(this).values(**change)).rowcount:
            values = {
                "destination": delivery.destination,
                "sop_instance_uid": uid,
                "series_key": delivery.series_key,
                "reason": Reason.NONE,
            }
            connection.execute(insert(DELIVERED).values(**{**values, **change}))
        if "stored_at" in change:
            first = select(func.min(DELIVERED.c.stored_at)).where(DELIVERED.c.sop_instance_uid == uid)
            of_object = RESULTS.c.sop_instance_uid == uid
            connection.execute(update(RESULTS).where(of_object).values(stored_at=first.scalar_subquery()))

    def move(
        self,
        delivery: DeliveryRow,
        after: State,
        *,
        reason: Reason = Reason.NONE,
        keeps_lease: bool = False,
        **change: str | float | None,
    ) -> bool:
        """Change the state of a delivery, and that of its series accordingly.

        Parameters
        ----------
        delivery
            As it was read; its lease must still be the same one's.
        after, reason
            The state to enter, and why.
        keeps_lease
            Whether its owner goes on with it.
        change
            Further columns to set.

        Returns
        -------
        Whether it was changed; False if the lease has gone to another or the reading was begun anew.
        """
        released = {} if keeps_lease else {"lease_owner": None, "lease_until": 0.0}
        values = {"state": after, "reason": reason, **released, **change}
        unchanged = _is_still(delivery) & (DELIVERIES.c.state == delivery.state)
        with self.journal.begin() as connection:
            series = self._locked(connection, delivery.series_key)
            done = connection.execute(update(DELIVERIES).where(unchanged).values(**values)).rowcount == 1
            if done:
                self._settle(connection, series, delivery.generation)
        return done

    def try_now(self, connection: Connection, row: SeriesRow) -> None:
        """Let every delivery that has not ended well be tried at once, with its tries forgotten."""
        for delivery in self._of(connection, row.series_key, row.generation):
            after = State.READ if delivery.state is State.FAILED else delivery.state
            now = self.journal.clock()
            values = {"state": after, "reason": Reason.NONE, "tries": 0, "next_try_at": 0.0, "since": now}
            if self.goes_on(delivery) or delivery.state is State.FAILED:
                connection.execute(update(DELIVERIES).where(_is(delivery)).values(**values))

    def _locked(self, connection: Connection, series_key: str) -> SeriesRow:
        """Read a series so that nobody else changes it or its deliveries before the transaction ends."""
        query = select(SERIES).where(SERIES.c.series_key == series_key).with_for_update()
        return series_row(connection.execute(query).one())

    def _settle(self, connection: Connection, row: SeriesRow, generation: int) -> None:
        """Let the state of a reading's series follow from its deliveries."""
        deliveries = self._of(connection, row.series_key, generation)
        after = self._state_of(deliveries)
        if after is State.COMMITTED:
            of_reading = (RESULTS.c.series_key == row.series_key) & (RESULTS.c.generation == generation)
            connection.execute(update(RESULTS).where(of_reading).values(committed_at=self.journal.clock()))
        if row.generation != generation or row.state not in (State.READ, State.STORED):
            return
        if row.state is State.READ and after is State.COMMITTED:
            self.journal.move_within(connection, row, State.STORED)
            row = self._locked(connection, row.series_key)
        self.journal.move_within(
            connection,
            row,
            after,
            reason=next((one.reason for one in deliveries if one.reason is not Reason.NONE), Reason.NONE),
            next_try_at=min((one.next_try_at for one in deliveries if self.goes_on(one)), default=0.0),
            deliveries=max(one.tries for one in deliveries),
        )

    def _state_of(self, deliveries: Sequence[DeliveryRow]) -> State:
        states = {one.state for one in deliveries}
        if State.READ in states:
            return State.READ
        if any(self.goes_on(one) for one in deliveries):
            return State.STORED
        if State.FAILED in states:
            return State.FAILED
        return State.COMMITTED if State.COMMITTED in states else State.STORED


def is_in_hand(journal: Journal, row: SeriesRow) -> bool:
    """Return whether somebody reads or delivers this series now."""
    now = journal.clock()
    held = select(DELIVERIES.c.destination).where(
        DELIVERIES.c.series_key == row.series_key, DELIVERIES.c.lease_until > now
    )
    with journal.look() as connection:
        return row.lease_until > now or connection.execute(held).first() is not None


def _is(delivery: DeliveryRow) -> ColumnElement[bool]:
    return (
        (DELIVERIES.c.series_key == delivery.series_key)
        & (DELIVERIES.c.generation == delivery.generation)
        & (DELIVERIES.c.destination == delivery.destination)
    )


def _is_still(delivery: DeliveryRow) -> ColumnElement[bool]:
    owner = DELIVERIES.c.lease_owner
    return _is(delivery) & (owner.is_(None) if delivery.lease_owner is None else owner == delivery.lease_owner)
