"""The journal's outgoing half: result objects, what waits to be done, storage commitment."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, delete, exists, insert, select, true, update

from sgmri.lifecycle import Reason, State
from sgmri.outlets import Outlet
from worker.breakers import left_alone
from worker.deliveries import Deliveries, DeliveryRow
from worker.destinations import Target
from worker.journal import Journal, SeriesRow, series_row
from worker.journal_tables import COMMITMENTS, DELIVERIES, RESULTS, REVISIONS, SERIES

_BATCH = 500


READING_FILE = "reading.json"
"""Name of the reading itself, beside its objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One result object of a series.

    ``form`` says for which destinations it is, ``stored_at`` and ``committed_at`` when the first of them took it, and
    all that are asked for proof gave it; ``predecessor_uid`` is the report that a report revises.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    file_name: str
    position: int
    stored_at: float | None = None
    committed_at: float | None = None
    predecessor_uid: str | None = None
    form: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """What a series' reading produced and how far it has come.

    Parameters
    ----------
    journal
        Where it is kept.
    targets
        Where it goes.
    """

    journal: Journal
    targets: tuple[Target, ...] = ()

    @property
    def deliveries(self) -> Deliveries:
        """How far it has come at each destination."""
        return Deliveries(journal=self.journal, targets=self.targets)

    def put(self, row: SeriesRow, results: Sequence[ResultRow]) -> bool:
        """End a reading: record its objects and the series as READ, both or neither.

        An object that an earlier generation had already (what is read has not changed) goes on with what became of it.

        Parameters
        ----------
        row
            The series, READING, with this process's lease on it.
        results
            The objects, in the order of delivery.

        Returns
        -------
        Whether it was recorded; False if the series has changed meanwhile.
        """
        uids = [result.sop_instance_uid for result in results]
        replaced = (RESULTS.c.series_key == row.series_key) & (
            (RESULTS.c.generation == row.generation) | RESULTS.c.sop_instance_uid.in_(uids)
        )
        with self.journal.begin() as connection:
            if not self.journal.move_within(
                connection, row, State.READ, lease_owner=None, lease_until=0.0, next_try_at=0.0
            ):
                return False
            known = {found.sop_instance_uid: found for found in connection.execute(select(RESULTS).where(replaced))}
            connection.execute(delete(RESULTS).where(replaced))
            connection.execute(delete(REVISIONS).where(REVISIONS.c.sop_instance_uid.in_(uids)))
            for result in results:
                values = asdict(result)
                predecessor_uid = values.pop("predecessor_uid")
                if result.sop_instance_uid in known:
                    before = known[result.sop_instance_uid]
                    values |= {"stored_at": before.stored_at, "committed_at": before.committed_at}
                connection.execute(
                    insert(RESULTS).values(series_key=row.series_key, generation=row.generation, **values)
                )
                if predecessor_uid is not None:
                    link = {"sop_instance_uid": result.sop_instance_uid, "predecessor_uid": predecessor_uid}
                    connection.execute(insert(REVISIONS).values(**link))
            self.deliveries.begin(connection, row, [result.form for result in results])
        return True

    def results(self, row: SeriesRow) -> tuple[ResultRow, ...]:
        """Return the objects of a series' present generation, in the order of delivery."""
        query = (
            select(RESULTS)
            .where(RESULTS.c.series_key == row.series_key, RESULTS.c.generation == row.generation)
            .order_by(RESULTS.c.position)
        )
        with self.journal.look() as connection:
            return tuple(
                ResultRow(
                    kind=found.kind,
                    sop_class_uid=found.sop_class_uid,
                    sop_instance_uid=found.sop_instance_uid,
                    series_instance_uid=found.series_instance_uid,
                    file_name=found.file_name,
                    position=found.position,
                    stored_at=found.stored_at,
                    committed_at=found.committed_at,
                    form=found.form,
                )
                for found in connection.execute(query)
            )

    def waiting(self) -> tuple[SeriesRow, ...]:
        """Return what somebody should be rung for to deliver it; no more than fit into a sweep.

        Returns
        -------
        Series with a delivery whose time has come, that nobody has in hand, to a destination that may be called;
        series that were read when no destination was set. Of those that wait for a destination that is left alone
        (:mod:`worker.breakers`) one at most, when its probe is due.
        """
        now = self.journal.clock()
        with self.journal.look() as connection:
            probes = left_alone(connection)
            callable_now = [one.outlet for one in self.targets if one.outlet.name not in probes]
            due = exists().where(
                self._open_delivery(callable_now), DELIVERIES.c.next_try_at <= now, DELIVERIES.c.lease_until <= now
            )
            rung = _IS_DELIVERED & (due | self._not_begun())
            rows = list(connection.execute(select(SERIES).where(rung).order_by(SERIES.c.completed_at).limit(_BATCH)))
            for target in self.targets:
                if probes.get(target.outlet.name, math.inf) <= now:
                    behind = _IS_DELIVERED & exists().where(self._open_delivery([target.outlet]))
                    probing = select(SERIES).where(behind).order_by(SERIES.c.completed_at).limit(1)
                    rows += [row for row in connection.execute(probing) if row not in rows]
        return tuple(series_row(row) for row in rows)

    def _open_delivery(self, outlets: Sequence[Outlet]) -> ColumnElement[bool]:
        """Say of a row of the deliveries that it belongs to the series, and is to go on at one of the destinations."""
        stored = (DELIVERIES.c.state == State.STORED) & DELIVERIES.c.destination.in_(
            [outlet.name for outlet in outlets if outlet.proves]
        )
        unstored = (DELIVERIES.c.state == State.READ) & DELIVERIES.c.destination.in_([o.name for o in outlets])
        return _IS_OF_SERIES & (unstored | stored)

    def _not_begun(self) -> ColumnElement[bool]:
        """Say of a series that no delivery has begun, though there is a destination now that takes it."""
        outlets = [target.outlet for target in self.targets]
        sets = {name for outlet in outlets for name in outlet.question_sets}
        for_any = any(not outlet.question_sets for outlet in outlets)
        takes = true() if for_any else SERIES.c.question_set_id.in_(sets)
        return (SERIES.c.state == State.READ) & ~exists().where(_IS_OF_SERIES) & takes

    def abandoned(self) -> tuple[SeriesRow, ...]:
        """Return the readings whose worker has been silent for longer than its lease."""
        query = select(SERIES).where(SERIES.c.state == State.READING, SERIES.c.lease_until <= self.journal.clock())
        with self.journal.look() as connection:
            return tuple(series_row(row) for row in connection.execute(query))

    def expect_commitment(self, delivery: DeliveryRow, transaction_uid: str) -> None:
        """Record a commitment request before it is sent: its answer may overtake the response."""
        with self.journal.begin() as connection:
            connection.execute(
                insert(COMMITMENTS).values(
                    transaction_uid=transaction_uid,
                    series_key=delivery.series_key,
                    generation=delivery.generation,
                    destination=delivery.destination,
                    requested_at=self.journal.clock(),
                )
            )

    def answer_commitment(
        self, transaction_uid: str, *, committed: Sequence[str], refused: Sequence[str], retry_s: float
    ) -> SeriesRow | None:
        """Take the answer of a destination.

        Parameters
        ----------
        transaction_uid
            Of the request.
        committed, refused
            SOP Instance UIDs.
        retry_s
            When what was refused is sent again.

        Returns
        -------
        The series as it now is; None for a transaction that the journal does not have.
        """
        now = self.journal.clock()
        this = COMMITMENTS.c.transaction_uid == transaction_uid
        with self.journal.begin() as connection:
            asked = connection.execute(select(COMMITMENTS).where(this)).first()
            if asked is None:
                return None
            connection.execute(update(COMMITMENTS).where(this).values(answered_at=now, refused=len(refused)))
        deliveries = self.deliveries
        delivery = deliveries.one(asked.series_key, asked.generation, asked.destination)
        if delivery is not None:
            known = {one.sop_instance_uid for one in deliveries.objects(delivery)}
            deliveries.mark(delivery, sorted(known & set(committed)), committed_at=now)
            # What was refused is stored again from the outbox, byte for byte
            deliveries.mark(delivery, sorted(known & set(refused)), stored_at=None, committed_at=None)
        while delivery is not None and delivery.state is State.STORED:
            if refused:
                reason = Reason.COMMITMENT_REFUSED
                done = deliveries.move(delivery, State.READ, reason=reason, next_try_at=now + retry_s)
            elif all(one.committed_at is not None for one in deliveries.objects(delivery)):
                done = deliveries.move(delivery, State.COMMITTED, committed_at=now)
            else:
                break
            # The delivery worker may just have given its lease back: then look again
            again = deliveries.one(asked.series_key, asked.generation, asked.destination)
            delivery = again if not done else None
        return self.journal.series(asked.series_key)


_IS_DELIVERED = SERIES.c.state.in_((State.READ, State.STORED))
_IS_OF_SERIES = (DELIVERIES.c.series_key == SERIES.c.series_key) & (DELIVERIES.c.generation == SERIES.c.generation)
