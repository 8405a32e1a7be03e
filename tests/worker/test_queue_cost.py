"""What waits costs nothing: counted in instructions of SQLite's virtual machine, which know no load."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, insert
from sqlalchemy.engine import Engine

from sgmri.lifecycle import Reason, State
from sgmri.settings import parse
from tests.worker.place import Clock
from worker.database import sqlite_url
from worker.destinations import targets
from worker.journal import Journal
from worker.journal_tables import SERIES
from worker.outbox import Outbox
from worker.worklist import Worklist

_SOMEWHERE = targets(parse({"delivery": {"ae_title": "PACS"}}))


def steps(directory: Path, waiting: int, work: Callable[[Worklist], object]) -> int:
    """Return how many instructions some work takes beside series that wait."""
    directory.mkdir()
    counted = [0]

    def step() -> int:
        counted[0] += 1
        return 0

    def connected(connection: object, _record: object) -> None:
        assert isinstance(connection, sqlite3.Connection)
        connection.set_progress_handler(step, 1)

    journal = Journal(sqlite_url(directory), clock=Clock())
    row = {"study_instance_uid": "2.25.1", "state": State.QUEUED, "reason": Reason.NONE, "received_at": 1.0}
    with journal.begin() as connection:
        connection.execute(
            insert(SERIES),
            [
                {
                    "series_key": f"{n:016}",
                    "series_instance_uid": f"2.25.{n}",
                    "last_instance_at": 1.0,
                    "updated_at": 1.0,
                    "first_lane_at": float(n),
                    **row,
                }
                for n in range(waiting)
            ],
        )
    event.listen(Engine, "connect", connected)
    try:
        work(Worklist(journal=journal))
    finally:
        event.remove(Engine, "connect", connected)
    journal.close()
    return counted[0]


@pytest.mark.parametrize(
    "work",
    [
        lambda worklist: worklist.take("me", 60.0),
        lambda worklist: worklist.ready(5),
        lambda worklist: worklist.stalled_s(60.0),
        lambda worklist: Outbox(journal=worklist.journal, targets=_SOMEWHERE).waiting(),
        lambda worklist: Outbox(journal=worklist.journal).abandoned(),
        lambda worklist: worklist.journal.quiet(15.0, at_expected_count=True),
        lambda worklist: worklist.journal.newest(5),
    ],
    ids=["begin", "ring", "watch", "deliveries", "abandoned", "quiet", "status"],
)
def test_no_step_grows_with_what_waits(tmp_path: Path, work: Callable[[Worklist], object]) -> None:
    """Beginning, ringing and each part of a sweep cost at 1,000 waiting series what they cost at 10, within a tenth."""
    few, many = steps(tmp_path / "few", 10, work), steps(tmp_path / "many", 1000, work)
    assert 0 < many <= 1.1 * few, (few, many)
