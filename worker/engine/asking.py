"""Ask a question set round by round: gating, cancelling and the time limit, in one place for all engines."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sgmri.errors import EngineError, EngineUnavailable
from sgmri.interfaces import ReadingControl
from sgmri.questions import Answer, Question, QuestionSet, Unanswered

Ask = Callable[[Sequence[Question], Mapping[str, Answer]], Sequence[Answer]]
"""Answers one round; gets the questions and every answer of the earlier rounds by question id."""


def ask_in_rounds(questions: QuestionSet, ask: Ask, control: ReadingControl) -> tuple[Answer, ...]:
    """Ask every question that is open, and the follow-ups of every positive, until none is open.

    Parameters
    ----------
    questions
        What to ask.
    ask
        Answers one round. It may stop early at the time limit: what it leaves out then is "time limit reached".
    control
        Progress, cancelling and time limit; cancelling and limit are looked at before every round.

    Returns
    -------
    tuple of Answer
        Exactly one for every question that was open, in the order of the set. A question that ``ask`` left out or
        answered more than once is unanswered, "no valid answer".

    Raises
    ------
    EngineUnavailable
        If the reading was cancelled.
    EngineError
        If ``ask`` answers a question that it was not asked.
    """
    answers: dict[str, Answer] = {}
    while asked := questions.next_round(answers):
        control.progress(len(answers), len(answers) + len(asked))
        if control.is_cancelled():
            raise EngineUnavailable(
                f"reading of {questions.set_id} cancelled after {len(answers)} answers; it can be started again"
            )
        given = ask(asked, answers) if control.remaining_s() > 0 else ()
        left_out = Unanswered.UNPARSABLE if control.remaining_s() > 0 else Unanswered.DEADLINE
        answers.update(_matched(asked, given, left_out))
    control.progress(len(answers), len(answers))
    return questions.in_order(answers.values())


def _matched(asked: Sequence[Question], given: Sequence[Answer], left_out: Unanswered) -> dict[str, Answer]:
    """Return one answer for each question asked, by question id."""
    times = Counter(answer.question_id for answer in given)
    strangers = sorted(times.keys() - {question.question_id for question in asked})
    if strangers:
        raise EngineError(f"expected answers to the {len(asked)} questions of this round, found {strangers} besides")
    by_id = {answer.question_id: answer for answer in given}
    matched: dict[str, Answer] = {}
    for question in asked:
        name = question.question_id
        if times[name] == 1:
            matched[name] = by_id[name]
        else:
            reason = Unanswered.UNPARSABLE if times[name] else left_out
            matched[name] = Answer(question_id=name, kind=question.kind, unanswered=reason)
    return matched
