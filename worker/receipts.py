"""What the journal notes of received instances: many at a time, for a transaction costs more than its rows.

One transaction takes one statement of each kind for each series. The series' rows are locked in the order of their
keys, so that two writers on PostgreSQL wait for each other instead of killing each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from sgmri.lifecycle import Reason, State
from worker.journal_tables import EVENTS, INSTANCES, SERIES

_NOT_READ_YET = frozenset({State.COMPLETE, State.QUEUED, State.READING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What the listener reports of one stored instance.

    Parameters
    ----------
    series_key, study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, file_name, size_bytes
        What it is and where it lies.
    expected_instances
        How many the series says it has; None where it does not.
    differs
        Whether it came again with other bytes.
    file_was_missing
        Whether the spool did not have its file.
    received_at
        When it came, in seconds since the epoch; None for now.
    """

    series_key: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    file_name: str
    size_bytes: int
    expected_instances: int | None = None
    differs: bool = False
    file_was_missing: bool = False
    received_at: float | None = None


def record(connection: Connection, instances: Iterable[Received], now: float) -> int:
    """Record stored instances as a part of a transaction; see :meth:`worker.journal.Journal.receive`."""
    by_series: dict[str, list[Received]] = {}
    for instance in instances:
        by_series.setdefault(instance.series_key, []).append(instance)
    return sum(_record_series(connection, by_series[key], now) for key in sorted(by_series))


def _record_series(connection: Connection, instances: list[Received], now: float) -> int:
    row = _ensure_series(connection, instances[0], now)
    new, again = _parted(connection, instances)
    conflicts = {one.sop_instance_uid for one in again if one.differs}
    missing = [instance for instance in again if instance.file_was_missing]
    is_receiving = State(row.state) is State.RECEIVING
    is_waiting = State(row.state) in _NOT_READ_YET or Reason(row.reason) is Reason.INCOMPLETE_SERIES
    reopens = not is_receiving and (bool(new) or (is_waiting and bool(missing)))
    generation = row.generation + int(reopens)
    if new:
        connection.execute(insert(INSTANCES), [_instance_values(one, generation) for one in new])
    for uid in conflicts:
        this = (INSTANCES.c.series_key == row.series_key) & (INSTANCES.c.sop_instance_uid == uid)
        connection.execute(update(INSTANCES).where(this).values(conflict=True))
    # What came into a series that receives puts off its end; known instances that were there do not
    counted = [*new, *missing] if is_receiving or reopens else []
    if counted:
        values: dict[str, Any] = {
            "instances": row.instances + len(new),
            "last_instance_at": max(_came(one, now) for one in counted),
            "updated_at": now,
        }
        if reopens:
            values |= _reopened(connection, row, "grown" if new else "restored", now)
        connection.execute(update(SERIES).where(SERIES.c.series_key == row.series_key).values(**values))
    return len(new)


def _parted(connection: Connection, instances: list[Received]) -> tuple[list[Received], list[Received]]:
    """Part instances into new ones and those that are known, or are new and came twice."""
    uids = {one.sop_instance_uid for one in instances}
    query = select(INSTANCES.c.sop_instance_uid).where(
        INSTANCES.c.series_key == instances[0].series_key, INSTANCES.c.sop_instance_uid.in_(uids)
    )
    known = {str(uid) for (uid,) in connection.execute(query)}
    new: list[Received] = []
    again: list[Received] = []
    for one in instances:
        (again if one.sop_instance_uid in known else new).append(one)
        known.add(one.sop_instance_uid)
    return new, again


def _instance_values(instance: Received, generation: int) -> dict[str, Any]:
    return {
        "series_key": instance.series_key,
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "file_name": instance.file_name,
        "size_bytes": instance.size_bytes,
        "generation": generation,
        "conflict": instance.differs,
    }


def _came(instance: Received, now: float) -> float:
    return now if instance.received_at is None else instance.received_at


def _reopened(connection: Connection, row: Row[Any], stage: str, now: float) -> dict[str, Any]:
    """Return what makes a series receive again, as its next generation."""
    _log(connection, row.series_key, row.generation + 1, stage, now)
    return {
        "state": State.RECEIVING,
        "reason": Reason.NONE,
        "generation": row.generation + 1,
        "attempts": 0,
        "deliveries": 0,
        "next_try_at": 0.0,
        "lease_owner": None,
        "lease_until": 0.0,
    }


def _ensure_series(connection: Connection, instance: Received, now: float) -> Row[Any]:
    query = select(SERIES).where(SERIES.c.series_key == instance.series_key).with_for_update()
    found = connection.execute(query).first()
    if found is None:
        came = _came(instance, now)
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(SERIES).values(
                        series_key=instance.series_key,
                        study_instance_uid=instance.study_instance_uid,
                        series_instance_uid=instance.series_instance_uid,
                        state=State.RECEIVING,
                        reason=Reason.NONE,
                        expected_instances=instance.expected_instances,
                        received_at=came,
                        last_instance_at=came,
                        updated_at=now,
                    )
                )
                _log(connection, instance.series_key, 0, "first instance", came)
        except IntegrityError:
            pass  # another process has just inserted it
        found = connection.execute(query).first()
        assert found is not None
    return found


def _log(connection: Connection, series_key: str, generation: int, stage: str, at: float) -> None:
    values = {"series_key": series_key, "generation": generation, "at": at, "stage": stage, "reason": Reason.NONE}
    connection.execute(insert(EVENTS).values(**values))
