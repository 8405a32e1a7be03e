"""A reading survives its JSON form unchanged, and JSON that is no reading is refused."""

import copy
import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.catalogue import STANDARD
from sgmri.errors import UnparsableAnswer
from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.geometry import Box
from sgmri.questions import NONE_OF_THESE, Answer, Presence, QuestionKind, Unanswered
from sgmri.readings import EngineIdentity, MeasuredAccuracy, Reading, ReportRef, from_json, to_json
from sgmri.volume import Anatomy, FrameRef

ROWS, COLUMNS, FRAMES = 40, 30, 5
LABELS = ("Mass", "Edema")


@st.composite
def tracklets(draw: st.DrawFn) -> tuple[Tracklet, ...]:
    """Up to three tracklets on a volume of 5 frames of 40 rows by 30 columns."""
    made = []
    for number in range(1, draw(st.integers(0, 3)) + 1):
        label = draw(st.sampled_from(LABELS))
        findings = []
        for frame_index in sorted(draw(st.sets(st.integers(0, FRAMES - 1), min_size=1))):
            x0, y0 = draw(st.floats(0, COLUMNS - 1)), draw(st.floats(0, ROWS - 1))
            box = Box(x0=x0, y0=y0, x1=draw(st.floats(x0 + 0.5, COLUMNS)), y1=draw(st.floats(y0 + 0.5, ROWS)))
            score = draw(st.none() | st.floats(0, 1))
            uid = draw(st.none() | st.just(f"2.25.7{frame_index}"))
            findings.append(Finding(label=label, frame_index=frame_index, box=box, score=score, tracking_uid=uid))
        made.append(
            Tracklet(
                tracklet_id=f"lesion-{number}",
                findings=tuple(findings),
                laterality=draw(st.none() | st.sampled_from(Laterality)),
                tracking_uid=draw(st.none() | st.just("2.25.8")),
            )
        )
    return tuple(made)


@st.composite
def answers(draw: st.DrawFn, question_id: str, kind: QuestionKind, known: tuple[Tracklet, ...]) -> Answer:
    """One valid answer of the kind, resting on some of the known tracklets where it may."""
    words: dict[str, Any] = {"text": draw(st.text(max_size=20)), "reasoning": draw(st.text(max_size=20))}
    if draw(st.booleans()) or (kind is QuestionKind.LOCALISATION and not known):
        return Answer(question_id=question_id, kind=kind, unanswered=draw(st.sampled_from(Unanswered)), **words)
    values: dict[str, Any] = {
        "certainty": draw(st.none() | st.floats(0, 1)),
        "calibrated": draw(st.booleans()),
        "presence": draw(st.sampled_from(Presence)) if kind is QuestionKind.DETECTION else None,
        "count": draw(st.integers(0, 99)) if kind is QuestionKind.COUNTING else None,
        "chosen": ("Mass", NONE_OF_THESE) if kind is QuestionKind.CLASSIFICATION else (),
    }
    if values["presence"] not in (Presence.ABSENT, Presence.UNDETERMINED):
        values["evidence"] = known
    return Answer(question_id=question_id, kind=kind, **values, **words)


def accuracies() -> st.SearchStrategy[tuple[MeasuredAccuracy, ...]]:
    """What was measured of an engine: nothing, or some kinds of question."""
    part = st.floats(0, 1)
    entry = st.builds(
        MeasuredAccuracy,
        kind=st.sampled_from(QuestionKind),
        measure=st.text(max_size=20),
        value=part,
        low=part,
        high=part,
        volumes=st.integers(1, 999),
        source=st.text(max_size=20),
    )
    return st.lists(entry, max_size=3).map(tuple)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Readings of the brain set with every kind of answer."""
    known = draw(tracklets())
    uids = st.integers(0, 9).map(lambda number: f"2.25.{number}")
    questions = draw(st.lists(st.sampled_from(STANDARD[Anatomy.BRAIN].questions), unique=True))
    multi_frame = draw(st.booleans())
    return Reading(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        anatomy=Anatomy.BRAIN,
        question_set_id="brain-1",
        engine=EngineIdentity(name="classical", version="1", digest="0" * 64, accuracy=draw(accuracies())),
        started_at=draw(st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-9, minutes=-30))))),
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid="2.25.3" if multi_frame else f"2.25.{n}",
                frame_number=n if multi_frame else None,
                position_mm=(0.0, -1.5, draw(st.floats(-500, 500))),
            )
            for n in range(1, FRAMES + 1)
        ),
        rows=ROWS,
        columns=COLUMNS,
        answers=tuple(draw(answers(question.question_id, question.kind, known)) for question in questions),
        tracklets=known,
        is_lossy=draw(st.booleans()),
        anatomy_certainty=draw(st.none() | st.floats(0, 1)),
        predecessor=draw(
            st.none() | st.builds(ReportRef, sop_class_uid=uids, sop_instance_uid=uids, series_instance_uid=uids)
        ),
    )


@pytest.fixture
def reading() -> Reading:
    """A reading with one lesion on frame 3 and one answer that rests on it."""
    box = Box(x0=1.25, y0=2, x1=7, y1=9)
    lesion = Tracklet(tracklet_id="lesion-1", findings=(Finding(label="Mass", frame_index=2, box=box, score=0.5),))
    return Reading(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        anatomy=Anatomy.BRAIN,
        question_set_id="brain-1",
        engine=EngineIdentity(name="classical", version="1", digest="0" * 64),
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=f"2.25.{10 + n}",
                frame_number=None,
                position_mm=(0.0, 0.0, 3.0 * n),
            )
            for n in range(FRAMES)
        ),
        rows=ROWS,
        columns=COLUMNS,
        answers=(
            Answer(question_id="brain.any", kind=QuestionKind.DETECTION, presence=Presence.PRESENT, evidence=(lesion,)),
        ),
        tracklets=(lesion,),
    )


@given(readings())
def test_a_reading_survives_json(reading: Reading) -> None:
    """Read back, a reading equals what was written, to the last bit of every coordinate."""
    assert from_json(to_json(reading)) == reading


def test_a_reading_from_before_loss_was_noted_is_read(reading: Reading) -> None:
    """The golden cases of sealed bundles say neither whether their sources were lossy nor how sure the anatomy is."""
    written = json.loads(to_json(reading))
    del written["is_lossy"], written["anatomy_certainty"]
    assert from_json(json.dumps(written)) == reading


@given(readings())
def test_the_same_reading_gives_the_same_bytes(reading: Reading) -> None:
    """Written twice, or read back and written again, the text is the same: retries produce equal files."""
    assert to_json(from_json(to_json(reading))) == to_json(reading)


def test_the_json_says_what_it_is(reading: Reading) -> None:
    """The file states that it is for research use, how boxes are meant, and counts frames from 1 as DICOM does."""
    written = json.loads(to_json(reading))
    assert written["notice"] == RESEARCH_USE_STATEMENT
    assert "half-open" in written["box_format"]
    finding = {"frame_number": 3, "box": [1.25, 2, 7, 9], "score": 0.5, "tracking_uid": None}
    assert written["tracklets"][0]["findings"][0] == finding


SPOILERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no answers": lambda data: data.pop("answers"),
    "no frames": lambda data: data.update(frames=[]),
    "unknown kind": lambda data: data["answers"][0].update(kind="guess"),
    "unknown presence": lambda data: data["answers"][0].update(presence="maybe"),
    "evidence that does not exist": lambda data: data["answers"][0].update(evidence=["lesion-2"]),
    "negative with boxes": lambda data: data["answers"][0].update(presence="absent"),
    "frame 0": lambda data: data["tracklets"][0]["findings"][0].update(frame_number=0),
    "frame behind the last": lambda data: data["tracklets"][0]["findings"][0].update(frame_number=FRAMES + 1),
    "box of three": lambda data: data["tracklets"][0]["findings"][0].update(box=[0, 0, 1]),
    "box leaves the frame": lambda data: data["tracklets"][0]["findings"][0].update(box=[0, 0, COLUMNS + 1, 2]),
    "box of words": lambda data: data["tracklets"][0]["findings"][0].update(box=["a", "b", "c", "d"]),
    "empty box": lambda data: data["tracklets"][0]["findings"][0].update(box=[5, 5, 5, 5]),
    "engine without digest": lambda data: data["engine"].pop("digest"),
    "time without a zone": lambda data: data.update(started_at="2026-01-02T03:04:05"),
    "time of words": lambda data: data.update(started_at="yesterday"),
    "anatomy that is not ours": lambda data: data.update(anatomy="foot"),
    "the same tracklet twice": lambda data: data["tracklets"].append(data["tracklets"][0]),
    "certainty above 1": lambda data: data["answers"][0].update(certainty=2),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_json_that_is_no_reading_is_refused(reading: Reading, spoil: Callable[[dict[str, Any]], object]) -> None:
    """One wrong field and the file raises UnparsableAnswer: it never becomes a smaller reading."""
    data = copy.deepcopy(json.loads(to_json(reading)))
    spoil(data)
    with pytest.raises(UnparsableAnswer):
        from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"x"', "{}"])
def test_text_that_is_no_reading_is_refused(text: str) -> None:
    """Truncated, empty or other JSON raises UnparsableAnswer and nothing else."""
    with pytest.raises(UnparsableAnswer):
        from_json(text)


def test_a_reading_needs_a_time_zone(reading: Reading) -> None:
    """A time without a zone would mean another moment on another machine."""
    with pytest.raises(ValueError, match="time zone"):
        Reading(
            study_instance_uid=reading.study_instance_uid,
            series_instance_uid=reading.series_instance_uid,
            anatomy=reading.anatomy,
            question_set_id=reading.question_set_id,
            engine=reading.engine,
            started_at=reading.started_at.replace(tzinfo=None),
            frames=reading.frames,
            rows=reading.rows,
            columns=reading.columns,
            answers=(),
        )


def test_findings_are_listed_tracklet_by_tracklet(reading: Reading) -> None:
    """Every box of the reading is in the list, once."""
    assert reading.findings == reading.tracklets[0].findings


def test_accuracy_is_said_for_each_kind() -> None:
    """A kind that was measured is said with its interval, volumes and source; another is said not to be."""
    entry = MeasuredAccuracy(
        kind=QuestionKind.COUNTING,
        measure="lesions exactly right",
        value=0.86,
        low=0.786,
        high=0.926,
        volumes=200,
        source="held-out volumes",
    )
    engine = EngineIdentity(name="classical", version="1", digest="0" * 64, accuracy=(entry, entry))
    said = "lesions exactly right: 86.0% (95 % interval 78.6% to 92.6%; 200 held-out volumes)"
    assert engine.accuracy_of(QuestionKind.COUNTING) == f"{said}; {said}"
    assert engine.accuracy_of(QuestionKind.CAPTIONING) == "not measured for questions of captioning"
    for wrong in ({"value": 1.1}, {"low": float("nan")}, {"volumes": 0}):
        with pytest.raises(ValueError, match="expected"):
            dataclasses.replace(entry, **wrong)
