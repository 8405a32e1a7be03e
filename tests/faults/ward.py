"""A listener in the test's own process, a real broker beside it, and a worker whose engine misbehaves as told.

As a program it is that worker: ``python -m tests.faults.ward STATE_DIR BROKER_URL TIME_LIMIT_S``.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from conformance.phantoms import make
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from dicom_io.spool import Spool
from plugin.listener import ListenerService, open_journal, outbox_dir, spool_dir
from plugin.parts import broker_command, free_port
from plugin.processes import Processes
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.lifecycle import State
from sgmri.questions import Answer, QuestionSet
from sgmri.settings import Settings, parse
from tests.worker.place import NegativeEngine
from worker.app import ALONE, READING_QUEUE, create_app
from worker.journal import SeriesRow
from worker.tasks import Workplace, register

_ROOT = Path(__file__).parents[2]
HEALTHY, KILLS, HANGS, TOO_BIG, SLOW = 8, 9, 10, 11, 12
"""How many frames make the engine answer, kill its process, hang for ever, run out of memory, or take three seconds."""


def ward_settings(state_dir: Path, broker_url: str, **tables: dict[str, Any]) -> Settings:
    mapping: dict[str, dict[str, Any]] = {
        "listener": {"port": 0, "min_free_bytes": 1, "peers": [{"ae_title": "SCANNER"}]},
        "storage": {"state_dir": str(state_dir)},
        "series": {"quiet_period_s": 0.5},
        "broker": {"url": broker_url},
        "worker": {"sweep_period_s": 0.2, "lease_s": 6.0},
        "delivery": {"retry_first_s": 0.1},
    }
    for name, table in tables.items():
        mapping[name] = mapping.get(name, {}) | table
    return parse(mapping)


@cache
def _slices() -> list[Dataset]:
    return sorted(make("brain-normal").datasets, key=lambda ds: float(ds.ImagePositionPatient[2]))


def series(frames: int, number: int, directory: Path) -> tuple[Path, ...]:
    """Write a healthy series of its own study, of a number of frames."""
    slices = _slices()[:frames]
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for place, ds in enumerate(slices, start=1):
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"2.25.5{number}1", f"2.25.5{number}2"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.5{number}3{place:02d}")
        paths.append(directory / f"{number}-{place:02d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return tuple(paths)


@dataclass
class Ward:
    """The parts, and what a test asks of them."""

    directory: Path
    processes: Processes
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.settings = ward_settings(self.directory / "state", self.broker_url, **self.tables)
        self.service = ListenerService(self.settings)

    @property
    def broker_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start_broker(self, **options: str) -> "subprocess.Popen[bytes]":
        """Start the broker on the ward's port, without persistence, and wait until it answers."""
        command = broker_command("auto", self.port, self.directory / "broker")[1]
        changes = [word for name, value in options.items() for word in (f"--{name}", value)]
        broker = self.processes.start("broker", [*command, "--appendonly", "no", *changes])
        self.wait(self._broker_answers)
        return broker

    def _broker_answers(self) -> bool:
        from worker.bells import depth

        return depth(self.broker_url, READING_QUEUE) is not None

    def start_worker(self, *, time_limit_s: float = 60.0) -> "subprocess.Popen[bytes]":
        """Start a worker for readings."""
        arguments = [str(self.directory / "state"), self.broker_url, str(time_limit_s)]
        return self.processes.start("worker", [sys.executable, "-m", "tests.faults.ward", *arguments], cwd=_ROOT)

    def send(self, paths: Sequence[Path]) -> None:
        """Send instances as a scanner does."""
        listener = Destination(
            ae_title="SGMRI", host="127.0.0.1", port=self.service.port, calling_ae_title="SCANNER", timeout_s=10.0
        )
        store(listener, [sendable(path) for path in paths])

    def rows(self) -> tuple[SeriesRow, ...]:
        return self.service.journal.all_series()

    def by_frames(self) -> dict[int, SeriesRow]:
        return {row.instances: row for row in self.rows()}

    def states(self) -> list[State]:
        return [row.state for row in self.rows()]

    def wait(self, ready: Callable[[], bool], timeout_s: float = 120.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert time.monotonic() < deadline, self._story()
            time.sleep(0.05)

    def _story(self) -> str:
        rows = [(row.instances, row.state, row.reason, row.attempts) for row in self.rows()]
        logs = "\n".join(path.read_text()[-3000:] for path in (self.directory / "logs").glob("*.log"))
        return f"{rows}\n{logs}"


class MoodyEngine(NegativeEngine):
    """Does what the number of frames says."""

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        count = len(frames.pixels)
        if count == KILLS:
            os.kill(os.getpid(), signal.SIGKILL)
        if count == TOO_BIG:
            raise RuntimeError("CUDA out of memory")
        if count == SLOW:
            time.sleep(3.0)
        while count == HANGS:  # deaf to the soft limit
            try:
                time.sleep(60.0)
            except Exception:  # noqa: BLE001, S112 - that is its mood
                continue
        return super().answer(frames, questions, control)


def work(state_dir: Path, broker_url: str, time_limit_s: float) -> None:
    """Work for a ward until told to stop."""
    serve(ward_settings(state_dir, broker_url, worker={"time_limit_s": time_limit_s}), MoodyEngine())


def serve(settings: Settings, engine: Engine) -> None:
    """Read with an engine that the product does not have, as a worker does, until told to stop."""
    app = create_app(settings.broker.url, time_limit_s=settings.worker.time_limit_s)

    @cache
    def workplace() -> Workplace:
        return Workplace(
            settings=settings,
            journal=open_journal(settings),
            spool=Spool(spool_dir(settings)),
            outbox_dir=outbox_dir(settings),
            engine=lambda: engine,
        )

    register(app, workplace)
    app.worker_main(["worker", "--queues", READING_QUEUE, *ALONE, "--loglevel", "INFO"])


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
