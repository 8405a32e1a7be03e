"""The journal's outgoing half: result objects, what waits to be done, storage commitment."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, select, update

from sgmri.lifecycle import Reason, State
from sgmri.outlets import DEFAULT_NAME
from worker.journal import Journal, SeriesRow, series_row
from worker.journal_tables import COMMITMENTS, RESULTS, REVISIONS, SERIES


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One result object of a series; ``predecessor_uid`` is the report that a report revises."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    file_name: str
    position: int
    stored_at: float | None = None
    committed_at: float | None = None
    predecessor_uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """What a series' reading produced and how far it has come.

    Parameters
    ----------
    journal
        Where it is kept.
    """

    journal: Journal

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
                )
                for found in connection.execute(query)
            )

    def mark_stored(self, row: SeriesRow, sop_instance_uid: str) -> None:
        """Record that the destination took an object."""
        with self.journal.begin() as connection:
            connection.execute(
                update(RESULTS)
                .where(
                    RESULTS.c.series_key == row.series_key,
                    RESULTS.c.generation == row.generation,
                    RESULTS.c.sop_instance_uid == sop_instance_uid,
                )
                .values(stored_at=self.journal.clock())
            )

    def waiting(self, *, commitment: bool) -> tuple[SeriesRow, ...]:
        """Return what somebody should be rung for.

        Parameters
        ----------
        commitment
            Whether stored series are to be committed too.

        Returns
        -------
        Queued series whose time has come, read ones to deliver, stored ones whose commitment is overdue; none that
        somebody holds the lease of.
        """
        now = self.journal.clock()
        states = [State.QUEUED, State.READ] + ([State.STORED] if commitment else [])
        query = select(SERIES).where(
            SERIES.c.state.in_(states), SERIES.c.next_try_at <= now, SERIES.c.lease_until <= now
        )
        with self.journal.look() as connection:
            return tuple(series_row(row) for row in connection.execute(query.order_by(SERIES.c.completed_at)))

    def abandoned(self) -> tuple[SeriesRow, ...]:
        """Return the readings whose worker has been silent for longer than its lease."""
        query = select(SERIES).where(SERIES.c.state == State.READING, SERIES.c.lease_until <= self.journal.clock())
        with self.journal.look() as connection:
            return tuple(series_row(row) for row in connection.execute(query))

    def expect_commitment(self, row: SeriesRow, transaction_uid: str) -> None:
        """Record a commitment request before it is sent: its answer may overtake the response."""
        with self.journal.begin() as connection:
            connection.execute(
                insert(COMMITMENTS).values(
                    transaction_uid=transaction_uid,
                    series_key=row.series_key,
                    generation=row.generation,
                    destination=DEFAULT_NAME,
                    requested_at=self.journal.clock(),
                )
            )

    def answer_commitment(
        self, transaction_uid: str, *, committed: Sequence[str], refused: Sequence[str], retry_s: float
    ) -> SeriesRow | None:
        """Take the answer of the destination.

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
        row = self._note_answer(transaction_uid, committed, refused)
        while row is not None and row.state is State.STORED:
            if refused:
                retry_at = self.journal.clock() + retry_s
                done = self.journal.move(
                    row,
                    State.READ,
                    reason=Reason.COMMITMENT_REFUSED,
                    next_try_at=retry_at,
                    lease_owner=None,
                    lease_until=0.0,
                )
            elif all(result.committed_at is not None for result in self.results(row)):
                done = self.journal.move(row, State.COMMITTED, lease_owner=None, lease_until=0.0)
            else:
                break
            # The delivery worker may just have given its lease back: then look again
            row = self.journal.series(row.series_key) if not done else None
        return self._series_of(transaction_uid)

    def _series_of(self, transaction_uid: str) -> SeriesRow | None:
        query = (
            select(SERIES)
            .join(COMMITMENTS, COMMITMENTS.c.series_key == SERIES.c.series_key)
            .where(COMMITMENTS.c.transaction_uid == transaction_uid)
        )
        with self.journal.look() as connection:
            found = connection.execute(query).first()
        return None if found is None else series_row(found)

    def _note_answer(self, transaction_uid: str, committed: Sequence[str], refused: Sequence[str]) -> SeriesRow | None:
        now = self.journal.clock()
        with self.journal.begin() as connection:
            asked = connection.execute(
                select(COMMITMENTS).where(COMMITMENTS.c.transaction_uid == transaction_uid)
            ).first()
            if asked is None:
                return None
            connection.execute(
                update(COMMITMENTS)
                .where(COMMITMENTS.c.transaction_uid == transaction_uid)
                .values(answered_at=now, refused=len(refused))
            )
            of_series = (RESULTS.c.series_key == asked.series_key) & (RESULTS.c.generation == asked.generation)
            connection.execute(
                update(RESULTS).where(of_series, RESULTS.c.sop_instance_uid.in_(committed)).values(committed_at=now)
            )
            # What was refused is stored again from the outbox, byte for byte
            connection.execute(
                update(RESULTS)
                .where(of_series, RESULTS.c.sop_instance_uid.in_(refused))
                .values(stored_at=None, committed_at=None)
            )
        row = self.journal.series(asked.series_key)
        return row if row.generation == asked.generation else None
