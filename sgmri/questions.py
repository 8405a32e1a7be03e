"""Questions and answers: data and types, no prompt text (that is the engine's).

A question set is asked in rounds: first the questions that follow none, then, for every detection answered
"present", the questions that follow it (:meth:`QuestionSet.next_round`).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sgmri.errors import UnparsableAnswer
from sgmri.findings import Tracklet
from sgmri.volume import Anatomy


class QuestionKind(StrEnum):
    """The five kinds of SGMRI-VQA (arXiv 2604.15808) that a volume is asked, and what a person asks in other words."""

    DETECTION = "detection"
    LOCALISATION = "localisation"
    COUNTING = "counting"
    CLASSIFICATION = "classification"
    CAPTIONING = "captioning"
    FREE_TEXT = "free text"


class Presence(StrEnum):
    """The answer to a detection question (DICOM CID 240)."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"


class Unanswered(StrEnum):
    """Why a question has no answer. Never a negative."""

    OUTSIDE_ENGINE_SCOPE = "outside the engine's scope"
    UNPARSABLE = "the engine's output was no valid answer"
    CONTRADICTION = "the engine contradicted itself"
    LOW_QUALITY = "image quality too low"
    UNFAMILIAR = "the images are not of the kind that the engine was made for"
    CONTROL_FAILED = "the engine affirmed what cannot be there"
    DEADLINE = "the time limit was reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a set.

    Parameters
    ----------
    question_id
        Stable and readable, such as ``brain.screen.mass``; the SR's tracking identifier.
    kind
        What sort of answer it wants.
    text
        The question in plain English.
    labels
        Labels of :mod:`sgmri.vocabulary` that it is about; empty where it is about any.
    options
        What a classification chooses from (labels, or ``NONE_OF_THESE``).
    follows
        The detection question that must be answered "present" before this one is asked; None for the first round.
    """

    question_id: str
    kind: QuestionKind
    text: str
    labels: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    follows: str | None = None

    def concerns(self, labels: Collection[str]) -> bool:
        """Tell whether the question is about one of some labels, or about any finding at all."""
        return not self.labels or any(label in labels for label in self.labels)


NONE_OF_THESE = "None of these"
"""The option of every classification that rejects all the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an engine says to one question, and the boxes that it rests on.

    Parameters
    ----------
    question_id, kind
        The question.
    presence
        Detection only.
    count
        Counting only; 0 or more.
    chosen
        Classification only; options of the question.
    text
        The answer as a sentence.
    reasoning
        The words between question and answer; may be empty.
    evidence
        Tracklets that the answer rests on.
    certainty
        0 to 1 that the answer is right; None where the engine has no meaningful figure.
    calibrated
        Whether ``certainty`` was calibrated on a validation set.
    unanswered
        Why there is no answer; then ``presence``, ``count`` and ``chosen`` are empty.

    Raises
    ------
    UnparsableAnswer
        If the fields do not fit the kind.
    """

    question_id: str
    kind: QuestionKind
    presence: Presence | None = None
    count: int | None = None
    chosen: tuple[str, ...] = ()
    text: str = ""
    reasoning: str = ""
    evidence: tuple[Tracklet, ...] = ()
    certainty: float | None = None
    calibrated: bool = False
    unanswered: Unanswered | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise UnparsableAnswer(f"answer to {self.question_id}: {problem}")

    def _problem(self) -> str:
        has = {
            QuestionKind.DETECTION: self.presence is not None,
            QuestionKind.COUNTING: self.count is not None,
            QuestionKind.CLASSIFICATION: bool(self.chosen),
        }
        if self.certainty is not None and not 0 <= self.certainty <= 1:
            return f"certainty lies in 0 to 1, found {self.certainty}"
        if self.unanswered is not None:
            stray = any(has.values()) or self.evidence or self.certainty is not None
            return "an unanswered question carries no answer" if stray else ""
        if any(present for kind, present in has.items() if kind is not self.kind):
            return f"holds a field that is not of kind {self.kind}"
        if not has.get(self.kind, True):
            return f"a {self.kind} answer needs its value, found none"
        if self.count is not None and self.count < 0:
            return f"a count is 0 or more, found {self.count}"
        if self.presence in (Presence.ABSENT, Presence.UNDETERMINED) and self.evidence:
            return f"{self.presence} cannot rest on boxes"
        if self.kind is QuestionKind.LOCALISATION and not self.evidence:
            return "a localisation needs at least one box"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSet:
    """Questions for one anatomy, in the order in which a reader would ask them.

    Parameters
    ----------
    set_id
        Name and version, such as ``brain-1``; part of the derived UIDs.
    anatomy
        What it is asked of.
    questions
        In order; a question stands behind the one that it follows.
    """

    set_id: str
    anatomy: Anatomy
    questions: tuple[Question, ...]

    def __post_init__(self) -> None:
        seen: dict[str, QuestionKind] = {}
        for question in self.questions:
            if question.question_id in seen:
                raise ValueError(f"question set {self.set_id}: {question.question_id} stands twice")
            if question.follows is not None and seen.get(question.follows) is not QuestionKind.DETECTION:
                raise ValueError(
                    f"question set {self.set_id}: {question.question_id} follows {question.follows}, which is no "
                    "detection question before it"
                )
            seen[question.question_id] = question.kind

    def __getitem__(self, question_id: str) -> Question:
        for question in self.questions:
            if question.question_id == question_id:
                return question
        raise KeyError(question_id)

    def is_gate(self, question: Question) -> bool:
        """Tell whether another question follows one: it is about a finding, and what is found is asked for next."""
        return any(other.follows == question.question_id for other in self.questions)

    def next_round(self, answers: Mapping[str, Answer]) -> tuple[Question, ...]:
        """Return the questions to ask now.

        Parameters
        ----------
        answers
            Every answer so far, by question id.

        Returns
        -------
        The unasked questions that follow none, or follow a detection answered "present"; empty at the end.
        """
        return tuple(
            question
            for question in self.questions
            if question.question_id not in answers and _is_open(question, answers)
        )

    def in_order(self, answers: Iterable[Answer]) -> tuple[Answer, ...]:
        """Return the answers in the order of their questions."""
        position = {question.question_id: place for place, question in enumerate(self.questions)}
        return tuple(sorted(answers, key=lambda answer: position[answer.question_id]))


def _is_open(question: Question, answers: Mapping[str, Answer]) -> bool:
    if question.follows is None:
        return True
    gate = answers.get(question.follows)
    return gate is not None and gate.presence is Presence.PRESENT
