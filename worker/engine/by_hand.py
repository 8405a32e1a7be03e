"""One question of the catalogue, asked by hand: with what it rests on, and nothing besides."""

from collections.abc import Iterator
from dataclasses import replace

from sgmri.asking import Answered, AskEvent, FrameCited, Piece, suggestion
from sgmri.catalogue import STANDARD
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.questions import Answer, Question, QuestionKind, QuestionSet, Unanswered


def unanswered(question: Question, reason: Unanswered) -> Answer:
    """Return the answer that says why there is none."""
    return Answer(question_id=question.question_id, kind=question.kind, unanswered=reason)


def ask_catalogue(
    engine: Engine, frames: Frames, question: Question, control: ReadingControl, *, scope: str
) -> Iterator[AskEvent]:
    """Answer one question of the catalogue; its words are composed of what was found, and so come at once.

    Parameters
    ----------
    engine, frames, control
        Who answers, of what.
    question
        Of the catalogue; anything else is refused.
    scope
        What the engine can answer, in words, for what lies outside.
    """
    questions = STANDARD[frames.anatomy]
    if question not in questions.questions:
        answer = unanswered(question, Unanswered.OUTSIDE_ENGINE_SCOPE)
        yield Answered(question=question, answer=answer, note=f"{scope}; {suggestion(question.text, questions)}")
        return
    answers = {answer.question_id: answer for answer in engine.answer(frames, _needed(question, questions), control)}
    note = ""
    if question.question_id not in answers and question.follows is not None:
        note = f'"{question.text}" is asked only where the answer to this question is "present"'
        question = questions[question.follows]
    answer = answers[question.question_id]
    if answer.unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE:
        note = scope
    if answer.text:
        yield Piece(text=answer.text)
    yield from cited(sorted({index for tracklet in answer.evidence for index in tracklet.frame_indices}), frames)
    yield Answered(question=question, answer=answer, note=note)


def cited(frame_indices: list[int], frames: Frames) -> Iterator[FrameCited]:
    """Yield frames that were shown by their numbers in the series."""
    for index in frame_indices:
        yield FrameCited(frame_number=index + frames.first_frame_index + 1)


def _needed(question: Question, questions: QuestionSet) -> QuestionSet:
    """Return the part of a set that an answer rests on: a screened finding on its own; the rest on all of them."""
    gate = questions[question.follows or question.question_id]
    if gate.kind is not QuestionKind.DETECTION or not gate.labels:
        return questions
    kept = [
        other
        for other in questions.questions
        if gate.question_id in (other.question_id, other.follows)
        # an artefact that was affirmed hides what is absent
        or (other.kind is QuestionKind.DETECTION and other.labels and not questions.is_gate(other))
    ]
    return replace(questions, questions=tuple(kept))
