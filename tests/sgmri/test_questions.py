"""Questions are asked in rounds, and an answer that does not fit its question cannot exist."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgmri.catalogue import STANDARD
from sgmri.errors import UnparsableAnswer
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.questions import NONE_OF_THESE, Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from sgmri.volume import Anatomy

KIND = QuestionKind
TRACKLET = Tracklet(
    tracklet_id="lesion-1", findings=(Finding(label="Mass", frame_index=0, box=Box(x0=0, y0=0, x1=1, y1=1)),)
)


def answer_to(question: Question, presence: Presence | None) -> Answer:
    """Make a valid answer; a detection says ``presence``, or is unanswered where that is None."""
    if question.kind is KIND.DETECTION and presence is None:
        return Answer(question_id=question.question_id, kind=question.kind, unanswered=Unanswered.UNPARSABLE)
    fields: dict[QuestionKind, dict[str, Any]] = {
        KIND.DETECTION: {"presence": presence},
        KIND.LOCALISATION: {"evidence": (TRACKLET,)},
        KIND.COUNTING: {"count": 1},
        KIND.CLASSIFICATION: {"chosen": (NONE_OF_THESE,)},
        KIND.CAPTIONING: {"text": "Nothing."},
    }
    return Answer(question_id=question.question_id, kind=question.kind, **fields[question.kind])


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": KIND.DETECTION},
        {"kind": KIND.COUNTING},
        {"kind": KIND.COUNTING, "count": -1},
        {"kind": KIND.CLASSIFICATION},
        {"kind": KIND.LOCALISATION},
        {"kind": KIND.DETECTION, "presence": Presence.PRESENT, "count": 1},
        {"kind": KIND.COUNTING, "count": 1, "presence": Presence.PRESENT},
        {"kind": KIND.CAPTIONING, "text": "x", "chosen": ("Mass",)},
        {"kind": KIND.DETECTION, "presence": Presence.ABSENT, "evidence": (TRACKLET,)},
        {"kind": KIND.DETECTION, "presence": Presence.UNDETERMINED, "evidence": (TRACKLET,)},
        {"kind": KIND.DETECTION, "presence": Presence.PRESENT, "certainty": 1.01},
        {"kind": KIND.DETECTION, "presence": Presence.PRESENT, "certainty": -0.01},
        {"kind": KIND.DETECTION, "presence": Presence.PRESENT, "certainty": float("nan")},
    ],
    ids=str,
)
def test_an_answer_that_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    """A missing value, a stray value, boxes under a negative, and a certainty outside 0 to 1 raise."""
    with pytest.raises(UnparsableAnswer, match=r"answer to brain\.any"):
        Answer(question_id="brain.any", **fields)


@pytest.mark.parametrize("kind", QuestionKind)
@pytest.mark.parametrize(
    "stray", [{"presence": Presence.ABSENT}, {"count": 0}, {"chosen": ("Mass",)}, {"certainty": 0.5}], ids=str
)
def test_no_answer_is_never_a_negative(kind: QuestionKind, stray: dict[str, Any]) -> None:
    """An unanswered question cannot carry "absent", a count of 0, a choice or a certainty, whatever its kind."""
    Answer(question_id="q", kind=kind, unanswered=Unanswered.DEADLINE)
    with pytest.raises(UnparsableAnswer, match="carries no answer"):
        Answer(question_id="q", kind=kind, unanswered=Unanswered.DEADLINE, **stray)


def test_a_count_of_zero_is_an_answer() -> None:
    """0 is a count; only its absence is none."""
    assert Answer(question_id="q", kind=KIND.COUNTING, count=0).count == 0


@pytest.mark.parametrize("anatomy", Anatomy)
@given(data=st.data())
def test_rounds_ask_each_open_question_once_and_end(anatomy: Anatomy, data: st.DataObject) -> None:
    """Whatever the detections say: no question twice, a follow-up exactly after "present", and an end."""
    question_set = STANDARD[anatomy]
    verdicts = st.sampled_from([*Presence, None])
    answers: dict[str, Answer] = {}
    rounds = 0
    while batch := question_set.next_round(answers):
        rounds += 1
        assert rounds <= len(question_set.questions)
        for question in batch:
            assert question.question_id not in answers
            answers[question.question_id] = answer_to(question, data.draw(verdicts))
    for question in question_set.questions:
        gate = answers[question.follows].presence if question.follows else Presence.PRESENT
        assert (question.question_id in answers) == (gate is Presence.PRESENT)


def test_an_unanswered_gate_opens_nothing() -> None:
    """A detection that could not be answered asks no follow-up: that would assume a finding."""
    question_set = STANDARD[Anatomy.BRAIN]
    gate = question_set["brain.any"]
    silent = {gate.question_id: answer_to(gate, None)}
    assert all(question.follows != gate.question_id for question in question_set.next_round(silent))


def test_answers_are_put_into_the_order_of_the_questions() -> None:
    """Rounds answer gates first; the reading lists them as the set does."""
    question_set = STANDARD[Anatomy.KNEE]
    answers = [answer_to(question, Presence.PRESENT) for question in question_set.questions]
    assert question_set.in_order(reversed(answers)) == tuple(answers)


def _question(question_id: str, kind: QuestionKind = KIND.DETECTION, follows: str | None = None) -> Question:
    return Question(question_id=question_id, kind=kind, text="?", follows=follows)


@pytest.mark.parametrize(
    "questions",
    [
        (_question("a"), _question("a")),
        (_question("a", follows="b"), _question("b")),
        (_question("a", follows="a"),),
        (_question("a", KIND.COUNTING), _question("b", follows="a")),
    ],
    ids=["twice", "follows a later one", "follows itself", "follows no detection"],
)
def test_a_set_that_cannot_be_asked_is_refused(questions: tuple[Question, ...]) -> None:
    """Repeated ids and gates that can never open raise when the set is made, not when it is asked."""
    with pytest.raises(ValueError, match="question set s-1"):
        QuestionSet(set_id="s-1", anatomy=Anatomy.BRAIN, questions=questions)


def test_an_unknown_question_is_a_key_error() -> None:
    """Looking up a question that the set does not have raises."""
    with pytest.raises(KeyError):
        STANDARD[Anatomy.BRAIN]["knee.any"]
