"""From the last instance to the report in the PACS, less the quiet period and the engine's time.

    python -m benchmarks.latency [--rounds N] [--durability strict|journal] [--pacs embedded|orthanc]

Listener, one reading and one delivery worker, Redis and PACS are real processes (the embedded PACS runs in this one); a
series of 24 slices of 256 x 256 each round, one after the other, read by the classical engine, whose time is taken off.
The clock starts when the last C-STORE is answered and stops when the PACS has the report on disk. On a machine with
other work the clock says little: the CPU time of listener and workers in a round, less the engine's in this process, is
what it comes to on idle cores, and the waits are told by the steps that are short. The limit stands beside the median;
a median beyond it ends the command with 1.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from pydicom.uid import UID

from conformance.phantoms import make
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from plugin.demo import answers
from plugin.parts import free_port, start_broker, start_pacs, wait_until
from plugin.processes import Processes
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.lifecycle import State
from sgmri.questions import Answer, QuestionSet
from sgmri.settings import parse
from worker.database import sqlite_url
from worker.engines import create_engine
from worker.journal import EventRow, Journal
from worker.outbox import Outbox
from worker.pipeline import read_paths

SLICES, QUIET_S, LIMIT_S = 24, 1.0, 1.0


def series(number: int, directory: Path) -> list[Path]:
    """Write a brain of 24 slices: the phantom's, and its last one twice more, each in its own place."""
    slices = sorted(make("brain").datasets, key=lambda ds: float(ds.ImagePositionPatient[2]))
    step_mm = float(slices[1].ImagePositionPatient[2]) - float(slices[0].ImagePositionPatient[2])
    paths = []
    for place in range(SLICES):
        ds = slices[min(place, len(slices) - 1)]
        if place >= len(slices):
            ds.ImagePositionPatient[2] = float(ds.ImagePositionPatient[2]) + step_mm
            ds.InstanceNumber = 1 + place
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"2.25.4{number}1", f"2.25.4{number}2"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.4{number}3{place:02d}")
        paths.append(directory / f"{number:03d}-{place:02d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def steps(timeline: tuple[EventRow, ...], answered_at: float) -> Iterator[tuple[str, float]]:
    """Yield how long each step took, in seconds, from state to state."""
    states = [event for event in timeline if event.duration_s is None and event.at > answered_at - 0.5]
    for before, after in pairwise(states):
        yield f"{before.stage} to {after.stage}", after.at - before.at
    for event in timeline:
        if event.duration_s is not None:
            yield f"  {event.stage}", event.duration_s


def cpu_s(groups: Sequence[int]) -> float:
    """Return the CPU time of process groups and of what they have waited for, in seconds."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) in groups:
                ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


class Timed:
    """An engine, and the CPU time that it takes (:class:`sgmri.interfaces.Engine`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.describe, self.close = engine.describe, engine.close
        self.took_s: list[float] = []

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        began = time.process_time()
        answers = self._engine.answer(frames, questions, control)
        self.took_s.append(time.process_time() - began)
        return answers


def engine_cpu_s(paths: list[Path]) -> float:
    """Return the engine's CPU time for a series, the median of three."""
    engine = Timed(create_engine("classical", parse({}).worker, served_key=""))
    for _ in range(3):
        read_paths(paths, engine, started_at=datetime.now(UTC), timing=lambda stage, seconds: None)
    return statistics.median(engine.took_s)


def run_round(journal: Journal, listener: Destination, paths: list[Path], stored_at: "Watch") -> dict[str, float]:
    """Send one series and follow it; return seconds by step, the overhead under "overhead"."""
    known = {row.series_key for row in journal.all_series()}
    store(listener, [sendable(path) for path in paths])
    answered_at = time.time()
    while True:
        rows = [row for row in journal.all_series(State.STORED, State.COMMITTED) if row.series_key not in known]
        if rows:
            break
        if time.time() - answered_at > 120:
            raise SystemExit(f"the series did not arrive: {[row.state for row in journal.all_series()]}")
        time.sleep(0.1)  # what is measured stands in the journal and on the PACS's disk; looking often would disturb it
    time.sleep(0.3)
    timeline = journal.timeline(rows[0].series_key)
    found = dict(steps(timeline, answered_at))
    report = next(result for result in Outbox(journal=journal).results(rows[0]) if result.kind == "SR")
    arrived_at = stored_at.of(report.sop_instance_uid, report.stored_at or 0.0)
    complete = next(event for event in timeline if event.stage == State.COMPLETE)
    found["last instance to COMPLETE, less the quiet period"] = complete.at - answered_at - QUIET_S
    found["overhead"] = arrived_at - answered_at - QUIET_S - found["  answer"]
    return found


class Watch:
    """Tells when the PACS had an object: the embedded one by its file, another by the journal's later word."""

    def __init__(self, directory: Path, *, is_embedded: bool) -> None:
        self._directory = directory
        self._is_embedded = is_embedded

    def of(self, sop_instance_uid: str, journalled_at: float) -> float:
        """Return the time, in seconds since the epoch."""
        if not self._is_embedded:
            return journalled_at
        encoded = sop_instance_uid.encode()
        newest = sorted(self._directory.glob("*.dcm"), key=lambda path: path.stat().st_mtime)[-4:]
        return next(path.stat().st_mtime for path in newest if encoded in path.read_bytes()[:1000])


def configuration(directory: Path, port: int, broker_url: str, pacs: tuple[str, int], durability: str) -> Path:
    path = directory / "sgmri.toml"
    path.write_text(
        f"""
[listener]
port = {port}
min_free_bytes = 1
durability = "{durability}"
[[listener.peers]]
ae_title = "SCANNER"
[storage]
state_dir = "{directory / "state"}"
[series]
quiet_period_s = {QUIET_S}
[broker]
url = "{broker_url}"
[worker]
engine = "classical"
[delivery]
ae_title = "{pacs[0]}"
port = {pacs[1]}
""",
        encoding="utf-8",
    )
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11, help="after two that warm up")
    parser.add_argument("--durability", choices=["strict", "journal"], default="strict")
    parser.add_argument("--pacs", choices=["embedded", "orthanc"], default="embedded")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        directory = Path(name)
        for made in ("logs", "state", "scanner"):
            (directory / made).mkdir()
        processes = running.enter_context(Processes(directory / "logs"))
        broker = start_broker("auto", processes, directory / "broker")
        port = free_port()
        pacs = start_pacs(options.pacs, processes, directory / "pacs", {"SGMRI": port})
        running.enter_context(pacs.running)
        config = configuration(directory, port, broker.url, (pacs.ae_title, pacs.port), options.durability)
        command = [sys.executable, "-m", "plugin.cli", "serve"]
        groups = [
            processes.start(what[-1], [*command, *what, "--config", str(config)]).pid
            for what in (["listener"], ["worker", "--queues", "reading"], ["worker", "--queues", "delivery"])
        ]
        listener = Destination(ae_title="SGMRI", host="127.0.0.1", port=port, calling_ae_title="SCANNER")
        wait_until(lambda: answers(listener), processes, "the listener", 120)
        journal = Journal(sqlite_url(directory / "state"))
        running.callback(journal.close)
        watch = Watch(directory / "pacs", is_embedded=options.pacs == "embedded")
        load = os.getloadavg()[0]
        rounds = []
        for number in range(1, options.rounds + 3):
            paths = series(number, directory / "scanner")
            began_s = cpu_s(groups)
            rounds.append(run_round(journal, listener, paths, watch))
            rounds[-1]["CPU time of listener and workers, less the engine's"] = (
                cpu_s(groups) - began_s - engine_cpu_s(paths)
            )
            print(f"round {number}: {rounds[-1]['overhead']:.2f} s" + (" (warming up)" if number < 3 else ""))
        return report(rounds[2:], pacs.name, load)


def report(rounds: list[dict[str, float]], pacs: str, load: float) -> int:
    print(f"\n{SLICES} slices, {pacs}, {len(rounds)} rounds, load {load:.1f} on {os.cpu_count()} cores; medians in s")
    for step in rounds[0]:
        if step != "overhead":
            print(f"{step:<52}{statistics.median(found.get(step, 0.0) for found in rounds):8.3f}")
    overheads = [found["overhead"] for found in rounds]
    median = statistics.median(overheads)
    print(f"{'overhead':<52}{median:8.3f}   limit {LIMIT_S:.1f}; lowest {min(overheads):.3f}")
    print(json.dumps({"median_s": round(median, 3), "lowest_s": round(min(overheads), 3), "load": round(load, 1)}))
    return 0 if median < LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
