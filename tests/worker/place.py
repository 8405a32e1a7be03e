"""A reading worker's surroundings in a directory: all is real but time and engine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conformance.pacs import PacsBehaviour, SmallPacs
from dicom_io.stored import read_header
from plugin.dispatch import Dispatcher
from sgmri.interfaces import Frames, ReadingControl
from sgmri.lifecycle import State
from sgmri.questions import Answer, Presence, QuestionKind, QuestionSet, Unanswered
from sgmri.readings import EngineIdentity
from sgmri.settings import Settings, parse
from worker.app import create_app
from worker.engine.asking import ask_in_rounds
from worker.journal import Journal, SeriesRow
from worker.receipts import Received
from worker.tasks import Workplace, begin_reading, deliver_one, end_reading


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class NegativeEngine:
    """Says absent to every detection; or fails as told. ``meanwhile`` and ``told`` happen while it reads."""

    failure: Exception | None = None
    meanwhile: Callable[[], None] = lambda: None
    told: Callable[[ReadingControl], None] = lambda control: None

    def describe(self) -> EngineIdentity:
        return EngineIdentity(name="negative", version="1", digest="0" * 64)

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        self.meanwhile()
        self.told(control)
        if self.failure is not None:
            raise self.failure
        return ask_in_rounds(
            questions,
            lambda asked, so_far: [
                Answer(question_id=question.question_id, kind=question.kind, presence=Presence.ABSENT)
                if question.kind is QuestionKind.DETECTION
                else Answer(
                    question_id=question.question_id, kind=question.kind, unanswered=Unanswered.OUTSIDE_ENGINE_SCOPE
                )
                for question in asked
            ],
            control,
        )

    def close(self) -> None:
        pass


@dataclass
class Place:
    workplace: Workplace
    clock: Clock
    engine: NegativeEngine

    @property
    def row(self) -> SeriesRow:
        return self.workplace.journal.all_series()[0]

    def state(self) -> State:
        return self.row.state

    def store(self, *paths: Path) -> None:
        """Put instances into spool and journal, as the listener does."""
        for path in paths:
            content = path.read_bytes()
            stored = self.workplace.spool.store(read_header(content), content)
            self.workplace.journal.receive(
                Received(
                    series_key=stored.series_key,
                    study_instance_uid=stored.study_instance_uid,
                    series_instance_uid=stored.series_instance_uid,
                    sop_instance_uid=stored.sop_instance_uid,
                    sop_class_uid=stored.sop_class_uid,
                    file_name=stored.file_name,
                    size_bytes=stored.size_bytes,
                )
            )

    def receive(self, *paths: Path) -> None:
        """Store instances, and decide on the series as the listener does after the quiet period."""
        self.store(*paths)
        # nothing listens on that port: ringing fails, as with a broker that is away, and the series stays queued
        dispatcher = Dispatcher(
            journal=self.workplace.journal, spool=self.workplace.spool, app=create_app("redis://127.0.0.1:1/0")
        )
        dispatcher.complete(self.row)

    def read(self) -> bool:
        row = begin_reading(self.workplace)
        return row is not None and end_reading(self.workplace, row)

    def deliver(self) -> None:
        deliver_one(self.workplace, self.row.series_key, self.row.generation)


def delivering_to(port: int, **delivery: object) -> Settings:
    return parse(
        {"delivery": {"ae_title": "SMALLPACS", "port": port, "retry_first_s": 5.0, "timeout_s": 3.0, **delivery}}
    )


def small(tmp_path: Path, behaviour: PacsBehaviour | None = None) -> SmallPacs:
    # the commitment result has nowhere to go: here only what the delivery does is looked at
    quiet = behaviour or PacsBehaviour(answers_commitment=False)
    return SmallPacs("SMALLPACS", directory=tmp_path / "pacs", peers={"SGMRI": ("127.0.0.1", 1)}, behaviour=quiet)


def leased(journal: Journal, row: SeriesRow, owner: str, lease_s: float) -> SeriesRow | None:
    """Let an owner read a series, as the worklist does with the best one; None if another has it."""
    with journal.begin() as connection:
        done = journal.lease_within(connection, row, owner, lease_s)
    return journal.series(row.series_key) if done else None
