"""The same series read again, by another engine or after a retraction; and readings that are taken back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.pacs import SmallPacs
from dicom_io.identity import result_uids
from dicom_io.objects.key_objects import decode_key_objects
from dicom_io.objects.sr import DecodedReport, decode_report
from dicom_io.profiles import profile_for
from dicom_io.query import Level, find
from sgmri.errors import IncompleteSeries, PeerUnavailable, SgmriError
from sgmri.geometry import Box
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.lifecycle import Reason, State
from sgmri.questions import Answer, QuestionSet
from sgmri.readings import EngineIdentity, from_json
from sgmri.settings import Queue, Settings, parse
from tests.worker.one_box_engine import OneBoxEngine
from tests.worker.place import Place, delivering_to
from worker.database import sqlite_url
from worker.destinations import peer
from worker.outbox import Outbox
from worker.retractions import REJECTION_FILE, retract, send_note
from worker.revisions import ReadingRow, read_again, readings
from worker.tasks import READING_FILE


@dataclass
class Model:
    """An engine whose version can be changed: a box on each of three frames, the second version's a little larger."""

    version: str = "1"

    def describe(self) -> EngineIdentity:
        return EngineIdentity(name="model", version=self.version, digest=self.version * 64)

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        grown = int(self.version)
        boxes = {index: Box(x0=100, y0=90, x1=120 + grown, y1=110 + grown) for index in (2, 3, 4)}
        if self.version != "1":
            boxes[5] = Box(x0=101, y0=91, x1=119, y1=109)
        engine = OneBoxEngine(boxes, "Nonspecific lesion")
        return engine.answer(frames, questions, control)

    def close(self) -> None:
        pass


@pytest.fixture
def journal_url(tmp_path: Path) -> str:
    """SQLite alone: what is asked of the journal here, its own tests ask of both databases."""
    return sqlite_url(tmp_path)


@pytest.fixture(name="files")
def few_files(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """A volume of eight frames: it is read many times here."""
    return files[:8]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def place(make_place: Callable[[Settings], Place], pacs: SmallPacs, model: Model) -> Place:
    """A place that delivers to the small PACS what the model says."""
    made = make_place(delivering_to(pacs.port, commitment=False))

    def the_model() -> Engine:
        return model

    return Place(workplace=replace(made.workplace, engine=the_model), clock=made.clock, engine=made.engine)


@pytest.fixture
def delivered(place: Place, files: tuple[Path, ...]) -> Place:
    """A place whose destination has the first reading."""
    place.receive(*files)
    assert place.read()
    place.deliver()
    assert place.state() is State.STORED
    return place


def again(place: Place) -> None:
    """Queue, read and deliver once more, an hour later."""
    place.clock.now += 3600
    assert read_again(place.workplace.journal, place.row, Queue())
    assert place.state() is State.QUEUED
    assert place.read()
    place.deliver()


def take_back(place: Place, reason: Reason = Reason.REJECTED_QUALITY) -> ReadingRow:
    journal, settings = place.workplace.journal, place.workplace.settings
    reading = retract(journal, place.row, reason)
    directory = place.workplace.results_dir(replace(place.row, generation=reading.generation))
    send_note(journal, settings, place.row, reading, directory)
    return reading


def result(place: Place, generation: int, name: str = "sr.dcm") -> Dataset:
    return dcmread(place.workplace.results_dir(replace(place.row, generation=generation)) / name)


def report(place: Place, generation: int) -> DecodedReport:
    return decode_report(result(place, generation))


def predecessor(place: Place, generation: int) -> str | None:
    named = report(place, generation).predecessor
    return None if named is None else named.sop_instance_uid


def readings_of(place: Place) -> tuple[ReadingRow, ...]:
    return readings(place.workplace.journal, place.row.series_key)


def in_pacs(place: Place, pacs: SmallPacs, modality: str) -> int:
    keys = {"StudyInstanceUID": place.row.study_instance_uid, "SeriesInstanceUID": "", "Modality": modality}
    return len(find(peer(place.workplace.settings, place.workplace.settings.outlets[0]), Level.SERIES, keys))


def test_another_model_revises_the_report(delivered: Place, model: Model, pacs: SmallPacs) -> None:
    """New instances that name the report before; boxes that both saw keep their identifiers, a new one has its own."""
    model.version = "2"
    again(delivered)
    first, second = result(delivered, 0), result(delivered, 1)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert predecessor(delivered, 1) == first.SOPInstanceUID
    assert "revised" in second.SeriesDescription
    assert (first.ContentDate, first.ContentTime) < (second.ContentDate, second.ContentTime)
    before = {box.sop_instance_uid: (box.tracking_uid, box.tracklet_id) for box in report(delivered, 0).boxes}
    now = {box.sop_instance_uid: (box.tracking_uid, box.tracklet_id) for box in report(delivered, 1).boxes}
    assert len(before) == 3
    assert before.items() < now.items()
    segments = [result(delivered, generation, "seg.dcm").SegmentSequence[0].TrackingUID for generation in (0, 1)]
    assert segments[0] == segments[1]
    assert any("by another engine" in note for note in report(delivered, 1).notes)
    assert in_pacs(delivered, pacs, "SR") == 2
    assert [(one.generation, one.revises, one.superseded_by) for one in readings_of(delivered)] == [
        (0, None, 1),
        (1, 0, None),
    ]


def test_the_same_model_again_gives_nothing_new(delivered: Place, pacs: SmallPacs) -> None:
    """What would say the same under the same UIDs is the same: no second report, and nothing is sent again."""
    first = result(delivered, 0)
    again(delivered)
    assert delivered.state() is State.STORED
    assert result(delivered, 1) == first
    assert in_pacs(delivered, pacs, "SR") == 1


def test_reading_again_twice_writes_the_same_bytes(delivered: Place, model: Model) -> None:
    """A redelivered task of the second reading does nothing; its bytes depend on the journal, not on the clock."""
    model.version = "2"
    delivered.clock.now += 60
    assert read_again(delivered.workplace.journal, delivered.row, Queue())
    row = delivered.row
    assert delivered.read()
    path = delivered.workplace.results_dir(row) / "sr.dcm"
    before = path.read_bytes()
    delivered.clock.now += 60
    assert not delivered.read()
    assert path.read_bytes() == before


def test_only_what_was_read_is_read_again(place: Place, files: tuple[Path, ...]) -> None:
    """A series that waits for its first reading, or that somebody works on, is left alone."""
    journal = place.workplace.journal
    place.receive(*files)
    assert not read_again(journal, place.row, Queue())
    assert place.read()
    assert journal.move(place.row, place.row.state, lease_owner="somebody", lease_until=journal.clock() + 60.0)
    assert not read_again(journal, place.row, Queue())
    with pytest.raises(SgmriError, match="being worked on"):
        retract(journal, place.row, Reason.REJECTED_QUALITY)
    assert readings_of(place)[0].retracted is None


def test_a_retraction_sends_a_note_on_every_object(delivered: Place, pacs: SmallPacs) -> None:
    """The destination has a note that names SEG and SR; the journal says RETRACTED, why, and that the note is out."""
    take_back(delivered, Reason.REJECTED_SAFETY)
    assert (delivered.row.state, delivered.row.reason) == (State.RETRACTED, Reason.REJECTED_SAFETY)
    note = result(delivered, 0, REJECTION_FILE)
    assert pacs.archive.sop_class_of(str(note.SOPInstanceUID)) == note.SOPClassUID
    decoded = decode_key_objects(note)
    assert decoded.rejection is Reason.REJECTED_SAFETY
    assert {uid for uid, _ in decoded.objects} == {
        result(delivered, 0, name).SOPInstanceUID for name in ("seg.dcm", "sr.dcm")
    }
    (only,) = readings_of(delivered)
    assert only.retracted is Reason.REJECTED_SAFETY
    assert only.note_sent_at is not None
    stages = [event.stage for event in delivered.workplace.journal.timeline(delivered.row.series_key)]
    assert stages[-2:] == ["reading retracted", "rejection note sent"]
    with pytest.raises(SgmriError, match="RETRACTED and has none to take back"):
        retract(delivered.workplace.journal, delivered.row, Reason.REJECTED_QUALITY)


@pytest.mark.parametrize("version", ["1", "2"], ids=["same model", "another model"])
def test_what_was_retracted_is_no_predecessor(version: str, delivered: Place, model: Model, pacs: SmallPacs) -> None:
    """A later reading, by whichever model, is a first one: new UIDs, new identifiers, no reference to the retracted."""
    take_back(delivered)
    model.version = version
    again(delivered)
    assert delivered.row.reason is Reason.NONE
    assert delivered.state() is State.STORED
    assert result(delivered, 0).SOPInstanceUID != result(delivered, 1).SOPInstanceUID
    assert predecessor(delivered, 1) is None
    assert "revised" not in result(delivered, 1).SeriesDescription
    names = [{box.tracking_uid for box in report(delivered, generation).boxes} for generation in (0, 1)]
    assert not names[0] & names[1]
    assert in_pacs(delivered, pacs, "SR") == 2
    assert in_pacs(delivered, pacs, "KO") == 1


def test_the_reading_before_counts_again(delivered: Place, model: Model) -> None:
    """The second of three models is retracted: the third revises the first's report, and follows its findings."""
    model.version = "2"
    again(delivered)
    take_back(delivered)
    assert [(one.generation, one.superseded_by) for one in readings_of(delivered)] == [(0, None), (1, None)]
    model.version = "3"
    again(delivered)
    assert predecessor(delivered, 2) == result(delivered, 0).SOPInstanceUID
    followed = {box.tracking_uid for box in report(delivered, 0).boxes}
    assert followed < {box.tracking_uid for box in report(delivered, 2).boxes}
    assert [(one.generation, one.superseded_by) for one in readings_of(delivered)] == [(0, 2), (1, 2), (2, None)]


def test_readings_are_taken_back_one_by_one(delivered: Place, model: Model, pacs: SmallPacs) -> None:
    """The newest first, then the one before; the state keeps the newest one's reason."""
    model.version = "2"
    again(delivered)
    assert take_back(delivered).generation == 1
    assert take_back(delivered, Reason.REJECTED_WORKLIST).generation == 0
    assert (delivered.state(), delivered.row.reason) == (State.RETRACTED, Reason.REJECTED_QUALITY)
    assert [one.retracted for one in readings_of(delivered)] == [Reason.REJECTED_WORKLIST, Reason.REJECTED_QUALITY]
    assert in_pacs(delivered, pacs, "KO") == 2


def test_an_undelivered_reading_is_never_delivered(place: Place, files: tuple[Path, ...], pacs: SmallPacs) -> None:
    """A reading that still waits in the outbox is taken back: only its note reaches the destination."""
    place.receive(*files)
    assert place.read()
    take_back(place)
    place.deliver()
    assert place.state() is State.RETRACTED
    assert (in_pacs(place, pacs, "SR"), in_pacs(place, pacs, "KO")) == (0, 1)


def test_a_note_that_could_not_be_sent_is_sent_by_the_next_try(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...], pacs: SmallPacs
) -> None:
    """The destination is away: the retraction stands, and the next try sends the same bytes under the first reason."""
    away = make_place(delivering_to(1))
    away.receive(*files)
    assert away.read()
    with pytest.raises(PeerUnavailable):
        take_back(away, Reason.REJECTED_SAFETY)
    (reading,) = readings_of(away)
    assert (away.state(), reading.retracted, reading.note_sent_at) == (
        State.RETRACTED,
        Reason.REJECTED_SAFETY,
        None,
    )
    path = away.workplace.results_dir(away.row) / REJECTION_FILE
    before = path.read_bytes()
    away.clock.now += 3600
    back = replace(away, workplace=replace(away.workplace, settings=delivering_to(pacs.port)))
    assert take_back(back, Reason.REJECTED_QUALITY).retracted is Reason.REJECTED_SAFETY
    assert path.read_bytes() == before
    assert in_pacs(back, pacs, "KO") == 1
    assert readings_of(back)[0].note_sent_at is not None


def test_without_a_destination_the_note_lies_in_the_outbox(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...]
) -> None:
    """Where nothing is delivered, the note is written beside the objects."""
    place = make_place(parse({}))
    place.receive(*files)
    assert place.read()
    take_back(place)
    assert decode_key_objects(result(place, 0, REJECTION_FILE)).rejection is Reason.REJECTED_QUALITY


def test_a_reading_without_a_report_is_followed_but_not_named(
    make_place: Callable[[Settings], Place], files: tuple[Path, ...], pacs: SmallPacs, model: Model
) -> None:
    """Where the destination gets pictures only, there is no report to name; the reading is revised and taken back."""
    settings = delivering_to(pacs.port, commitment=False, viewers=["images-only"])
    made = make_place(settings)
    workplace = replace(made.workplace, engine=lambda: model, profile=profile_for(settings.delivery))
    place = Place(workplace=workplace, clock=made.clock, engine=made.engine)
    place.receive(*files)
    assert place.read()
    place.deliver()
    model.version = "2"
    again(place)
    texts = [result_text(place, generation) for generation in (0, 1)]
    before, now = (from_json(text) for text in texts)
    assert now.predecessor is None
    assert now.tracklets[0].tracking_uid == result_uids(before).segment_uid(before.tracklets[0])
    assert [(one.has_report, one.superseded_by) for one in readings_of(place)] == [(False, 1), (False, None)]
    take_back(place)
    note = decode_key_objects(result(place, 1, REJECTION_FILE))
    assert note.objects == ((str(result(place, 1, "sc.dcm").SOPInstanceUID), ()),)


def result_text(place: Place, generation: int) -> str:
    return (place.workplace.results_dir(replace(place.row, generation=generation)) / READING_FILE).read_text()


def test_a_late_instance_after_a_retraction_makes_a_first_report(place: Place, files: tuple[Path, ...]) -> None:
    """The series grows after its reading was taken back: the new report names no predecessor."""
    place.receive(*files[:-1])
    assert place.read()
    place.deliver()
    take_back(place)
    place.receive(files[-1])
    assert place.read()
    assert predecessor(place, 1) is None


def test_a_note_needs_the_objects(delivered: Place) -> None:
    """Where the outbox was emptied by hand the operator is told so; the retraction stands."""
    directory = delivered.workplace.results_dir(delivered.row)
    (directory / "sr.dcm").unlink()
    with pytest.raises(IncompleteSeries, match="removed"):
        take_back(delivered)
    assert delivered.state() is State.RETRACTED
    assert len(Outbox(journal=delivered.workplace.journal).results(delivered.row)) == 2
