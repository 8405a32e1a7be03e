"""The last check of any engine's answers as a whole: what cannot be true becomes "not assessed", never a negative.

:class:`sgmri.questions.Answer` refuses what is wrong in itself; here answers are held against their questions, the
frames, and each other.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from sgmri.findings import Laterality, Tracklet
from sgmri.interfaces import Frames
from sgmri.questions import NONE_OF_THESE, Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy

_log = logging.getLogger(__name__)


def guard(answers: Iterable[Answer], frames: Frames, questions: QuestionSet) -> tuple[Answer, ...]:
    """Return the answers with every offending one replaced by an unanswered one with its coded reason.

    Parameters
    ----------
    answers
        An engine's output, in any order; boxes in pixels of its frames.
    frames
        What it was given.
    questions
        What it was asked.

    Returns
    -------
    tuple of Answer
        One for every question that is open, in the order of the set. Answers to questions that are not in the set
        are dropped, for there is no question that they could be "not assessed" for.

    Notes
    -----
    *No valid answer*: another kind than the question's; given twice or not at all; a choice outside the options; a
    box outside its frame, a frame that does not exist, a score outside 0 to 1, a label that cannot be coded.

    *Contradiction*: one tracklet id for two tracklets; "none of these" beside another choice; a count that is not
    the number of lesions shown, or none of something present; a finding that is absent, yet its follow-up is
    answered (both fall); nothing abnormal at all, yet a finding is present (the negative falls, the positive stays).
    """
    received = list(answers)
    known = {question.question_id: question for question in questions.questions}
    checked = _one_each((answer for answer in received if answer.question_id in known), known)
    for name, answer in checked.items():
        checked[name] = _refused(answer, _own_fault(answer, known[name], frames, questions.anatomy))
    for name in _with_ambiguous_tracklets(checked.values()):
        checked[name] = _refused(checked[name], Unanswered.CONTRADICTION)
    _compare_with_gates(checked, questions)
    _compare_with_any(checked, questions)
    while missing := questions.next_round(checked):
        for question in missing:
            checked[question.question_id] = Answer(
                question_id=question.question_id, kind=question.kind, unanswered=Unanswered.UNPARSABLE
            )
    _report(received, checked)
    return questions.in_order(checked.values())


_IMAGE_SIDE = re.compile(
    r"\b(?:upper|middle|lower|image) (?:left|right)\b|\b(?:left|right) of the image\b", re.IGNORECASE
)
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def refuse_wrong_sides(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Return the answers with those replaced whose words name a side on which nothing that they rest on lies.

    Parameters
    ----------
    answers
        With the patient's side of each tracklet, from geometry. Tracklets on no side (a knee, the midline), and
        words about a side of the image, are left alone.
    """
    return tuple(
        _refused(answer, Unanswered.CONTRADICTION if _names_wrong_side(answer) else None) for answer in answers
    )


def _names_wrong_side(answer: Answer) -> bool:
    words = _IMAGE_SIDE.sub(" ", f"{answer.text} {answer.reasoning}")
    named = {Laterality(side.lower()) for side in _SIDE.findall(words)}
    sides = {tracklet.laterality for tracklet in answer.evidence}
    # A summary may name one of several sides; what it may not name is a side where there is nothing
    known = sides and None not in sides and Laterality.BILATERAL not in sides
    return bool(known and named - sides)


def _refused(answer: Answer, reason: Unanswered | None) -> Answer:
    """Return the answer, or an unanswered one where there is a reason."""
    if reason is None or answer.unanswered is not None:
        return answer
    return Answer(question_id=answer.question_id, kind=answer.kind, unanswered=reason)


def _one_each(answers: Iterable[Answer], known: dict[str, Question]) -> dict[str, Answer]:
    """Return one answer for each question answered, of the question's kind."""
    given = list(answers)
    times = Counter(answer.question_id for answer in given)
    one: dict[str, Answer] = {}
    for answer in given:
        question = known[answer.question_id]
        if times[question.question_id] > 1 or answer.kind is not question.kind:
            answer = Answer(question_id=question.question_id, kind=question.kind, unanswered=Unanswered.UNPARSABLE)
        one[question.question_id] = answer
    return one


def _own_fault(answer: Answer, question: Question, frames: Frames, anatomy: Anatomy) -> Unanswered | None:
    """Return what is wrong with one answer by itself."""
    if not all(_is_possible(tracklet, frames, anatomy) for tracklet in answer.evidence):
        return Unanswered.UNPARSABLE
    if set(answer.chosen) - set(question.options) or len(set(answer.chosen)) < len(answer.chosen):
        return Unanswered.UNPARSABLE
    if NONE_OF_THESE in answer.chosen and len(answer.chosen) > 1:
        return Unanswered.CONTRADICTION
    if answer.count is not None and _miscounted(answer, question):
        return Unanswered.CONTRADICTION
    return None


def _is_possible(tracklet: Tracklet, frames: Frames, anatomy: Anatomy) -> bool:
    """Tell whether a tracklet lies on existing frames and can be coded."""
    coded = FINDINGS.get(tracklet.label)
    if coded is None or coded.anatomy is not anatomy:
        return False
    frame_count, rows, columns = frames.pixels.shape
    return all(
        finding.frame_index < frame_count
        and finding.box.lies_within(rows, columns)
        and (finding.score is None or (math.isfinite(finding.score) and 0 <= finding.score <= 1))
        for finding in tracklet.findings
    )


def _miscounted(answer: Answer, question: Question) -> bool:
    """Tell whether a count is refuted by its own evidence, or by the positive that it follows."""
    if answer.count == 0:
        return question.follows is not None or bool(answer.evidence)
    counts_tracklets = question.question_id.endswith(".count.lesions")
    return counts_tracklets and bool(answer.evidence) and answer.count != len(answer.evidence)


def _with_ambiguous_tracklets(answers: Iterable[Answer]) -> set[str]:
    """Return the questions whose evidence holds a tracklet id that stands for two things, or stands twice."""
    meanings: dict[str, set[Tracklet]] = {}
    users: dict[str, set[str]] = {}
    ambiguous: set[str] = set()
    for answer in answers:
        ids = [tracklet.tracklet_id for tracklet in answer.evidence]
        if len(set(ids)) < len(ids):
            ambiguous.add(answer.question_id)
        for tracklet in answer.evidence:
            meanings.setdefault(tracklet.tracklet_id, set()).add(tracklet)
            users.setdefault(tracklet.tracklet_id, set()).add(answer.question_id)
    for tracklet_id, tracklets in meanings.items():
        if len(tracklets) > 1:
            ambiguous |= users[tracklet_id]
    return ambiguous


def _compare_with_gates(checked: dict[str, Answer], questions: QuestionSet) -> None:
    """Refuse follow-ups whose gate is not "present", and the gate that denies what its follow-up shows."""
    denied: set[str] = set()
    for question in questions.questions:
        answer = checked.get(question.question_id)
        if question.follows is None or answer is None:
            continue
        gate = checked.get(question.follows)
        if gate is not None and gate.presence is Presence.PRESENT:
            continue
        if gate is not None and gate.presence is not None and answer.unanswered is None:
            denied.add(question.follows)
        fallen = gate.unanswered if gate is not None else Unanswered.UNPARSABLE
        checked[question.question_id] = _refused(answer, fallen or Unanswered.CONTRADICTION)
    for name in denied:
        checked[name] = _refused(checked[name], Unanswered.CONTRADICTION)


def _compare_with_any(checked: dict[str, Answer], questions: QuestionSet) -> None:
    """Refuse "nothing abnormal" beside a finding that is present."""
    detections = [question for question in questions.questions if question.kind is QuestionKind.DETECTION]
    # A question on image quality has no follow-up: an artefact is no abnormality of the patient
    found = any(
        checked[question.question_id].presence is Presence.PRESENT
        for question in detections
        if question.labels and questions.is_gate(question) and question.question_id in checked
    )
    for question in detections:
        answer = checked.get(question.question_id)
        if found and not question.labels and answer is not None and answer.presence is Presence.ABSENT:
            checked[question.question_id] = _refused(answer, Unanswered.CONTRADICTION)


def _report(received: Sequence[Answer], checked: dict[str, Answer]) -> None:
    """Log how many answers were refused, without their text."""
    stood = sum(1 for answer in received if answer.unanswered is None and checked.get(answer.question_id) == answer)
    claimed = sum(1 for answer in received if answer.unanswered is None)
    if stood < claimed:
        _log.warning("guard refused %d of %d answers", claimed - stood, claimed)
