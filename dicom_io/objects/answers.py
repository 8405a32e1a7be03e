"""The answers of a reading as the report's Qualitative Evaluations: one item a question, present, absent or unknown.

They stand beside "Imaging Measurements", not in it: a measurement group without coordinates blanks the report in a
common viewer (ADR 0006). A question without an answer says "Not assessed" and why; silence would read as a negative.

::

    CONTAINER (C0034375, UMLS, "Qualitative Evaluations")
      TEXT  Comment                        research use, engine, question set; that it revises; why there is no SEG
      CODE  CAD Processing and Findings Summary
      CODE | TEXT  <one a question>
        HAS OBS CONTEXT   TEXT  Tracking Identifier = question id
        HAS CONCEPT MOD   TEXT  Equivalent Meaning of Concept Name = the question
        HAS CONCEPT MOD   CODE  Finding Site
        HAS PROPERTIES    ...   value, sentence, certainty; CODE Not Evaluated = why
        HAS PROPERTIES    TEXT  CAD Operating Point Description = measured accuracy of the question's kind
        INFERRED FROM     TEXT  Comment = reasoning; Lesion Identifier = tracklet
      TEXT  Lesion Identifier              one a tracklet, with its label, Tracking UID and segment

References
----------
PS3.16 TID 1500 (Qualitative Evaluations), TID 1210 (Equivalent Meaning), PS3.3 A.35.13.3.1.2
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from highdicom.sr import ContainerContentItem, ContentItem, ImageContentItem
from pydicom.dataset import Dataset

from dicom_io import codes, identity
from dicom_io.objects import tree
from dicom_io.objects.envelope import clean_text
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.questions import NONE_OF_THESE, Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from sgmri.readings import EngineIdentity, Reading
from sgmri.vocabulary import FINDINGS, CodedConcept, body_part
from sgmri.volume import Anatomy

_NOT_ASSESSED: Final = "Not assessed: "
_NO_SEGMENTATION: Final = "No segmentation: "
LOSSY_SOURCE: Final = (
    "Read from images that were compressed with loss, or may have been: fine detail may be missing or made up."
)
"""Note on a report whose sources have lossy compression (PS3.3 C.7.6.1.1.5)."""
REVISED: Final = (
    "Revises an earlier report of this series, which was made of fewer instances, by another engine, or before a "
    "question was asked by hand."
)
"""Note on a report with a predecessor."""
_NOT_STATED: Final = "Not stated."
_UNANSWERED: Final = MappingProxyType({concept: reason for reason, concept in codes.NOT_ASSESSED.items()})
_PRESENCE_OF: Final = MappingProxyType({concept: presence for presence, concept in codes.PRESENCE.items()})
_COUNTS: Final = (codes.NUMBER_OF_LESIONS, codes.NUMBER_OF_OCCURRENCES)
_SPOKEN: Final = frozenset({QuestionKind.LOCALISATION, QuestionKind.CAPTIONING, QuestionKind.FREE_TEXT})
"""Kinds whose answer is its sentence."""
_CALIBRATED: Final = MappingProxyType(
    {True: "Calibrated on a validation set", False: "Not calibrated: an ordering, not a probability"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedAnswer:
    """One answer, as read back; the fields of :class:`sgmri.questions.Answer` in the form in which they are written.

    Parameters
    ----------
    question_id, question
        Identifier and text.
    presence, count, chosen
        Detection, counting, classification.
    text, reasoning
        Sentences.
    evidence
        Tracklet ids.
    certainty_percent
        0 to 100; None where none is stated.
    calibrated
        Whether the certainty is called calibrated.
    unanswered
        Why there is no answer.
    accuracy
        What was measured of the model for this kind of question.
    """

    question_id: str
    question: str
    presence: Presence | None = None
    count: int | None = None
    chosen: tuple[str, ...] = ()
    text: str = ""
    reasoning: str = ""
    evidence: tuple[str, ...] = ()
    certainty_percent: float | None = None
    calibrated: bool = False
    unanswered: Unanswered | None = None
    accuracy: str = ""


def as_written(answer: Answer, question: Question, engine: EngineIdentity) -> DecodedAnswer:
    """Return how an engine's answer reads once it was written: sentences cleaned, certainty in per cent, exact."""
    return DecodedAnswer(
        question_id=answer.question_id,
        question=clean_text(question.text),
        presence=answer.presence,
        count=answer.count,
        chosen=tuple(clean_text(option) for option in answer.chosen),
        text=_spoken(answer) if _is_spoken(answer) else clean_text(answer.text),
        reasoning=clean_text(answer.reasoning),
        evidence=tuple(tracklet.tracklet_id for tracklet in answer.evidence),
        certainty_percent=None if answer.certainty is None else 100 * answer.certainty,
        calibrated=answer.calibrated and answer.certainty is not None,
        unanswered=answer.unanswered,
        accuracy=clean_text(engine.accuracy_of(answer.kind)),
    )


def certainty_text(answer: DecodedAnswer) -> str:
    """Say how certain an answer is; empty where no certainty is stated."""
    if answer.certainty_percent is None:
        return ""
    return f"{answer.certainty_percent:g} %. {_CALIBRATED[answer.calibrated]}."


def _is_spoken(answer: Answer) -> bool:
    return answer.kind in _SPOKEN and answer.unanswered is None


def _spoken(answer: Answer) -> str:
    if clean_text(answer.text):
        return clean_text(answer.text)
    return ", ".join(tracklet.tracklet_id for tracklet in answer.evidence) or _NOT_STATED


def encode_answers(
    reading: Reading, questions: QuestionSet, *, segmentation: Dataset | None, no_segmentation_reason: str
) -> ContainerContentItem:
    """Return the Qualitative Evaluations container of a reading.

    Parameters
    ----------
    reading
        The reading.
    questions
        The set that was asked.
    segmentation
        The segmentation that holds the tracklets' segments; None where none was written.
    no_segmentation_reason
        Why not; empty where there was nothing to segment.
    """
    reason = no_segmentation_reason if segmentation is None else ""
    items: list[ContentItem] = [tree.text(codes.COMMENT, note, tree.CONTAINS) for note in notes(reading, reason)]
    items.append(tree.code(codes.PROCESSING_SUMMARY, _processing_summary(reading), tree.CONTAINS))
    items += [_answer_item(answer, questions[answer.question_id], reading) for answer in reading.answers]
    items += _tracklet_items(reading, segmentation)
    return tree.container(codes.QUALITATIVE_EVALUATIONS, items)


def notes(reading: Reading, no_segmentation_reason: str) -> list[str]:
    """Return what is said of a report as a whole; the first two are research use and engine.

    Parameters
    ----------
    reading
        The reading.
    no_segmentation_reason
        Why there is no segmentation; empty where there is one, or nothing to segment.
    """
    engine = reading.engine
    said = [
        RESEARCH_USE_STATEMENT,
        f"Read by {engine.name} {engine.version} (sha256 {engine.digest}), question set {reading.question_set_id}",
    ]
    if reading.predecessor is not None:
        said.append(REVISED)
    if reading.is_lossy:
        said.append(LOSSY_SOURCE)
    if reading.anatomy_certainty is not None:
        said.append(by_image(reading.anatomy, reading.anatomy_certainty))
    if clean_text(no_segmentation_reason):
        said.append(f"{_NO_SEGMENTATION}{no_segmentation_reason}")
    return said


def by_image(anatomy: Anatomy, certainty: float) -> str:
    """Return the note on a report of a series whose anatomy was taken from the image.

    Parameters
    ----------
    anatomy
        What it was taken for.
    certainty
        Of that, 0 to 1.
    """
    return f"No header names the body part: {anatomy} by the image, certainty {certainty:.2f}."


def _processing_summary(reading: Reading) -> CodedConcept:
    unanswered = sum(answer.unanswered is not None for answer in reading.answers)
    found = bool(reading.tracklets)
    if unanswered == len(reading.answers) and not found:
        return codes.NONE_SUCCEEDED
    if unanswered:
        return codes.SOME_WITH_FINDINGS if found else codes.SOME_WITHOUT_FINDINGS
    return codes.ALL_WITH_FINDINGS if found else codes.ALL_WITHOUT_FINDINGS


def _answer_item(answer: Answer, question: Question, reading: Reading) -> ContentItem:
    about: list[ContentItem] = [
        tree.text(codes.TRACKING_IDENTIFIER, answer.question_id, tree.CONTEXT),
        tree.text(codes.EQUIVALENT_MEANING, question.text, tree.MODIFIER),
        tree.code(codes.FINDING_SITE, _site(question, reading.anatomy), tree.MODIFIER),
    ]
    name = _name(question)
    accuracy = tree.text(codes.OPERATING_POINT, reading.engine.accuracy_of(answer.kind), tree.PROPERTY)
    return tree.with_children(_headline(answer, name), [*about, *_properties(answer, name), accuracy])


def _name(question: Question) -> CodedConcept:
    """Return the concept that an answer gives a value to."""
    match question.kind:
        case QuestionKind.DETECTION:
            return _finding(question)
        case QuestionKind.LOCALISATION:
            return codes.FINDING_SITE
        case QuestionKind.COUNTING:
            about_lesions = question.question_id.endswith(".lesions")
            return codes.NUMBER_OF_LESIONS if about_lesions else codes.NUMBER_OF_OCCURRENCES
        case QuestionKind.CLASSIFICATION:
            return codes.FINDING
        case QuestionKind.CAPTIONING:
            return codes.SUMMARY
        case QuestionKind.FREE_TEXT:
            # No code says "answer"; what was asked stands beside it as Equivalent Meaning, as with every question
            return codes.COMMENT


def _finding(question: Question) -> CodedConcept:
    """Return the one code of all the question's labels; the generic one where they differ.

    The question's text stands beside it as Equivalent Meaning, so that "Morphologically Abnormal Structure: Absent"
    is never read without what was asked.
    """
    concepts = {codes.finding_concept(label).written for label in question.labels}
    if concepts and concepts <= codes.ARTIFACTS:
        return codes.IMAGE_ARTIFACT
    return concepts.pop() if len(concepts) == 1 else codes.ABNORMAL_STRUCTURE


def _site(question: Question, anatomy: Anatomy) -> CodedConcept:
    sites = {codes.finding_concept(label).site for label in question.labels}
    return sites.pop() if len(sites) == 1 else body_part(anatomy)


def _headline(answer: Answer, name: CodedConcept) -> ContentItem:
    if answer.unanswered is not None:
        return tree.text(name, f"{_NOT_ASSESSED}{answer.unanswered.value}", tree.CONTAINS)
    match answer.kind:
        case QuestionKind.DETECTION:
            assert answer.presence is not None
            return tree.code(name, codes.PRESENCE[answer.presence], tree.CONTAINS)
        case QuestionKind.COUNTING:
            return tree.text(name, str(answer.count), tree.CONTAINS)
        case QuestionKind.CLASSIFICATION:
            coded = _chosen_code(answer.chosen)
            if coded is not None:
                return tree.code(name, coded, tree.CONTAINS)
            return tree.text(name, "; ".join(answer.chosen), tree.CONTAINS)
        case _:
            return tree.text(name, _spoken(answer), tree.CONTAINS)


def _chosen_code(chosen: Sequence[str]) -> CodedConcept | None:
    """Return the code of a single choice that has a sure one."""
    row = FINDINGS.get(chosen[0]) if len(chosen) == 1 and chosen[0] != NONE_OF_THESE else None
    return row.written if row is not None and row.is_sure else None


def _properties(answer: Answer, name: CodedConcept) -> Iterator[ContentItem]:
    if answer.unanswered is not None:
        yield tree.code(codes.NOT_EVALUATED, codes.NOT_ASSESSED[answer.unanswered], tree.PROPERTY)
    if answer.count is not None:
        yield tree.number(name, answer.count, codes.NO_UNITS, tree.PROPERTY)
    for option in answer.chosen:
        yield tree.text(codes.SHORT_LABEL, option, tree.PROPERTY)
    if not _is_spoken(answer) and clean_text(answer.text):
        yield tree.text(codes.FINDING, answer.text, tree.PROPERTY)
    if answer.certainty is not None:
        certainty = tree.number(codes.CERTAINTY_OF_FINDING, 100 * answer.certainty, codes.PERCENT, tree.PROPERTY)
        note = tree.text(codes.COMMENT, _CALIBRATED[answer.calibrated], tree.PROPERTY)
        yield tree.with_children(certainty, [note])
    if clean_text(answer.reasoning):
        yield tree.text(codes.COMMENT, answer.reasoning, tree.INFERRED)
    for tracklet in answer.evidence:
        yield tree.text(codes.LESION_IDENTIFIER, tracklet.tracklet_id, tree.INFERRED)


def _tracklet_items(reading: Reading, segmentation: Dataset | None) -> Iterator[ContentItem]:
    uids = identity.result_uids(reading)
    for number, tracklet in enumerate(reading.tracklets, start=1):
        item = tree.text(codes.LESION_IDENTIFIER, tracklet.tracklet_id, tree.CONTAINS)
        about: list[ContentItem] = [
            tree.text(codes.SHORT_LABEL, codes.finding_concept(tracklet.label).label, tree.PROPERTY),
            tree.uid(codes.TRACKING_UID, uids.segment_uid(tracklet), tree.PROPERTY),
        ]
        if segmentation is not None:
            about.append(
                ImageContentItem(
                    name=codes.written(codes.REFERENCED_SEGMENT),
                    referenced_sop_class_uid=segmentation.SOPClassUID,
                    referenced_sop_instance_uid=segmentation.SOPInstanceUID,
                    # dciodvfy takes a segment number for an error beside a label map; its Tracking UID names it
                    referenced_segment_numbers=number if segmentation.SegmentationType == "BINARY" else None,
                    relationship_type=tree.PROPERTY,
                )
            )
        yield tree.with_children(item, about)


def decode_answers(evaluations: Dataset) -> tuple[DecodedAnswer, ...]:
    """Read the answers back from the Qualitative Evaluations container, in order."""
    found = ((item, tree.first(item, codes.TRACKING_IDENTIFIER)) for item in tree.children(evaluations))
    return tuple(_decoded(item, identifier) for item, identifier in found if identifier is not None)


def decode_labels(evaluations: Dataset) -> Mapping[str, str]:
    """Read back the label of every tracklet, by tracklet id."""
    items = tree.children(evaluations, codes.LESION_IDENTIFIER, tree.CONTAINS)
    return {tree.text_of(item): tree.text_of(tree.first(item, codes.SHORT_LABEL)) for item in items}


def decode_notes(evaluations: Dataset) -> tuple[str, ...]:
    """Read back the notes on the whole report, in order; the first two are research use and engine."""
    comments = tree.children(evaluations, codes.COMMENT, tree.CONTAINS)
    # one with an identifier is the answer to a free question
    return tuple(tree.text_of(item) for item in comments if tree.first(item, codes.TRACKING_IDENTIFIER) is None)


def _decoded(item: Dataset, identifier: Dataset) -> DecodedAnswer:
    reason = tree.code_of(tree.first(item, codes.NOT_EVALUATED))
    count = next((number for name in _COUNTS if (number := tree.number_of(tree.first(item, name))) is not None), None)
    certainty = tree.first(item, codes.CERTAINTY_OF_FINDING)
    is_spoken = reason is None and tree.name_of(item) in (codes.FINDING_SITE, codes.SUMMARY, codes.COMMENT)
    note = tree.text_of(tree.first(certainty, codes.COMMENT)) if certainty is not None else ""
    presence = tree.code_of(item) if item.ValueType == "CODE" else None
    return DecodedAnswer(
        question_id=tree.text_of(identifier),
        question=tree.text_of(tree.first(item, codes.EQUIVALENT_MEANING)),
        presence=None if presence is None else _PRESENCE_OF.get(presence),
        count=None if count is None else int(count),
        chosen=tuple(tree.text_of(child) for child in tree.children(item, codes.SHORT_LABEL)),
        text=tree.text_of(item if is_spoken else tree.first(item, codes.FINDING)),
        reasoning=tree.text_of(tree.first(item, codes.COMMENT, tree.INFERRED)),
        evidence=tuple(tree.text_of(child) for child in tree.children(item, codes.LESION_IDENTIFIER)),
        certainty_percent=tree.number_of(certainty),
        calibrated=note == _CALIBRATED[True],
        unanswered=None if reason is None else _UNANSWERED[reason],
        accuracy=tree.text_of(tree.first(item, codes.OPERATING_POINT)),
    )
