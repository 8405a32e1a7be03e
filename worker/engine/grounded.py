"""The grounded engine: a vision-language model asked in the order in which a reader looks.

Controls and every yes/no question first, about the whole volume, in one pass. Then, for what was affirmed, frame by
frame: where is it visible, and where exactly (:mod:`worker.engine.grounding`). Counts come from what was found,
classification is asked with the options in several orders, the summary comes last and is held against the findings.
Where the model contradicts itself, it abstains with the reason; what it does not say plainly is never a negative.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sgmri.asking import Answered, AskEvent
from sgmri.catalogue import STANDARD, by_id
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from sgmri.readings import EngineIdentity
from worker.engine.answering import Answering, Seen
from worker.engine.asking import ask_in_rounds
from worker.engine.auxiliary import Maps
from worker.engine.by_hand import ask_catalogue, unanswered
from worker.engine.calibration import ANY, Calibration, Verdict
from worker.engine.controls import absent_by_design, scope
from worker.engine.conversation import Ask, Conversation, Speaker, Weights
from worker.engine.free_text import told
from worker.engine.grounding import Grounded, Grounding
from worker.engine.profiles import PromptProfile

_TAUGHT = "this model was taught the questions of the catalogue only, and would invent an answer to another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model is, as far as the asking needs it.

    Parameters
    ----------
    identity
        Who reads.
    profile
        How it is asked.
    labels
        Findings that it knows.
    question_set_ids
        Question sets that it answers.
    calibration
        What its odds mean.
    free_text
        Whether it was taught to answer questions in a person's own words.
    """

    identity: EngineIdentity
    profile: PromptProfile
    labels: tuple[str, ...]
    question_set_ids: tuple[str, ...]
    calibration: Calibration
    free_text: bool = False


class GroundedEngine:
    """Reads a volume with a vision-language model (implements :class:`sgmri.interfaces.Engine`).

    Parameters
    ----------
    speaker
        The model, here or behind a server.
    card
        What it is.
    """

    def __init__(self, speaker: Speaker, card: Card) -> None:
        self._speaker = speaker
        self._card = card

    def describe(self) -> EngineIdentity:
        """Return who this is; the digest covers weights, prompts and calibration."""
        return self._card.identity

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        """Answer a question set; boxes in pixels and indices of ``frames``.

        Raises
        ------
        EngineUnavailable
            If the reading was cancelled, memory is short, or the model cannot be reached.
        EngineError
            If this volume cannot be shown to the model.
        """
        refusal = self._refusal(frames, questions)
        # The volume is shown only once the first round is asked: a cancelled reading costs nothing
        opened: list[_Reading] = []

        def ask(asked: Sequence[Question], _answers: Mapping[str, Answer]) -> list[Answer]:
            if refusal is not None:
                return [unanswered(question, refusal) for question in asked]
            if not opened:
                conversation = self._speaker.open(frames, control)
                opened.append(_Reading(conversation, self._card, frames, questions, control))
            return opened[0].answers(asked)

        try:
            return ask_in_rounds(questions, ask, control)
        finally:
            for reading in opened:
                reading.close()

    def ask(self, frames: Frames, question: Question, control: ReadingControl) -> Iterator[AskEvent]:
        """Answer one question as the words come (:class:`sgmri.interfaces.AskedEngine`)."""
        if question.kind is not QuestionKind.FREE_TEXT or not self._card.free_text:
            yield from ask_catalogue(self, frames, question, control, scope=_TAUGHT)
            return
        questions = STANDARD[frames.anatomy]
        refusal = self._refusal(frames, questions)
        if refusal is not None:
            yield Answered(question=question, answer=unanswered(question, refusal))
            return
        conversation = self._speaker.open(frames, control)
        try:
            refusal = _Reading(conversation, self._card, frames, questions, control).refusal()
            if refusal is not None:
                yield Answered(question=question, answer=unanswered(question, refusal))
            else:
                yield from told(conversation, self._card.profile, frames, question, control)
        finally:
            conversation.close()

    def close(self) -> None:
        """Release memory and devices; harmless twice."""
        self._speaker.close()

    def _refusal(self, frames: Frames, questions: QuestionSet) -> Unanswered | None:
        """Return why nothing of a volume is read, as far as can be told without looking at it."""
        planes = self._card.calibration.planes.get(frames.anatomy.value, ())
        known = questions.set_id in self._card.question_set_ids and _is_standard(questions)
        if not known or (planes and frames.plane.value not in planes):
            return Unanswered.OUTSIDE_ENGINE_SCOPE
        return None


def _is_standard(questions: QuestionSet) -> bool:
    """Tell whether all is the catalogue's set of that id: another text under the same id is not what was taught."""
    try:
        return set(questions.questions) <= set(by_id(questions.set_id).questions)
    except KeyError:
        return False


class _Reading:
    """One volume and everything that has been found out about it."""

    def __init__(
        self,
        conversation: Conversation,
        card: Card,
        frames: Frames,
        questions: QuestionSet,
        control: ReadingControl,
    ) -> None:
        self._conversation = conversation
        self._card = card
        self._frames = frames
        self._questions = questions
        self._control = control
        self._answering: Answering | None = None
        self._refusal: Unanswered | None = None
        self._maps: Maps | None = None

    def close(self) -> None:
        self._conversation.close()

    def answers(self, asked: Sequence[Question]) -> list[Answer]:
        """Answer a round; what the time did not reach is left out."""
        if self._answering is None and self._refusal is None:
            self._look()
        if self._refusal is not None:
            return [unanswered(question, self._refusal) for question in asked]
        if self._answering is None:
            return []  # the time limit was reached before anything was decided
        given = [self._answering.answer(question) for question in asked]
        return [answer for answer in given if answer is not None]

    def refusal(self) -> Unanswered | None:
        """Ask the controls alone; return why nothing may be said."""
        controls = self._controls()
        weights = self._conversation.weigh([Ask(question=question) for question in controls], self._control)
        if self._control.remaining_s() <= 0:
            return Unanswered.DEADLINE
        return self._failed_control(controls, weights)

    def _look(self) -> None:
        """Ask the controls and every detection, then ground what was affirmed."""
        detections = [question for question in self._questions.questions if self._is_asked(question)]
        controls = self._controls()
        asked = [Ask(question=question) for question in (*controls, *detections)]
        weights = self._conversation.weigh(asked, self._control)
        if all(one is None for one in weights) and self._control.remaining_s() <= 0:
            return
        self._refusal = self._failed_control(controls, weights[: len(controls)])
        if self._refusal is not None:
            return
        self._maps = self._conversation.maps()
        verdicts = self._verdicts(detections, weights[len(controls) :])
        grounded = self._grounded(detections, verdicts)
        self._answering = Answering(
            conversation=self._conversation,
            profile=self._card.profile,
            labels=self._card.labels,
            frames=self._frames,
            control=self._control,
            seen=Seen(verdicts=verdicts, grounded=grounded, questions=self._questions),
        )

    def _is_asked(self, question: Question) -> bool:
        """Tell whether a detection is within what the model was taught."""
        return question.kind is QuestionKind.DETECTION and question.concerns(self._card.labels)

    def _controls(self) -> tuple[Question, ...]:
        anatomy = self._frames.anatomy
        denied = absent_by_design(anatomy)
        if self._card.calibration.scope_threshold is not None:
            return (scope(anatomy), *denied)
        # Weights that were never taught to tell organs apart are asked for impossible findings only
        return tuple(question for question in denied if question.labels)

    def _failed_control(self, controls: Sequence[Question], weights: Sequence[Weights | None]) -> Unanswered | None:
        """Return why nothing may be said: the organ is not recognised, or something impossible is affirmed."""
        threshold = self._card.calibration.scope_threshold or 0.0
        for question, one in zip(controls, weights, strict=True):
            is_scope = not question.labels
            wanted = question == scope(self._frames.anatomy)
            affirmed = one is not None and one[0] - one[1] >= (threshold if wanted else 0.0)
            if one is None or affirmed is not wanted:
                return Unanswered.UNFAMILIAR if is_scope else Unanswered.CONTROL_FAILED
        return None

    def _verdicts(self, detections: Sequence[Question], weights: Sequence[Weights | None]) -> dict[str, Verdict | None]:
        """Return what was said of the volume, by question; whether there is anything rests on every finding, too."""
        calibration = self._card.calibration
        verdicts: dict[str, Verdict | None] = {}
        highest: float | None = None
        for question, one in sorted(zip(detections, weights, strict=True), key=lambda pair: not pair[0].labels):
            if one is None:
                verdicts[question.question_id] = None
                continue
            said = one[0] - one[1]
            labels = [label for label in question.labels if label in self._card.labels]
            seen = highest if not labels else None if self._maps is None else self._maps.on_volume(labels)
            verdicts[question.question_id] = calibration.verdict(labels or [ANY], said, seen)
            if labels and self._questions.is_gate(question):
                odds = calibration.on_volume(labels, said, seen)
                highest = odds if highest is None else max(highest, odds)
        return verdicts

    def _grounded(self, detections: Sequence[Question], verdicts: Mapping[str, Verdict | None]) -> Grounded:
        """Look frame by frame for every label that the volume was not clear of."""
        wanted: dict[str, None] = {}
        for question in detections:
            verdict = verdicts[question.question_id]
            if verdict is None or verdict.presence is Presence.ABSENT or not self._questions.is_gate(question):
                continue
            wanted.update({label: None for label in question.labels if label in self._card.labels})
        grounding = Grounding(
            conversation=self._conversation,
            frames=self._frames,
            profile=self._card.profile,
            calibration=self._card.calibration,
            maps=self._maps,
            control=self._control,
        )
        return grounding.ground(grounding.look(list(wanted)))
