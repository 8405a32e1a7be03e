"""The two tasks without a broker: what they do to the journal, the outbox and a PACS."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread

from conformance.pacs import PacsBehaviour, SmallPacs
from conformance.phantoms import Phantom, make, make_non_mr, write
from dicom_io.spool import Spool, read_header
from plugin.dispatch import Dispatcher
from sgmri.errors import EngineError, EngineUnavailable
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.lifecycle import Reason, State
from sgmri.questions import Answer, Presence, QuestionKind, QuestionSet, Unanswered
from sgmri.readings import EngineIdentity
from sgmri.settings import Settings, parse
from worker.app import create_app
from worker.database import sqlite_url
from worker.engine.asking import ask_in_rounds
from worker.journal import Journal, Received, SeriesRow
from worker.outbox import Outbox
from worker.tasks import Workplace, deliver_one, read_one


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class NegativeEngine:
    """Says absent to every detection; or fails as told."""

    failure: Exception | None = None

    def describe(self) -> EngineIdentity:
        return EngineIdentity(name="negative", version="1", digest="0" * 64)

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
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

    def receive(self, *paths: Path) -> None:
        """Put instances through spool, journal and dispatch, as the listener does."""
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
        # nothing listens on that port: ringing fails, as with a broker that is away, and the series stays queued
        dispatcher = Dispatcher(
            journal=self.workplace.journal, spool=self.workplace.spool, app=create_app("redis://127.0.0.1:1/0")
        )
        dispatcher.complete(self.row)

    def read(self) -> bool:
        return read_one(self.workplace, self.row.series_key, self.row.generation)

    def deliver(self) -> None:
        deliver_one(self.workplace, self.row.series_key, self.row.generation)


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[[Settings], Place]]:
    clock, engine = Clock(), NegativeEngine()
    journal = Journal(sqlite_url(tmp_path), clock=clock)

    def made(settings: Settings) -> Place:
        def the_engine() -> Engine:
            return engine

        workplace = Workplace(
            settings=settings,
            journal=journal,
            spool=Spool(tmp_path / "spool"),
            outbox_dir=tmp_path / "outbox",
            engine=the_engine,
        )
        return Place(workplace=workplace, clock=clock, engine=engine)

    yield made
    journal.close()


@pytest.fixture
def place(make_place: Callable[[Settings], Place]) -> Place:
    return make_place(parse({}))


@pytest.fixture(scope="module")
def brain() -> Phantom:
    return make("brain-normal")


@pytest.fixture(scope="module")
def files(brain: Phantom, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write(brain, tmp_path_factory.mktemp("brain"))


def test_a_reading_ends_with_its_objects_in_the_outbox(place: Place, files: tuple[Path, ...]) -> None:
    """A negative reading is one SR, no SEG, and a timeline with the duration of each stage."""
    place.receive(*files)
    assert place.state() is State.QUEUED
    assert place.read()
    assert place.state() is State.READ
    (result,) = Outbox(journal=place.workplace.journal).results(place.row)
    assert result.kind == "SR"
    assert (place.workplace.results_dir(place.row) / result.file_name).exists()
    stages = {event.stage: event.duration_s for event in place.workplace.journal.timeline(place.row.series_key)}
    assert all(stages[stage] is not None for stage in ("describe", "decode", "render", "answer", "write objects"))


def test_a_second_message_does_nothing(place: Place, files: tuple[Path, ...]) -> None:
    """A message that comes twice, or for another generation, finds no work."""
    place.receive(*files)
    assert place.read()
    before = place.row
    assert not place.read()
    assert not read_one(place.workplace, place.row.series_key, 7)
    assert not read_one(place.workplace, "unknown", 0)
    assert place.row == before


def test_a_repeated_reading_writes_the_same_bytes(place: Place, files: tuple[Path, ...]) -> None:
    """The same series, read again an hour later after a crash, gives the same SR byte for byte."""
    place.receive(*files)
    place.read()
    first = (place.workplace.results_dir(place.row) / "sr.dcm").read_bytes()
    place.workplace.journal.move(place.row, State.FAILED)
    place.workplace.journal.move(place.row, State.QUEUED)
    place.clock.now += 3600
    assert place.read()
    assert (place.workplace.results_dir(place.row) / "sr.dcm").read_bytes() == first


def test_an_engine_that_is_away_is_tried_again_and_then_given_up(place: Place, files: tuple[Path, ...]) -> None:
    """Transient failures wait longer each time; after the allowed attempts the series is FAILED with its reason."""
    place.engine.failure = EngineUnavailable("starting")
    place.receive(*files)
    waits = []
    for _ in range(2):
        assert not place.read()
        assert (place.row.state, place.row.reason) == (State.QUEUED, Reason.ENGINE_FAILED)
        waits.append(place.row.next_try_at - place.clock.now)
        assert not place.read(), "read before its time"
        place.clock.now = place.row.next_try_at
    assert waits[1] > waits[0] > 0
    assert not place.read()
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.ENGINE_FAILED)


def test_an_engine_that_recovers_ends_well(place: Place, files: tuple[Path, ...]) -> None:
    """One failure costs one attempt, no more."""
    place.engine.failure = EngineError("odd")
    place.receive(*files)
    place.read()
    place.engine.failure = None
    place.clock.now = place.row.next_try_at
    assert place.read()
    assert place.row.attempts == 2


def test_a_series_that_is_not_for_us_is_skipped_with_its_reason(place: Place, tmp_path: Path) -> None:
    """A CT is SKIPPED as NOT_MR, and no worker is rung."""
    path = tmp_path / "ct.dcm"
    make_non_mr().save_as(path, enforce_file_format=True)
    place.receive(path)
    assert (place.row.state, place.row.reason) == (State.SKIPPED, Reason.NOT_MR)


def test_a_truncated_instance_fails_the_series_with_its_reason(
    place: Place, files: tuple[Path, ...], tmp_path: Path
) -> None:
    """Pixel data that ends too early is FAILED, never a negative reading."""
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(files[0].read_bytes()[:-5000])
    place.receive(cut, *files[1:])
    assert not place.read()
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.TRUNCATED_INSTANCE)
    assert Outbox(journal=place.workplace.journal).results(place.row) == ()


def delivering_to(port: int, **delivery: object) -> Settings:
    return parse(
        {"delivery": {"ae_title": "SMALLPACS", "port": port, "retry_first_s": 5.0, "timeout_s": 3.0, **delivery}}
    )


def small(tmp_path: Path, behaviour: PacsBehaviour | None = None) -> SmallPacs:
    # the commitment result has nowhere to go: here only what the delivery does is looked at
    quiet = behaviour or PacsBehaviour(answers_commitment=False)
    return SmallPacs("SMALLPACS", directory=tmp_path / "pacs", peers={"SGMRI": ("127.0.0.1", 1)}, behaviour=quiet)


def test_a_delivery_is_stored_and_asked_to_be_committed(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...], tmp_path: Path
) -> None:
    """The object arrives as it lies in the outbox, the series is STORED, and waits for the answer."""
    with small(tmp_path) as pacs:
        place = make_place(delivering_to(pacs.port))
        place.receive(*files)
        place.read()
        place.deliver()
        assert place.row.state is State.STORED
        assert place.row.next_try_at > place.clock.now
        assert place.row.lease_owner is None
        assert len(pacs.archive) == 1
        sent = dcmread(place.workplace.results_dir(place.row) / "sr.dcm")
        assert pacs.archive.sop_class_of(str(sent.SOPInstanceUID)) == str(sent.SOPClassUID)


def test_without_commitment_stored_is_the_end(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...], tmp_path: Path
) -> None:
    """Where the site switches commitment off, the series ends as STORED and is never called committed."""
    with small(tmp_path) as pacs:
        place = make_place(delivering_to(pacs.port, commitment=False))
        place.receive(*files)
        place.read()
        place.deliver()
        assert place.row.state is State.STORED
        assert Outbox(journal=place.workplace.journal).waiting(commitment=False) == ()


def test_a_pacs_that_is_away_is_tried_again_later_each_time(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...]
) -> None:
    """Nothing is lost: the series stays READ with its reason and a growing wait, up to the limit of days."""
    place = make_place(delivering_to(1))
    place.receive(*files)
    place.read()
    waits = []
    for _ in range(3):
        place.deliver()
        assert (place.row.state, place.row.reason) == (State.READ, Reason.PEER_UNAVAILABLE)
        waits.append(place.row.next_try_at - place.clock.now)
        place.clock.now = place.row.next_try_at
    assert waits == sorted(waits)
    assert waits[2] > 8 * waits[0]
    place.clock.now += 604_801
    place.deliver()
    assert (place.row.state, place.row.reason) == (State.FAILED, Reason.PEER_UNAVAILABLE)


@pytest.mark.parametrize(("status", "reason"), [(0xA700, Reason.PEER_UNAVAILABLE), (0xC000, Reason.STORE_REFUSED)])
def test_the_pacs_answer_decides_how_patiently_it_is_tried(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...], tmp_path: Path, status: int, reason: Reason
) -> None:
    """Out of resources is tried again soon, a refusal slowly; neither is dropped."""
    with small(tmp_path, PacsBehaviour(store_status=status)) as pacs:
        place = make_place(delivering_to(pacs.port))
        place.receive(*files)
        place.read()
        place.deliver()
        assert (place.row.state, place.row.reason) == (State.READ, reason)
        slow = place.row.next_try_at - place.clock.now >= 3600
        assert slow is (reason is Reason.STORE_REFUSED)
