"""The text report: what the structured report says, as a page to be read, in a series of its own.

A viewer that draws the boxes of a TID 1500 report shows none of its answers; a report with another title it opens as
numbered text, item by item with the concept's meaning in front. So every item here is one plain line or paragraph,
without children, and nothing refers to an image: such an item is shown as "not supported" (OHIF 3.13.2).

::

    CONTAINER (11528-7, LN, "Radiology Report")
      ...                         observer: a device
      CONTAINER  Summary
        TEXT  Comment             research use, engine, question set, whatever else is to be known
        TEXT  Lesion Identifier   one a tracklet: id, label, side, where it is seen
      CONTAINER  Findings
        CONTAINER  Finding        one a question
          TEXT  Tracking Identifier            question id
          TEXT  Request                        the question
          TEXT  Conclusion                     the answer
          TEXT  Finding                        the engine's sentence, where the answer is not it
          TEXT  Certainty of Finding           and whether it was calibrated
          TEXT  Referenced Frames              tracklets that the answer rests on, with their frames
          TEXT  CAD Operating Point Description   measured accuracy of the question's kind
          TEXT  Comment                        reasoning

References
----------
PS3.3 A.35.2 (Enhanced SR IOD), C.17.3 (SR Document Content)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from highdicom.sr import ContainerContentItem, ContentItem, ContentSequence, EnhancedSR
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from dicom_io import codes, identity
from dicom_io.kinds import ResultKind
from dicom_io.objects import answers, envelope, tree
from dicom_io.objects.document import Document, observer
from dicom_io.objects.envelope import clean_text
from dicom_io.objects.sources import by_instance, leniently, ordered_sources
from dicom_io.objects.sr import question_set_of
from sgmri.errors import MalformedInstance
from sgmri.findings import Tracklet, frames_as_text
from sgmri.questions import Answer, Question, QuestionSet
from sgmri.readings import Reading, ReportRef
from sgmri.vocabulary import CodedConcept

SERIES_DESCRIPTION: Final = "sgmri AI report as text (research use only)"

_LINES: Final[Mapping[str, CodedConcept]] = MappingProxyType(
    {
        "question_id": codes.TRACKING_IDENTIFIER,
        "question": codes.REQUEST,
        "answer": codes.CONCLUSION,
        "sentence": codes.FINDING,
        "certainty": codes.CERTAINTY_OF_FINDING,
        "frames": codes.REFERENCED_FRAMES,
        "accuracy": codes.OPERATING_POINT,
        "reasoning": codes.COMMENT,
    }
)
"""Field of :class:`TextAnswer` -> what stands in front of it on the page, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAnswer:
    """One question and its answer, as they stand on the page; what there is nothing to say of is empty.

    Parameters
    ----------
    question_id, question
        Identifier and text.
    answer
        Present, absent, undetermined, the count, the options chosen, the sentence, or why there is none.
    sentence
        What the engine says beside ``answer``.
    certainty
        In per cent, and whether it was calibrated.
    frames
        Tracklets that the answer rests on, and where they are seen.
    accuracy
        What was measured of the model for this kind of question.
    reasoning
        The words between question and answer.
    """

    question_id: str
    question: str
    answer: str
    sentence: str
    certainty: str
    frames: str
    accuracy: str
    reasoning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReport:
    """The page.

    Parameters
    ----------
    notes
        Sentences about the whole report; the first two are research use and engine.
    tracklets
        One line a tracklet.
    answers
        One a question that was asked, in order.
    predecessor
        The report that it revises; None where it names none.
    """

    notes: tuple[str, ...]
    tracklets: tuple[str, ...]
    answers: tuple[TextAnswer, ...]
    predecessor: ReportRef | None


def as_text(
    reading: Reading,
    sources: Sequence[Dataset],
    *,
    no_segmentation_reason: str = "",
    questions: QuestionSet | None = None,
) -> TextReport:
    """Return what the page of a reading says; see :func:`encode_text_report`."""
    asked = questions or question_set_of(reading)
    places = _Places(reading, sources)
    return TextReport(
        notes=tuple(clean_text(note) for note in answers.notes(reading, no_segmentation_reason)),
        tracklets=tuple(places.of(tracklet) for tracklet in reading.tracklets),
        answers=tuple(_text_answer(answer, asked[answer.question_id], reading, places) for answer in reading.answers),
        predecessor=reading.predecessor,
    )


class _Places:
    """Says where tracklets are seen, in the numbers that a viewer shows where these are plain."""

    def __init__(self, reading: Reading, sources: Sequence[Dataset]) -> None:
        frames = reading.frames
        instances = {uid: _instance_number(source) for uid, source in by_instance(sources).items()}
        shown = [instances.get(ref.sop_instance_uid) for ref in frames]
        self._word, self._numbers = "slices of the stack", list(range(1, len(frames) + 1))
        if len({ref.sop_instance_uid for ref in frames}) == 1:
            self._word, self._numbers = "frames", [ref.frame_number or 1 for ref in frames]
        elif None not in shown and len(set(shown)) == len(frames):
            self._word, self._numbers = "images", [number for number in shown if number is not None]

    def of(self, tracklet: Tracklet) -> str:
        side = "" if tracklet.laterality is None else f", {tracklet.laterality}"
        numbers = sorted(self._numbers[index] for index in tracklet.frame_indices)
        where = frames_as_text([number - 1 for number in numbers])  # it takes indices and writes numbers
        label = codes.finding_concept(tracklet.label).label
        return clean_text(f"{tracklet.tracklet_id}: {label}{side}, {self._word} {where}")


def _instance_number(source: Dataset) -> int | None:
    """Return the Instance Number (0020,0013) of a source; None where it has none, or no number."""
    try:
        with leniently():
            return int(source.InstanceNumber)
    except (AttributeError, TypeError, ValueError):
        return None


def _text_answer(answer: Answer, question: Question, reading: Reading, places: _Places) -> TextAnswer:
    written = answers.as_written(answer, question, reading.engine)
    said, sentence = _said(written)
    return TextAnswer(
        question_id=written.question_id,
        question=written.question,
        answer=said,
        sentence=sentence,
        certainty=answers.certainty_text(written),
        frames="\r\n".join(places.of(tracklet) for tracklet in answer.evidence),
        accuracy=written.accuracy,
        reasoning=written.reasoning,
    )


def _said(written: answers.DecodedAnswer) -> tuple[str, str]:
    """Return the answer, and the sentence beside it."""
    if written.unanswered is not None:
        return f"Not assessed: {written.unanswered}", written.text
    if written.presence is not None:
        return codes.PRESENCE[written.presence].meaning, written.text
    if written.count is not None:
        return str(written.count), written.text
    if written.chosen:
        return "; ".join(written.chosen), written.text
    return written.text, ""


def encode_text_report(
    reading: Reading,
    sources: Sequence[Dataset],
    *,
    no_segmentation_reason: str = "",
    questions: QuestionSet | None = None,
) -> Dataset:
    """Write a reading as a report in plain text.

    Parameters
    ----------
    reading
        The reading.
    sources
        Headers of all instances of the reading's frames.
    no_segmentation_reason
        Why no segmentation was written; empty where there is one, or nothing to segment.
    questions
        The set that was asked; None for the standard set of the reading's ``question_set_id``.

    Raises
    ------
    IncompleteSeries, MalformedInstance
        If the sources are not those of the reading.
    EngineError
        If a label or the question set is unknown.
    """
    sources = ordered_sources(reading, sources)
    page = as_text(reading, sources, no_segmentation_reason=no_segmentation_reason, questions=questions)
    uids = identity.result_uids(reading)
    document = Document(
        sop_class=EnhancedSR,
        series_instance_uid=uids.series(ResultKind.TEXT_SR),
        sop_instance_uid=uids.instance(ResultKind.TEXT_SR),
        series_number=envelope.TEXT_SERIES_NUMBER,
    )
    ds = document.around(_root(reading, page), reading, sources)
    ds.SeriesDescription = SERIES_DESCRIPTION
    return ds


def _root(reading: Reading, page: TextReport) -> Dataset:
    summary = [
        *(tree.text(codes.COMMENT, note, tree.CONTAINS) for note in page.notes),
        *(tree.text(codes.LESION_IDENTIFIER, line, tree.CONTAINS) for line in page.tracklets),
    ]
    findings = [tree.container(codes.FINDING, _lines(answer)) for answer in page.answers]
    root = ContainerContentItem(name=codes.written(codes.TEXT_REPORT), is_content_continuous=False)
    items = [*observer(reading), tree.container(codes.SUMMARY, summary)]
    if findings:
        items.append(tree.container(codes.FINDINGS, findings))
    root.ContentSequence = ContentSequence(items)
    return root


def _lines(answer: TextAnswer) -> list[ContentItem]:
    lines = ((concept, getattr(answer, field)) for field, concept in _LINES.items())
    return [tree.text(concept, line, tree.CONTAINS) for concept, line in lines if line]


def decode_text_report(ds: Dataset) -> TextReport:
    """Read a text report of this product.

    Raises
    ------
    MalformedInstance
        If the object is no Enhanced SR of this title, or lacks what :func:`encode_text_report` writes.
    """
    try:
        summary = tree.first(ds, codes.SUMMARY)
        if summary is None or ds.SOPClassUID != EnhancedSRStorage or tree.name_of(ds) != codes.TEXT_REPORT:
            raise ValueError("not ours")
        findings = tree.first(ds, codes.FINDINGS)
        return TextReport(
            notes=answers.decode_notes(summary),
            tracklets=tuple(tree.text_of(item) for item in tree.children(summary, codes.LESION_IDENTIFIER)),
            answers=() if findings is None else tuple(map(_decoded, tree.children(findings, codes.FINDING))),
            predecessor=envelope.decode_predecessor(ds),
        )
    except (AttributeError, IndexError, ValueError):
        raise MalformedInstance(
            "expected a text report as sgmri writes it (Enhanced SR, 11528-7, LN), found another object; hand over the "
            "text report"
        ) from None


def _decoded(item: Dataset) -> TextAnswer:
    return TextAnswer(
        **{field.name: tree.text_of(tree.first(item, _LINES[field.name])) for field in fields(TextAnswer)}
    )
