"""What the queue costs a series beside its reading, and whether that grows with the number of series that wait.

    python -m benchmarks.queue [--waiting N ...] [--series N] [--rounds N] [--journal-url URL] [--json FILE]

One series' way with an engine that takes no time: instance into the journal, completion, place on the worklist, bell,
lease, end with one object. For each number of series that wait beside it, on a journal and a Redis of its own; the
numbers take turns, forwards and backwards, and of each the median over all series and rounds counts. CPU is of this
process. Statements are counted by SQLAlchemy, steps are instructions of SQLite's virtual machine: these two do not
depend on the machine's load. Rows that a sweep or a beginning visits must not grow with what waits.
"""

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from sqlalchemy import event, insert
from sqlalchemy.engine import Engine

from plugin.parts import start_broker
from plugin.processes import Processes
from sgmri.lanes import Lane
from sgmri.lifecycle import Reason, State
from sgmri.settings import Queue
from worker.app import create_app
from worker.bells import ring_for_readings
from worker.database import sqlite_url
from worker.journal import Journal
from worker.journal_tables import SERIES
from worker.outbox import Outbox, ResultRow
from worker.receipts import Received
from worker.worklist import Worklist, entry

WAITING = (1, 10, 100, 1000)
_GRAIN = 100  # instructions between two calls of SQLite's progress handler
_BELLS = 64


@dataclass
class Cost:
    """What one series cost, one entry a series."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


class Counter:
    """Counts statements, and instructions where the database is SQLite."""

    def __init__(self) -> None:
        self.statements = self.steps = 0

    def statement(self, *_: object) -> None:
        self.statements += 1

    def step(self) -> int:
        self.steps += _GRAIN
        return 0

    def connect(self, connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_progress_handler(self.step, _GRAIN)


@contextmanager
def counting(counter: Counter) -> Iterator[None]:
    """Count what any engine of SQLAlchemy does."""
    listening = ((Engine, "before_cursor_execute", counter.statement), (Engine, "connect", counter.connect))
    for target, name, called in listening:
        event.listen(target, name, called)
    try:
        yield
    finally:
        for target, name, called in listening:
            event.remove(target, name, called)


class Place:
    """A journal with series that wait, and a broker."""

    def __init__(self, url: str, broker_url: str, waiting: int) -> None:
        self.journal = Journal(url)
        self.worklist = Worklist(journal=self.journal)
        self.app = create_app(broker_url)
        self.number = waiting
        rows = [self._waiting(number) for number in range(1, waiting + 1)]
        with self.journal.begin() as connection:
            connection.execute(insert(SERIES), rows)
        ring_for_readings(self.app, self.worklist, most=_BELLS)

    def _waiting(self, number: int) -> dict[str, object]:
        now = self.journal.clock()
        return {
            "series_key": f"{number:016}",
            "study_instance_uid": f"2.25.{number}",
            "series_instance_uid": f"2.25.1{number}",
            "state": State.QUEUED,
            "reason": Reason.NONE,
            "received_at": now,
            "last_instance_at": now,
            "updated_at": now,
            **entry(Lane.NORMAL, now, Queue()),
        }

    def queue(self) -> None:
        """Let a series come and be queued, and ring."""
        self.number += 1
        key = f"{self.number:016}"
        self.journal.receive(
            Received(
                series_key=key,
                study_instance_uid=f"2.25.{self.number}",
                series_instance_uid=f"2.25.1{self.number}",
                sop_instance_uid=f"2.25.2{self.number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                file_name="1.dcm",
                size_bytes=1,
            )
        )
        now = self.journal.clock()
        self.journal.move(self.journal.series(key), State.COMPLETE, completed_at=now)
        self.journal.move(self.journal.series(key), State.QUEUED, **entry(Lane.NORMAL, now, Queue()))
        ring_for_readings(self.app, self.worklist, most=_BELLS)

    def read(self) -> None:
        """Take the next series, ring for the one after it, and end it with one object."""
        row = self.worklist.take("benchmark", 60.0)
        assert row is not None
        ring_for_readings(self.app, self.worklist, most=1)
        report = ResultRow(
            kind="SR",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
            sop_instance_uid=f"2.25.3{row.series_key}",
            series_instance_uid=f"2.25.4{row.series_key}",
            file_name="sr.dcm",
            position=0,
        )
        assert Outbox(journal=self.journal).put(row, [report])


def measure(place: Place, series: int, cost: Cost, counter: Counter) -> None:
    """Add the cost of some series to what is known; as many wait afterwards as before."""
    for _ in range(series):
        before = (time.perf_counter(), time.process_time(), counter.statements, counter.steps)
        place.queue()
        place.read()
        cost.wall_ms.append((time.perf_counter() - before[0]) * 1000)
        cost.cpu_ms.append((time.process_time() - before[1]) * 1000)
        cost.statements.append(counter.statements - before[2])
        cost.steps.append(counter.steps - before[3])


def run(waiting: tuple[int, ...], series: int, rounds: int, journal_url: str | None) -> dict[int, Cost]:
    """Measure all numbers of waiting series, taking turns."""
    directory = Path(tempfile.mkdtemp(prefix="sgmri-queue-"))
    counter, costs = Counter(), {number: Cost() for number in waiting}
    try:
        with Processes(directory) as processes, counting(counter):
            broker = start_broker("auto", processes, directory / "broker")
            places: dict[int, Place] = {}
            for place_number, number in enumerate(waiting):
                state = directory / str(number)
                state.mkdir()
                with Redis.from_url(broker.url) as client:
                    client.flushall()
                places[number] = Place(journal_url or sqlite_url(state), f"{broker.url[:-1]}{place_number}", number)
            for turn in range(rounds):
                for number in waiting if turn % 2 == 0 else reversed(waiting):
                    measure(places[number], series, costs[number], counter)
            for place in places.values():
                place.journal.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--waiting", type=int, nargs="+", default=WAITING, help="series that wait beside the measured one"
    )
    parser.add_argument("--series", type=int, default=20, help="series a turn (default: 20)")
    parser.add_argument("--rounds", type=int, default=7, help="turns (default: 7)")
    parser.add_argument("--journal-url", help="an empty PostgreSQL database, with one --waiting; default: SQLite")
    parser.add_argument("--json", type=Path, help="write every figure there")
    arguments = parser.parse_args()
    if arguments.journal_url and len(arguments.waiting) != 1:
        parser.error("--journal-url: one database holds one number of --waiting")
    costs = run(tuple(arguments.waiting), arguments.series, arguments.rounds, arguments.journal_url)
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {load}, Python {platform.python_version()}")
    print("waiting   wall ms    CPU ms   statements   SQLite steps     (medians of one series)")
    medians = {
        number: {name: statistics.median(each) for name, each in asdict(cost).items()} for number, cost in costs.items()
    }
    for number, row in medians.items():
        print(f"{number:7} {row['wall_ms']:9.2f} {row['cpu_ms']:9.2f} {row['statements']:12.0f} {row['steps']:14.0f}")
    if {10, 1000} <= set(medians):
        ratios = {name: medians[1000][name] / medians[10][name] for name in medians[10] if medians[10][name]}
        print("1,000 / 10: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({str(number): asdict(cost) for number, cost in costs.items()}))


if __name__ == "__main__":
    main()
