"""Questions that a person asks by hand: held to bounds, found in the catalogue, told to frames; and what comes back.

A question is one of the catalogue, by its id or its text, or it is free text. What an engine says to it comes as a
stream of events whose last one, :class:`Answered`, alone counts.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from sgmri.errors import ConfigError
from sgmri.geometry import Box
from sgmri.questions import Answer, Question, QuestionKind, QuestionSet

MAX_CHARACTERS = 300
"""Most characters of a question: two sentences."""
FREE_TEXT_ID = "free-text"

_ID = re.compile(r"(?:brain|knee)\.[\w.-]+", re.ASCII)
_SPAN = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", re.ASCII)
_SUGGESTED = 3
_ALIKE = 0.6
_COMMON = frozenset({"there", "this", "that", "volume", "what", "where", "which", "frame", "frames", "brain", "knee"})
"""Words that say nothing of what a question is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some characters of the answer as it is being written; not checked yet."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCited:
    """A frame that the answer speaks of or rests on; its number in the series, from 1."""

    frame_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxShown:
    """A box that the answer rests on, in pixels of the source frame; the frame's number in the series, from 1."""

    frame_number: int
    label: str
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The judged answer: always the last event.

    Parameters
    ----------
    question
        What was answered: the question asked, or the one that it follows where that was not answered "present".
    answer
        The answer, or why there is none.
    note
        What else must be known, in words of ours; may be empty.
    """

    question: Question
    answer: Answer
    note: str = ""


AskEvent = Piece | FrameCited | BoxShown | Answered
"""What comes back of a question, in the order in which it comes."""


def confidence(answer: Answer) -> str:
    """Say how far an answer can be believed."""
    if answer.unanswered is not None:
        return "no answer"
    if answer.kind is QuestionKind.FREE_TEXT:
        return "uncalibrated free text"
    if answer.certainty is None:
        return "no certainty is stated"
    return f"{answer.certainty:.0%}, {'calibrated on a validation set' if answer.calibrated else 'not calibrated'}"


def find_question(text: str, questions: QuestionSet) -> Question:
    """Return the question that a person means.

    Parameters
    ----------
    text
        Id or text of a question of the set (case and punctuation do not matter), or free text.
    questions
        What a series is asked.

    Raises
    ------
    ConfigError
        If the text is empty, too long, holds control or format characters, or is the id of no question of the set.
    """
    text = _checked(text)
    for question in questions.questions:
        if text == question.question_id or _words(text) == _words(question.text):
            return question
    if _ID.fullmatch(text):
        near = suggestion(text, questions)
        raise ConfigError(f"expected a question of {questions.set_id}, found an id that it does not have; {near}")
    return Question(question_id=FREE_TEXT_ID, kind=QuestionKind.FREE_TEXT, text=text)


def _checked(text: str) -> str:
    """Return a question in composed form with single spaces between its words."""
    if any(unicodedata.category(char)[0] == "C" for char in text):
        raise ConfigError(
            "the question: expected one line of plain text, found control or format characters; leave them out"
        )
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if not 0 < len(text) <= MAX_CHARACTERS or not any(char.isalnum() for char in text):
        raise ConfigError(f"the question: expected words of 1 to {MAX_CHARACTERS} characters, found {len(text)}")
    return text


def suggestion(text: str, questions: QuestionSet) -> str:
    """Say which questions of a set come near to a text; where none does, how to see them all."""
    asked = _words(text)

    def nearness(question: Question) -> tuple[int, float]:
        known = _words(f"{question.question_id} {question.text} {' '.join(question.labels)}")
        shared = {word for word in asked if len(word) > 3 and word not in _COMMON and word in known}
        alike = (SequenceMatcher(None, text.lower(), name) for name in (question.question_id, question.text.lower()))
        return len(shared), max(each.ratio() for each in alike)

    scored = sorted(((nearness(question), question) for question in questions.questions), key=lambda pair: pair[0])
    near = [question for (shared, ratio), question in scored[::-1] if shared or ratio >= _ALIKE][:_SUGGESTED]
    if not near:
        return f"the questions of {questions.set_id} are listed by: sgmri ask --list"
    return "near to it: " + "; ".join(f"{question.question_id} ({question.text})" for question in near)


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", text.lower()))


def frame_span(text: str, count: int) -> range:
    """Return the frame indices, from 0, that "10-14" or "7" means.

    Parameters
    ----------
    text
        Frame numbers from 1, first and last; empty: all.
    count
        Frames of the series.

    Raises
    ------
    ConfigError
        If it is neither, or names frames that there are not.
    """
    if not text:
        return range(count)
    match = _SPAN.fullmatch(text)
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    if not 1 <= first <= last <= count:
        raise ConfigError(
            f"frames: expected FIRST-LAST or one number, from 1 to {count} (this series' frames in order), found "
            f"{text[:20]!r}"
        )
    return range(first - 1, last)


def as_asked(question: Question, shown: range, count: int) -> Question:
    """Return a question as a report holds it: under an id of its own, with the frames that were shown.

    Parameters
    ----------
    question
        Of a set, or free text.
    shown
        The frame indices.
    count
        Frames of the series.

    Returns
    -------
    The question; the same words about the same frames have the same id, which ends like that of the set's question.
    """
    text = question.text
    if len(shown) < count:
        one = f"frame {shown[0] + 1}" if len(shown) == 1 else f"frames {shown[0] + 1}-{shown[-1] + 1}"
        text = f"{text} (asked of {one} only)"
    digest = hashlib.sha256(f"{question.question_id}\x1f{text}".encode()).hexdigest()[:16]
    return replace(question, question_id=f"asked.{digest}.{question.question_id}", text=text, follows=None)
