"""Specimens: readings that say of a phantom exactly what was planted in it, for sample objects and statements.

No engine read them: they show what objects look like, and nothing of how well anybody reads.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from conformance.phantoms import Phantom
from dicom_io.decode import decode
from dicom_io.selection import choose
from dicom_io.series import describe
from sgmri import catalogue
from sgmri.errors import UnsupportedSeries
from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.questions import Answer, Presence, Question, QuestionKind, Unanswered
from sgmri.readings import EngineIdentity, Reading
from sgmri.volume import Anatomy, Volume

PLANTED: Final = EngineIdentity(name="planted truth", version="1", digest="0" * 64)
"""Who "read": nobody; it is known what was painted."""
STARTED_AT: Final = datetime(2026, 1, 2, 11, 0, tzinfo=UTC)
"""When: always the same, so that the objects are the same bytes."""


def planted_reading(phantom: Phantom, paths: Sequence[Path], *, engine: EngineIdentity = PLANTED) -> Reading:
    """Return the reading that says what was planted.

    Parameters
    ----------
    phantom
        The truth.
    paths
        Its files.
    engine
        Who is said to have read.

    Raises
    ------
    SeriesError
        If the files are not a series that is read.
    """
    choice = choose(describe(paths))
    if choice.sub_volume is None or choice.anatomy is None:
        raise UnsupportedSeries("expected a phantom that is read, found one that the selection leaves; use another one")
    volume = decode(choice.sub_volume.facts, choice.anatomy)
    tracklets = tuple(
        Tracklet(
            tracklet_id=f"lesion-{number}", findings=lesion.findings, laterality=_side(phantom, volume, lesion.findings)
        )
        for number, lesion in enumerate(phantom.lesions, start=1)
    )
    return Reading(
        study_instance_uid=volume.study_instance_uid,
        series_instance_uid=volume.series_instance_uid,
        anatomy=volume.anatomy,
        question_set_id=catalogue.STANDARD[volume.anatomy].set_id,
        engine=engine,
        started_at=STARTED_AT,
        frames=volume.frames,
        rows=volume.voxels.shape[1],
        columns=volume.voxels.shape[2],
        answers=answers_for(volume.anatomy, tracklets),
        tracklets=tracklets,
    )


def _side(phantom: Phantom, volume: Volume, findings: Sequence[Finding]) -> Laterality:
    """Return the patient's side: of a knee its own, of a lesion in a brain where its middle lies (x to the left, "
    "LPS).
    """
    if phantom.anatomy is Anatomy.KNEE:
        return Laterality.LEFT
    middle = findings[len(findings) // 2]
    column, row = (middle.box.x0 + middle.box.x1) / 2 - 0.5, (middle.box.y0 + middle.box.y1) / 2 - 0.5
    x_mm = float((volume.frame_affine(middle.frame_index) @ [column, row, 0.0, 1.0])[0])
    return Laterality.LEFT if x_mm > 0 else Laterality.RIGHT


def answers_for(anatomy: Anatomy, tracklets: tuple[Tracklet, ...]) -> tuple[Answer, ...]:
    """Answer the standard set as a careful engine would: by the tracklets, follow-ups only after a positive."""
    questions = catalogue.STANDARD[anatomy]
    answers: dict[str, Answer] = {}
    while asked := questions.next_round(answers):
        for question in asked:
            answers[question.question_id] = _answer(question, tracklets)
    return questions.in_order(answers.values())


def _answer(question: Question, tracklets: tuple[Tracklet, ...]) -> Answer:
    seen = tuple(t for t in tracklets if not question.labels or t.label in question.labels)
    said = partial(Answer, question_id=question.question_id, kind=question.kind)
    match question.kind:
        case QuestionKind.DETECTION if question.question_id.endswith("quality"):
            return said(unanswered=Unanswered.OUTSIDE_ENGINE_SCOPE)
        case QuestionKind.DETECTION if seen:
            return said(
                presence=Presence.PRESENT,
                text="Yes.",
                reasoning="Brighter than its surroundings\non neighbouring frames.",
                evidence=seen,
                certainty=0.83,
                calibrated=True,
            )
        case QuestionKind.DETECTION:
            return said(presence=Presence.ABSENT, text="No.", certainty=0.1)
        case QuestionKind.LOCALISATION:
            return said(text="See the boxes.", evidence=seen)
        case QuestionKind.COUNTING:
            return said(count=len(seen), evidence=seen)
        case QuestionKind.CLASSIFICATION:
            return said(chosen=(question.options[0],), evidence=seen)
        case QuestionKind.CAPTIONING:
            return said(text=f"{len(seen)} findings. Research use only.", evidence=seen)
        case QuestionKind.FREE_TEXT:
            return said(text="As far as these frames show.", evidence=seen)


def all_unanswered(reading: Reading) -> Reading:
    """Return the reading with every kind of reason why a question was not answered, and nothing found."""
    reasons = tuple(Unanswered)
    answers = tuple(
        Answer(question_id=question.question_id, kind=question.kind, unanswered=reasons[number % len(reasons)])
        for number, question in enumerate(catalogue.STANDARD[reading.anatomy].questions)
        if question.follows is None
    )
    return replace(reading, answers=answers, tracklets=())


def with_labels(reading: Reading, labels: Sequence[str]) -> Reading:
    """Return the reading with one tracklet of each label, each on one frame, at the place of its first finding."""
    box = reading.tracklets[0].findings[0].box
    tracklets = tuple(
        Tracklet(
            tracklet_id=f"lesion-{number + 1}",
            findings=(Finding(label=label, frame_index=number % len(reading.frames), box=box),),
            laterality=(*Laterality, None)[number % (len(Laterality) + 1)],
        )
        for number, label in enumerate(labels)
    )
    return replace(reading, tracklets=tracklets, answers=answers_for(reading.anatomy, tracklets))


def fully_answered(reading: Reading, presence: Presence = Presence.ABSENT) -> Reading:
    """Return the reading with one answer instead of each that is lacking (yes/no questions only lack one)."""
    answers = tuple(
        answer if answer.unanswered is None else replace(answer, unanswered=None, presence=presence, text="No.")
        for answer in reading.answers
    )
    return replace(reading, answers=answers)


def without_findings(reading: Reading, presence: Presence | None) -> Reading:
    """Return the reading of somebody who found nothing; what is lacking is answered so, or stays for None."""
    empty = replace(reading, tracklets=(), answers=answers_for(reading.anatomy, ()))
    return empty if presence is None else fully_answered(empty, presence)
