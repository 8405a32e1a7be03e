"""Put what was seen into answers, and abstain with the reason where two things that were seen exclude each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sgmri.findings import Tracklet, frames_as_text
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import NONE_OF_THESE, Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from worker.engine.calibration import Verdict
from worker.engine.conversation import Ask, Conversation
from worker.engine.grounding import Grounded
from worker.engine.parsing import parse
from worker.engine.profiles import PromptProfile
from worker.engine.summary import agrees, by_size, facts, known_line

_LISTED = 6
"""So many places are put into words; the boxes are all there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that was found out before the first answer.

    Parameters
    ----------
    verdicts
        Detection question -> what was said of the volume; None where nothing plain was said. Questions outside the
        engine's scope are missing.
    grounded
        What single frames showed.
    questions
        The set.
    """

    verdicts: Mapping[str, Verdict | None]
    grounded: Grounded
    questions: QuestionSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Answers the questions of one reading.

    Parameters
    ----------
    conversation, profile, frames, control
        For what is still to be asked: classification and summary.
    labels
        Findings that the model knows.
    seen
        What was found out.
    """

    conversation: Conversation
    profile: PromptProfile
    labels: tuple[str, ...]
    frames: Frames
    control: ReadingControl
    seen: Seen

    def answer(self, question: Question) -> Answer | None:
        """Answer one question; None where the time limit was reached."""
        match question.kind:
            case QuestionKind.DETECTION:
                return self._detection(question)
            case QuestionKind.LOCALISATION:
                return self._localisation(question)
            case QuestionKind.COUNTING:
                return self._counting(question)
            case QuestionKind.CLASSIFICATION:
                return self._classification(question)
            case QuestionKind.CAPTIONING:
                return self._summary(question)
            case QuestionKind.FREE_TEXT:
                return _unanswered(question, Unanswered.OUTSIDE_ENGINE_SCOPE)  # it is asked alone

    @property
    def _tracklets(self) -> tuple[Tracklet, ...]:
        return self.seen.grounded.tracklets

    def _about(self, question: Question) -> tuple[Tracklet, ...]:
        """Return the tracklets that a question is about; all for one about any."""
        return tuple(t for t in self._tracklets if not question.labels or t.label in question.labels)

    def _detection(self, question: Question) -> Answer | None:
        if question.question_id not in self.seen.verdicts:
            return _unanswered(question, Unanswered.OUTSIDE_ENGINE_SCOPE)
        verdict = self.seen.verdicts[question.question_id]
        if verdict is None:
            return _unanswered(question, Unanswered.UNPARSABLE)
        has_place = self.seen.questions.is_gate(question)
        found = self._about(question) if has_place else ()
        if verdict.presence is Presence.ABSENT:
            return self._absent(question, verdict)
        if has_place and not found:
            return self._without_place(question, verdict)
        presence = Presence.PRESENT if found else verdict.presence
        return Answer(
            question_id=question.question_id,
            kind=question.kind,
            presence=presence,
            text=_places(found) if found else f"{str(presence).capitalize()}.",
            reasoning=self._reasons(found, verdict),
            evidence=found,
            certainty=verdict.certainty if presence is verdict.presence else None,
            calibrated=verdict.calibrated and presence is verdict.presence,
        )

    def _absent(self, question: Question, verdict: Verdict) -> Answer:
        """Say that something is absent, unless an artefact hides it or it was found after all."""
        if self._is_spoilt and self._limits(question):
            return _unanswered(question, Unanswered.LOW_QUALITY)
        if not question.labels and self._tracklets:
            return _unanswered(question, Unanswered.CONTRADICTION)
        return Answer(
            question_id=question.question_id,
            kind=question.kind,
            presence=Presence.ABSENT,
            text="Absent.",
            reasoning=f"Probability of yes {verdict.probability:.2f} for the volume.",
            certainty=verdict.certainty,
            calibrated=verdict.calibrated,
        )

    def _without_place(self, question: Question, verdict: Verdict) -> Answer | None:
        """Answer where the volume was said to have something that no frame shows: two passes that disagree."""
        labels = set(question.labels) & set(self.labels)
        if labels & self.seen.grounded.unfinished:
            return None
        if verdict.presence is Presence.PRESENT and question.labels:
            return _unanswered(question, Unanswered.CONTRADICTION)
        return Answer(
            question_id=question.question_id,
            kind=question.kind,
            presence=Presence.UNDETERMINED,
            text="Undetermined: something may be there, but no frame shows it.",
            reasoning=f"Probability of yes {verdict.probability:.2f} for the volume, on no frame alone.",
        )

    @property
    def _is_spoilt(self) -> bool:
        """Whether an artefact was affirmed: what it may hide is then not absent."""
        return any(
            verdict is not None and verdict.presence is Presence.PRESENT
            for name, verdict in self.seen.verdicts.items()
            if self._is_about_quality(self.seen.questions[name])
        )

    def _limits(self, question: Question) -> bool:
        return not self._is_about_quality(question)

    def _is_about_quality(self, question: Question) -> bool:
        """Tell whether a question is about the images: it has labels, and nothing follows it."""
        return bool(question.labels) and not self.seen.questions.is_gate(question)

    def _reasons(self, found: Sequence[Tracklet], verdict: Verdict) -> str:
        signs = dict.fromkeys(self.seen.grounded.words[t.tracklet_id][1] for t in found[:_LISTED])
        seen = " ".join(sign for sign in signs if sign)
        frames = sorted({index for tracklet in found for index in tracklet.frame_indices})
        where = f", seen on frames {self._numbers(frames)}" if frames else ""
        return f"{seen} Probability of yes {verdict.probability:.2f} for the volume{where}.".strip()

    def _localisation(self, question: Question) -> Answer | None:
        found = self._about(question)
        if not found:
            finished = not set(question.labels) & self.seen.grounded.unfinished
            return _unanswered(question, Unanswered.CONTRADICTION) if finished else None
        listed = "; ".join(self._place(tracklet) for tracklet in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        words = [self.seen.grounded.words[tracklet.tracklet_id][1] for tracklet in found[:_LISTED]]
        return Answer(
            question_id=question.question_id,
            kind=question.kind,
            text=f"{listed}{more}.",
            reasoning=" ".join(dict.fromkeys(word for word in words if word)),
            evidence=found,
        )

    def _place(self, tracklet: Tracklet) -> str:
        where = self.seen.grounded.words[tracklet.tracklet_id][0]
        plural = "s" if len(tracklet.findings) > 1 else ""
        spoken = f", {where}" if where else ""
        return f"{tracklet.tracklet_id} on frame{plural} {self._numbers(tracklet.frame_indices)}{spoken}"

    def _numbers(self, frame_indices: Sequence[int]) -> str:
        return frames_as_text([index + self.frames.first_frame_index for index in frame_indices])

    @property
    def _first_number(self) -> int:
        """What the model was told that the first frame is called."""
        return self.profile.frame_base + self.frames.first_frame_index

    def _counting(self, question: Question) -> Answer | None:
        """Count what was found; where passes disagreed about a finding, no number is right."""
        found = self._about(question)
        if self.seen.grounded.unfinished:
            return None
        if not found or self._has_loose_ends(question):
            return _unanswered(question, Unanswered.CONTRADICTION)
        kinds = question.question_id.endswith(".count.kinds")
        count = len({tracklet.label for tracklet in found}) if kinds else len(found)
        return Answer(
            question_id=question.question_id, kind=question.kind, count=count, text=f"{count}.", evidence=found
        )

    def _has_loose_ends(self, question: Question) -> bool:
        """Tell whether a finding that the question counts was affirmed of the volume and seen on no frame."""
        for name, verdict in self.seen.verdicts.items():
            asked = self.seen.questions[name]
            relevant = not question.labels or bool(set(asked.labels) & set(question.labels))
            if not asked.labels or not relevant or self._is_about_quality(asked):
                continue
            if verdict is None or (verdict.presence is not Presence.ABSENT and not self._about(asked)):
                return True
        return False

    def _classification(self, question: Question) -> Answer | None:
        """Choose an option that wins in every order in which the options are listed, and that was found.

        The findings stand in the question, the largest first: what the main one is follows from where they are.
        """
        orders = _orders(question.options)
        known = known_line(by_size(self._about(question), self._first_number))
        asked = [
            Ask(
                question=Question(
                    question_id=question.question_id, kind=question.kind, text=question.text, options=order
                ),
                known=known,
            )
            for order in orders
        ]
        weighed = self.conversation.weigh(asked, self.control)
        if any(one is None for one in weighed):
            return None if self.control.remaining_s() <= 0 else _unanswered(question, Unanswered.UNPARSABLE)
        winners = {
            order[max(range(len(order)), key=lambda place: one[place])]
            for order, one in zip(orders, weighed, strict=True)
            if one is not None
        }
        chosen = next(iter(winners))
        found = {tracklet.label for tracklet in self._about(question)}
        fits = bool(found - set(question.options)) if chosen == NONE_OF_THESE else chosen in found
        if len(winners) > 1 or not fits:
            return _unanswered(question, Unanswered.CONTRADICTION)
        return Answer(
            question_id=question.question_id,
            kind=question.kind,
            chosen=(chosen,),
            text=f"{chosen}.",
            reasoning=f"The same with the options in {len(orders)} orders.",
            evidence=tuple(tracklet for tracklet in self._about(question) if tracklet.label == chosen),
        )

    def _summary(self, question: Question) -> Answer | None:
        """Have the findings put into words, and hold the words against them."""
        if self.seen.grounded.unfinished:
            return None
        found = facts(self._tracklets, self._first_number)
        said = self.conversation.say([Ask(question=question, known=known_line(found))], self.control)[0]
        if said is None:
            return None if self.control.remaining_s() <= 0 else _unanswered(question, Unanswered.UNPARSABLE)
        count, rows, columns = self.frames.pixels.shape
        parsed = parse(said, question, self.profile, (rows, columns, count), anatomy=self.frames.anatomy)
        if not parsed.text:
            return _unanswered(question, Unanswered.UNPARSABLE)
        if not agrees(parsed.text, found, self.frames.anatomy):
            return _unanswered(question, Unanswered.CONTRADICTION)
        return Answer(
            question_id=question.question_id,
            kind=question.kind,
            text=parsed.text,
            reasoning=parsed.reasoning,
            evidence=self._tracklets,
        )


def _orders(options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the options as they are, turned round, and rotated: each stands in different places."""
    half = len(options) // 2
    orders = (options, options[::-1], options[half:] + options[:half])
    return tuple(dict.fromkeys(orders))


def _places(found: Sequence[Tracklet]) -> str:
    return "Present in 1 place." if len(found) == 1 else f"Present in {len(found)} places."


def _unanswered(question: Question, reason: Unanswered) -> Answer:
    return Answer(question_id=question.question_id, kind=question.kind, unanswered=reason)
