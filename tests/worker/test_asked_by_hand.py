"""A question about a series of the journal: what is remembered of it, and the report with its answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread

from conformance.pacs import SmallPacs
from dicom_io.objects.sr import decode_report
from dicom_io.selection import choose
from dicom_io.series import describe
from sgmri.asking import Answered, AskEvent, BoxShown, FrameCited, Piece
from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.errors import ConfigError, SgmriError, UnsupportedSeries
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.interfaces import Frames, ReadingControl
from sgmri.lifecycle import Reason, State
from sgmri.questions import Answer, Presence, Question, QuestionKind, Unanswered
from sgmri.readings import EngineIdentity
from sgmri.settings import Settings
from tests.worker.place import NegativeEngine, Place, delivering_to
from worker import asking
from worker.asking import Asked
from worker.database import sqlite_url
from worker.journal import SeriesRow
from worker.outbox import Outbox
from worker.revisions import readings

_TEXT = "Is the corner of these frames bright?"
_SAID = "Yes: a bright corner on frame 3."


@dataclass
class TalkingEngine(NegativeEngine):
    """Answers a question with one box on the first frame that it is shown, or as told (:class:`AskedEngine`)."""

    version: str = "1"
    said: str = _SAID
    unanswered: Unanswered | None = None
    seen: list[Frames] = field(default_factory=list)

    def describe(self) -> EngineIdentity:
        return EngineIdentity(name="negative", version=self.version, digest="0" * 64)

    def ask(self, frames: Frames, question: Question, control: ReadingControl) -> Iterator[AskEvent]:
        self.seen.append(frames)
        yield from (Piece(text=part) for part in self.said.partition(":"))
        yield FrameCited(frame_number=frames.first_frame_index + 1)
        box = Finding(label="Nonspecific lesion", frame_index=0, box=Box(x0=100, y0=90, x1=120, y1=110))
        answer = Answer(
            question_id=question.question_id,
            kind=question.kind,
            presence=Presence.PRESENT if question.kind is QuestionKind.DETECTION else None,
            text=self.said,
            certainty=0.9 if question.kind is QuestionKind.DETECTION else None,
            calibrated=question.kind is QuestionKind.DETECTION,
            evidence=(Tracklet(tracklet_id="lesion-1", findings=(box,)),),
        )
        if self.unanswered:
            answer = Answer(question_id=question.question_id, kind=question.kind, unanswered=self.unanswered)
        yield Answered(question=question, answer=answer)


@pytest.fixture
def journal_url(tmp_path: Path) -> str:
    """SQLite alone: what is asked of the journal here, its own tests ask of both databases."""
    return sqlite_url(tmp_path)


@pytest.fixture
def place(make_place: Callable[[Settings], Place], pacs: SmallPacs, files: tuple[Path, ...]) -> Place:
    """A place whose small PACS has the report of a volume of eight frames."""
    made = make_place(delivering_to(pacs.port, commitment=False))
    made.receive(*files[:8])
    assert made.read()
    made.deliver()
    assert made.state() is State.STORED
    return made


def asked(place: Place, engine: TalkingEngine, text: str = _TEXT, frames: str = "3-6") -> tuple[Asked, list[object]]:
    """Ask; return what came of it, and everything that was told and audited."""
    told: list[object] = []
    result = asking.ask_series(
        place.workplace,
        place.row,
        engine=engine,
        question=asking.Question(text=text, frames=frames),
        tell=told.append,
        who="reader",
        audit=told.append,
    )
    return result, told


def record(place: Place, row: SeriesRow, result: Asked) -> SeriesRow:
    """Record an answer, which is audited."""
    audited: list[AuditEvent] = []
    after = asking.record(place.workplace, row, result, who="reader", audit=audited.append)
    assert [(event.action, event.who) for event in audited] == [(Action.OPERATE, "reader")]
    return after


def test_a_question_is_answered_in_the_words_and_places_of_the_series(place: Place) -> None:
    """Only the frames asked of are shown; box and frame are those of the series; the answer comes last, audit after."""
    engine = TalkingEngine()
    result, told = asked(place, engine)
    assert (engine.seen[0].pixels.shape[0], engine.seen[0].first_frame_index) == (4, 2)
    *events, box, answered, audited = told
    assert "".join(event.text for event in events if isinstance(event, Piece)) == _SAID
    assert FrameCited(frame_number=3) in events
    assert isinstance(box, BoxShown)
    assert (box.frame_number, box.label) == (3, "Nonspecific lesion")
    assert answered == result.answered
    assert result.answered.question.text == f"{_TEXT} (asked of frames 3-6 only)"
    assert audited == AuditEvent(action=Action.ASK, who="reader", series_key=place.row.series_key[:8])
    line = place.workplace.journal.timeline(place.row.series_key)[-1]
    assert (line.stage, line.reason) == ("asked", Reason.NONE)
    assert place.state() is State.STORED


def test_what_was_asked_of_some_frames_has_no_certainty(place: Place) -> None:
    """A certainty that was calibrated on whole volumes stands for whole volumes only, and it is said."""
    whole, _ = asked(place, TalkingEngine(), "brain.any", "")
    some, _ = asked(place, TalkingEngine(), "brain.any", "1-4")
    assert (whole.answered.answer.certainty, whole.answered.note) == (0.9, "")
    assert (some.answered.answer.certainty, some.answered.answer.calibrated) == (None, False)
    assert "whole volumes" in some.answered.note


def test_what_cannot_be_asked_is_refused_and_audited(place: Place) -> None:
    """Frames that there are not, a series that is not for us; an answer on a wrong side stands as none."""
    told: list[AuditEvent] = []
    with pytest.raises(ConfigError, match="from 1 to 8"):
        asking.ask_series(
            place.workplace,
            place.row,
            engine=TalkingEngine(),
            question=asking.Question(text=_TEXT, frames="7-9"),
            tell=lambda event: None,
            who="reader",
            audit=told.append,
        )
    assert [event.outcome for event in told] == [Outcome.FAILURE]
    choice = choose(describe(asking.spooled(place.workplace, place.row)[:2]))
    with pytest.raises(UnsupportedSeries, match="nothing is asked"):
        asking.ask(choice, TalkingEngine(), asking.Question(text=_TEXT), started_at=datetime.now(UTC), tell=print)


def test_the_answer_goes_out_in_a_new_version_of_the_report(place: Place, pacs: SmallPacs) -> None:
    """It names the report before, says all that it said, and the answer; it is delivered; twice is once."""
    before = place.row
    result, _ = asked(place, TalkingEngine())
    after = record(place, before, result)
    assert (after.state, after.generation, after.lease_owner) == (State.READ, before.generation + 1, None)
    place.deliver()
    assert place.state() is State.STORED
    old, new = (decode_report(dcmread(place.workplace.results_dir(row) / "sr.dcm")) for row in (before, after))
    assert new.answers[:-1] == old.answers
    assert (new.answers[-1].question, new.answers[-1].text) == (result.answered.question.text, _SAID)
    assert new.answers[-1].evidence == new.labels[0][:1] == ("lesion-1",)
    outbox = Outbox(journal=place.workplace.journal)
    first = next(one for one in outbox.results(before) if one.kind == "SR")
    assert new.predecessor is not None
    assert new.predecessor.sop_instance_uid == first.sop_instance_uid
    assert [one.revises for one in readings(place.workplace.journal, after.series_key)] == [None, before.generation]
    again, _ = asked(place, TalkingEngine())
    with pytest.raises(SgmriError, match="holds this question"):
        record(place, place.row, again)
    other, _ = asked(place, TalkingEngine(), frames="")
    assert record(place, place.row, other).generation == after.generation + 1


def test_a_report_that_an_answer_does_not_belong_to_is_not_revised(place: Place, tmp_path: Path) -> None:
    """Another engine's, no answer, a report not yet delivered, a series in hand: refused, and nothing has changed."""
    before = place.row
    for engine, why in (
        (TalkingEngine(version="2"), "the engine that made the report"),
        (TalkingEngine(unanswered=Unanswered.UNPARSABLE), "an answer to write down"),
    ):
        result, _ = asked(place, engine)
        with pytest.raises(SgmriError, match=why):
            record(place, before, result)
        with pytest.raises(SgmriError, match=why):
            asking.write_down(result, asking.standing(place.workplace, before), [], tmp_path / "none")
    result, _ = asked(place, TalkingEngine())
    journal = place.workplace.journal
    with pytest.raises(SgmriError, match="nobody works on"):
        record(place, replace(before, lease_until=journal.clock() + 9), result)
    assert place.row == before
    record(place, before, result)
    other, _ = asked(place, TalkingEngine(), frames="")
    with pytest.raises(SgmriError, match="reached its destination"):
        record(place, place.row, other)


def test_the_series_of_a_study_are_those_that_are_read(place: Place) -> None:
    """By the study's UID; an unknown one has none."""
    journal = place.workplace.journal
    assert asking.of_study(journal, place.row.study_instance_uid) == (place.row,)
    assert asking.of_study(journal, "1.2.3") == ()
