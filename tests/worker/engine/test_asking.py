from collections.abc import Iterator, Mapping, Sequence

import pytest

from sgmri.catalogue import STANDARD
from sgmri.errors import EngineError, EngineUnavailable
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.interfaces import ReadingControl
from sgmri.questions import Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from sgmri.volume import Anatomy
from worker.engine.asking import ask_in_rounds

_QUESTIONS = QuestionSet(
    set_id="test-1",
    anatomy=Anatomy.BRAIN,
    questions=(
        Question(question_id="any", kind=QuestionKind.DETECTION, text="Anything?"),
        Question(question_id="where", kind=QuestionKind.LOCALISATION, text="Where?", follows="any"),
        Question(question_id="mass", kind=QuestionKind.DETECTION, text="A mass?", labels=("Mass",), follows="any"),
        Question(question_id="count", kind=QuestionKind.COUNTING, text="How many?", follows="mass"),
        Question(question_id="summary", kind=QuestionKind.CAPTIONING, text="In short?"),
    ),
)
_TRACKLET = Tracklet(
    tracklet_id="lesion-1", findings=(Finding(label="Mass", frame_index=0, box=Box(x0=1, y0=1, x1=2, y1=2)),)
)


def _reply(question: Question, presence: Presence = Presence.PRESENT) -> Answer:
    name, kind = question.question_id, question.kind
    match kind:
        case QuestionKind.DETECTION:
            return Answer(question_id=name, kind=kind, presence=presence)
        case QuestionKind.LOCALISATION:
            return Answer(question_id=name, kind=kind, text="here", evidence=(_TRACKLET,))
        case QuestionKind.COUNTING:
            return Answer(question_id=name, kind=kind, count=1)
        case _:
            return Answer(question_id=name, kind=kind, text="short")


class _Recorder:
    """Answers everything "present" and keeps what it was asked."""

    def __init__(self, presence: Presence = Presence.PRESENT) -> None:
        self.presence = presence
        self.rounds: list[tuple[str, ...]] = []
        self.known: list[frozenset[str]] = []

    def __call__(self, asked: Sequence[Question], answers: Mapping[str, Answer]) -> list[Answer]:
        self.rounds.append(tuple(question.question_id for question in asked))
        self.known.append(frozenset(answers))
        # The order of the replies must not matter
        return [_reply(question, self.presence) for question in reversed(asked)]


def test_positive_opens_its_follow_ups() -> None:
    """Each round holds what the positives of the round before opened, and the answers keep the set's order."""
    ask = _Recorder()
    answers = ask_in_rounds(_QUESTIONS, ask, ReadingControl())
    assert ask.rounds == [("any", "summary"), ("where", "mass"), ("count",)]
    assert ask.known == [frozenset(), {"any", "summary"}, {"any", "summary", "where", "mass"}]
    assert [answer.question_id for answer in answers] == ["any", "where", "mass", "count", "summary"]


@pytest.mark.parametrize("presence", [Presence.ABSENT, Presence.UNDETERMINED])
def test_other_answers_open_nothing(presence: Presence) -> None:
    """Follow-ups of a negative or undecided detection are never asked."""
    ask = _Recorder(presence)
    answers = ask_in_rounds(_QUESTIONS, ask, ReadingControl())
    assert ask.rounds == [("any", "summary")]
    assert [answer.question_id for answer in answers] == ["any", "summary"]


def test_cancelled_before_the_first_question() -> None:
    """A reading that was cancelled asks nothing and is retried later."""
    ask = _Recorder()
    with pytest.raises(EngineUnavailable, match="cancelled") as caught:
        ask_in_rounds(_QUESTIONS, ask, ReadingControl(is_cancelled=lambda: True))
    assert caught.value.transient
    assert ask.rounds == []


def test_cancelled_between_rounds() -> None:
    """Cancelling takes effect before the next round."""
    ask = _Recorder()
    with pytest.raises(EngineUnavailable):
        ask_in_rounds(_QUESTIONS, ask, ReadingControl(is_cancelled=lambda: len(ask.rounds) == 1))
    assert len(ask.rounds) == 1


def test_no_time_left_at_all() -> None:
    """Without time every open question is unanswered for that reason, and none is asked."""
    ask = _Recorder()
    answers = ask_in_rounds(_QUESTIONS, ask, ReadingControl(remaining_s=lambda: 0.0))
    assert ask.rounds == []
    assert {a.question_id: a.unanswered for a in answers} == dict.fromkeys(("any", "summary"), Unanswered.DEADLINE)


def test_time_runs_out_between_rounds() -> None:
    """What was answered in time stands; the follow-ups that it opened are "time limit reached"."""
    ask = _Recorder()
    answers = ask_in_rounds(_QUESTIONS, ask, ReadingControl(remaining_s=lambda: 5.0 if not ask.rounds else -1.0))
    reasons = {answer.question_id: answer.unanswered for answer in answers}
    assert reasons == {"any": None, "summary": None, "where": Unanswered.DEADLINE, "mass": Unanswered.DEADLINE}


def test_time_runs_out_within_a_round() -> None:
    """An engine that stops early at the limit has kept its answers; the rest is "time limit reached"."""
    clock: Iterator[float] = iter([1.0, 0.0])

    def ask(asked: Sequence[Question], _answers: Mapping[str, Answer]) -> list[Answer]:
        return [_reply(asked[0], Presence.ABSENT)]

    answers = ask_in_rounds(_QUESTIONS, ask, ReadingControl(remaining_s=lambda: next(clock)))
    assert [(a.question_id, a.unanswered) for a in answers] == [("any", None), ("summary", Unanswered.DEADLINE)]


def test_left_out_is_no_answer() -> None:
    """A question that the engine left out with time to spare is unanswered, never negative."""
    answers = ask_in_rounds(_QUESTIONS, lambda asked, _: [], ReadingControl())
    assert [answer.unanswered for answer in answers] == [Unanswered.UNPARSABLE] * 2
    assert all(answer.presence is None for answer in answers)


def test_answered_twice_is_no_answer() -> None:
    """Two answers to one question are none, and open no follow-up."""

    def ask(asked: Sequence[Question], _answers: Mapping[str, Answer]) -> list[Answer]:
        return [_reply(question) for question in (*asked, asked[0])]

    answers = ask_in_rounds(_QUESTIONS, ask, ReadingControl())
    assert {a.question_id: a.unanswered for a in answers} == {"any": Unanswered.UNPARSABLE, "summary": None}


@pytest.mark.parametrize("stranger", ["count", "no.such.question"])
def test_stranger_is_an_error(stranger: str) -> None:
    """An answer to a question that was not asked in this round is the engine's error."""

    def ask(asked: Sequence[Question], _answers: Mapping[str, Answer]) -> list[Answer]:
        stray = Answer(question_id=stranger, kind=QuestionKind.COUNTING, count=3)
        return [*(_reply(question) for question in asked), stray]

    with pytest.raises(EngineError, match=stranger):
        ask_in_rounds(_QUESTIONS, ask, ReadingControl())


def test_progress_never_goes_back() -> None:
    """Progress counts answers from none to all, and never more than are known."""
    told: list[tuple[int, int]] = []
    control = ReadingControl(progress=lambda done, known: told.append((done, known)))
    answers = ask_in_rounds(_QUESTIONS, _Recorder(), control)
    assert told == [(0, 2), (2, 4), (4, 5), (5, 5)]
    assert len(answers) == 5


@pytest.mark.parametrize("anatomy", list(Anatomy))
def test_standard_sets_are_asked_to_the_end(anatomy: Anatomy) -> None:
    """Where everything is positive, every question of a standard set is asked exactly once."""
    questions = STANDARD[anatomy]

    def ask(asked: Sequence[Question], _answers: Mapping[str, Answer]) -> list[Answer]:
        return [
            Answer(question_id=q.question_id, kind=q.kind, chosen=q.options[:1]) if q.options else _reply(q)
            for q in asked
        ]

    answers = ask_in_rounds(questions, ask, ReadingControl())
    assert [a.question_id for a in answers] == [q.question_id for q in questions.questions]
