"""A reading: all answers of one engine to one question set on one series, and its JSON form."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import UnparsableAnswer
from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.geometry import Box
from sgmri.questions import Answer, Presence, Question, QuestionKind, Unanswered
from sgmri.volume import Anatomy, FrameRef


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredAccuracy:
    """How well a model answered one kind of question when it was examined.

    Parameters
    ----------
    kind
        Which questions.
    measure
        What was measured, in words, such as "number of lesions exactly right".
    value
        0 to 1, higher is better.
    low, high
        95 % interval of ``value``.
    volumes
        How many volumes it was measured on.
    source
        Which volumes, and where the figure stands.

    Raises
    ------
    ValueError
        If the figures are none.
    """

    kind: QuestionKind
    measure: str
    value: float
    low: float
    high: float
    volumes: int
    source: str

    def __post_init__(self) -> None:
        if not all(0 <= figure <= 1 for figure in (self.low, self.value, self.high)):
            raise ValueError(f"expected figures of 0 to 1, found {self.low}, {self.value}, {self.high}")
        if self.volumes < 1:
            raise ValueError(f"expected at least one volume, found {self.volumes}")

    def __str__(self) -> str:
        interval = f"95 % interval {self.low:.1%} to {self.high:.1%}"
        return f"{self.measure}: {self.value:.1%} ({interval}; {self.volumes} {self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineIdentity:
    """Who read: enough to tell two models apart.

    Parameters
    ----------
    name
        Readable name, such as "classical".
    version
        Version of the engine's code or bundle.
    digest
        sha256 (64 hexadecimal digits) over weights and parameters; changes whenever an answer could change.
    accuracy
        What its examination measured; empty where it was never examined.
    """

    name: str
    version: str
    digest: str
    accuracy: tuple[MeasuredAccuracy, ...] = ()

    def accuracy_of(self, kind: QuestionKind) -> str:
        """Say how well it answers one kind of question, as far as that was measured."""
        measured = [str(entry) for entry in self.accuracy if entry.kind is kind]
        return "; ".join(measured) or f"not measured for questions of {kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRef:
    """A structured report in the study of its reading.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid
        The report.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All answers of one engine to one question set on one series: all the encoders learn from the worker.

    Boxes are in pixels of the source frames; frame indices count the sorted volume.

    Parameters
    ----------
    study_instance_uid, series_instance_uid
        The source.
    anatomy
        What was read.
    question_set_id
        Which questions were asked.
    engine
        Who read.
    started_at
        When, with a time zone. For a received series, when it was complete; the same for a repeated reading, so
        that the objects are the same bytes.
    frames
        The volume's frames, in order; a finding's frame index points here.
    rows, columns
        Matrix of the source frames.
    answers
        One for each question that was asked, in order.
    tracklets
        Every tracklet that an answer rests on, once.
    is_lossy
        Whether a source image was, or may have been, compressed with loss: detail may be lost or made up.
    anatomy_certainty
        How certain the anatomy is, 0 to 1, where it was taken from the image; None where headers or a rule name it.
    predecessor
        The report of the earlier reading of the same series that this one revises; None for a first reading.
    edition
        How many readings of the series were retracted before: a new reading of the very same frames by the same engine
        is another one, with UIDs of its own.
    form
        In which shape its objects are written, where destinations get different ones: those of another shape bear UIDs
        of their own. Empty for the first shape.
    asked
        What people asked by hand, beside the question set: questions of :func:`sgmri.asking.as_asked`.
    """

    study_instance_uid: str
    series_instance_uid: str
    anatomy: Anatomy
    question_set_id: str
    engine: EngineIdentity
    started_at: datetime
    frames: tuple[FrameRef, ...]
    rows: int
    columns: int
    answers: tuple[Answer, ...]
    tracklets: tuple[Tracklet, ...] = ()
    is_lossy: bool = False
    anatomy_certainty: float | None = None
    predecessor: ReportRef | None = None
    edition: int = 0
    form: str = ""
    asked: tuple[Question, ...] = ()

    def __post_init__(self) -> None:
        if self.started_at.tzinfo is None:
            raise ValueError("a reading's time needs a time zone")
        known = {tracklet.tracklet_id: tracklet for tracklet in self.tracklets}
        if len(known) != len(self.tracklets):
            raise UnparsableAnswer("two tracklets of a reading have the same id")
        for tracklet in self.tracklets:
            for finding in tracklet.findings:
                if finding.frame_index >= len(self.frames):
                    raise UnparsableAnswer(
                        f"{tracklet.tracklet_id}: frame index {finding.frame_index} of {len(self.frames)} frames"
                    )
                if not finding.box.lies_within(self.rows, self.columns):
                    raise UnparsableAnswer(
                        f"{tracklet.tracklet_id}: box {finding.box.as_tuple()} leaves its frame of "
                        f"{self.columns} x {self.rows} pixels"
                    )
        for answer in self.answers:
            for tracklet in answer.evidence:
                if known.get(tracklet.tracklet_id) != tracklet:
                    raise UnparsableAnswer(f"{answer.question_id} rests on a tracklet that the reading does not hold")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every box of the reading, tracklet by tracklet."""
        return tuple(finding for tracklet in self.tracklets for finding in tracklet.findings)


def to_json(reading: Reading) -> str:
    """Write a reading as JSON (UTF-8 text, keys in a fixed order)."""
    return json.dumps(_reading_mapping(reading), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Reading:
    """Read a reading back.

    Raises
    ------
    UnparsableAnswer
        If the text is not a reading of :func:`to_json`.
    """
    try:
        return _reading(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise UnparsableAnswer(
            f"expected a reading as written by sgmri, found {type(error).__name__}: {error}"
        ) from None


def _reading_mapping(reading: Reading) -> dict[str, Any]:
    return {
        "notice": RESEARCH_USE_STATEMENT,
        "study_instance_uid": reading.study_instance_uid,
        "series_instance_uid": reading.series_instance_uid,
        "anatomy": reading.anatomy.value,
        "question_set_id": reading.question_set_id,
        "engine": asdict(reading.engine),
        "started_at": reading.started_at.isoformat(),
        "rows": reading.rows,
        "columns": reading.columns,
        "is_lossy": reading.is_lossy,
        "anatomy_certainty": reading.anatomy_certainty,
        "predecessor": asdict(reading.predecessor) if reading.predecessor else None,
        "edition": reading.edition,
        "form": reading.form,
        "asked": [asdict(question) for question in reading.asked],
        "box_format": "x0, y0, x1, y1 in pixels, half-open, origin at the outer corner of the top-left pixel",
        "answers": [_answer_mapping(answer) for answer in reading.answers],
        "tracklets": [_tracklet_mapping(tracklet) for tracklet in reading.tracklets],
        "frames": [
            {
                "sop_class_uid": ref.sop_class_uid,
                "sop_instance_uid": ref.sop_instance_uid,
                "frame_number": ref.frame_number,
                "position_mm": list(ref.position_mm),
            }
            for ref in reading.frames
        ],
    }


def _answer_mapping(answer: Answer) -> dict[str, Any]:
    return {
        "question_id": answer.question_id,
        "kind": answer.kind.value,
        "presence": answer.presence.value if answer.presence else None,
        "count": answer.count,
        "chosen": list(answer.chosen),
        "text": answer.text,
        "reasoning": answer.reasoning,
        "evidence": [tracklet.tracklet_id for tracklet in answer.evidence],
        "certainty": answer.certainty,
        "calibrated": answer.calibrated,
        "unanswered": answer.unanswered.value if answer.unanswered else None,
    }


def _tracklet_mapping(tracklet: Tracklet) -> dict[str, Any]:
    return {
        "tracklet_id": tracklet.tracklet_id,
        "label": tracklet.label,
        "laterality": tracklet.laterality.value if tracklet.laterality else None,
        "tracking_uid": tracklet.tracking_uid,
        "findings": [
            {
                "frame_number": f.frame_index + 1,
                "box": list(f.box.as_tuple()),
                "score": f.score,
                "tracking_uid": f.tracking_uid,
            }
            for f in tracklet.findings
        ],
    }


def _reading(data: Mapping[str, Any]) -> Reading:
    tracklets = tuple(_tracklet(item) for item in data["tracklets"])
    by_id = {tracklet.tracklet_id: tracklet for tracklet in tracklets}
    return Reading(
        study_instance_uid=data["study_instance_uid"],
        series_instance_uid=data["series_instance_uid"],
        anatomy=Anatomy(data["anatomy"]),
        question_set_id=data["question_set_id"],
        engine=_engine(data["engine"]),
        started_at=datetime.fromisoformat(data["started_at"]),
        frames=tuple(FrameRef(**{**item, "position_mm": tuple(item["position_mm"])}) for item in data["frames"]),
        rows=data["rows"],
        columns=data["columns"],
        answers=tuple(_answer(item, by_id) for item in data["answers"]),
        tracklets=tracklets,
        # sealed golden cases were written before these were noted
        is_lossy=data.get("is_lossy", False),
        anatomy_certainty=data.get("anatomy_certainty"),
        predecessor=ReportRef(**data["predecessor"]) if data.get("predecessor") else None,
        edition=data.get("edition", 0),
        form=data.get("form", ""),
        asked=tuple(_question(item) for item in data.get("asked", ())),
    )


def _question(data: Mapping[str, Any]) -> Question:
    lists = {name: tuple(data[name]) for name in ("labels", "options")}
    return Question(**{**data, **lists, "kind": QuestionKind(data["kind"])})


def _engine(data: Mapping[str, Any]) -> EngineIdentity:
    # sealed golden cases were written before the accuracy was noted
    accuracy = [
        MeasuredAccuracy(**{**entry, "kind": QuestionKind(entry["kind"])}) for entry in data.get("accuracy", ())
    ]
    return EngineIdentity(**{**data, "accuracy": tuple(accuracy)})


def _answer(data: Mapping[str, Any], tracklets: Mapping[str, Tracklet]) -> Answer:
    return Answer(
        question_id=data["question_id"],
        kind=QuestionKind(data["kind"]),
        presence=Presence(data["presence"]) if data["presence"] else None,
        count=data["count"],
        chosen=tuple(data["chosen"]),
        text=data["text"],
        reasoning=data["reasoning"],
        evidence=tuple(tracklets[name] for name in data["evidence"]),
        certainty=data["certainty"],
        calibrated=data["calibrated"],
        unanswered=Unanswered(data["unanswered"]) if data["unanswered"] else None,
    )


def _tracklet(data: Mapping[str, Any]) -> Tracklet:
    findings = tuple(
        Finding(
            label=data["label"],
            frame_index=item["frame_number"] - 1,
            box=Box(**dict(zip(("x0", "y0", "x1", "y1"), item["box"], strict=True))),
            score=item["score"],
            tracking_uid=item.get("tracking_uid"),
        )
        for item in data["findings"]
    )
    return Tracklet(
        tracklet_id=data["tracklet_id"],
        findings=findings,
        laterality=Laterality(data["laterality"]) if data["laterality"] else None,
        tracking_uid=data.get("tracking_uid"),
    )
