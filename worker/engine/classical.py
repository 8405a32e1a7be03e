"""A detector without weights: compact bright or dark outliers inside the head or the joint.

An honest baseline and the stand-in of the fast tests. It knows no medicine: what it finds is called nonspecific,
except where a rule of :data:`worker.engine.sighting.NAMING` gives it a name, and what it cannot know it leaves
unanswered. Diffuse, paired, midline, very small and very large changes are beyond it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sgmri.asking import AskEvent
from sgmri.findings import Tracklet, frames_as_text
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from sgmri.readings import EngineIdentity
from worker.engine.asking import ask_in_rounds
from worker.engine.by_hand import ask_catalogue
from worker.engine.outliers import Polarity
from worker.engine.sighting import VERSION, ClassicalParameters, NamingRule, Sighting, look

_NAME = "classical"
_SCOPE = "this engine measures compact bright and dark outliers by rules, and names very few of them"
_LISTED = 6
"""So many places are put into words; the boxes are all there."""


class ClassicalEngine:
    """Reads a volume by rules (implements :class:`sgmri.interfaces.Engine`).

    Deterministic: the same frames give the same answers. ``Finding.score`` grows with the outlier's amplitude in
    robust standard deviations z as z / (z + threshold): 0.5 at the threshold; no probability, and therefore no
    answer states a certainty.

    Parameters
    ----------
    parameters
        What counts as an outlier, and what it is called.
    """

    def __init__(self, parameters: ClassicalParameters | None = None) -> None:
        self._parameters = parameters or ClassicalParameters()

    def describe(self) -> EngineIdentity:
        """Return who this is; the digest covers version and parameters."""
        return EngineIdentity(name=_NAME, version=VERSION, digest=self._parameters.digest())

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        """Answer a question set; boxes in pixels and indices of ``frames``.

        Raises
        ------
        EngineUnavailable
            If the reading was cancelled.
        """
        # Looked for only once asked, so that a cancelled reading costs nothing
        seen: list[_Answerer] = []

        def ask(asked: Sequence[Question], _answers: Mapping[str, Answer]) -> list[Answer]:
            if not seen:
                seen.append(_Answerer(frames=frames, sighting=look(frames, self._parameters)))
            return [seen[0].answer(question) for question in asked]

        return ask_in_rounds(questions, ask, control)

    def ask(self, frames: Frames, question: Question, control: ReadingControl) -> Iterator[AskEvent]:
        """Answer one question of the catalogue; free text is beyond rules."""
        yield from ask_catalogue(self, frames, question, control, scope=_SCOPE)

    def close(self) -> None:
        """Release nothing: there are no weights."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answerer:
    """Puts a sighting into answers."""

    frames: Frames
    sighting: Sighting

    def answer(self, question: Question) -> Answer:
        """Answer one question."""
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
                return Answer(question_id=question.question_id, kind=question.kind, text=self._summary())
            case QuestionKind.FREE_TEXT:
                return _unanswered(question, Unanswered.OUTSIDE_ENGINE_SCOPE)

    def _about(self, question: Question) -> tuple[Tracklet, ...]:
        """Return the tracklets that a question is about; all for one about any."""
        return tuple(t for t in self.sighting.tracklets if not question.labels or t.label in question.labels)

    def _detection(self, question: Question) -> Answer:
        rules = [rule for rule in self.sighting.nameable if rule.label in question.labels]
        if question.labels and not rules:
            return _unanswered(question, Unanswered.OUTSIDE_ENGINE_SCOPE)
        found = self._about(question)
        polarities = {rule.polarity for rule in rules}
        # Something of this polarity that no rule could name may be what is asked for
        unnamed = [
            blob
            for blob, tracklet in zip(self.sighting.blobs, self.sighting.tracklets, strict=True)
            if blob.polarity in polarities and tracklet not in found
        ]
        presence, text = Presence.ABSENT, f"No compact outlier stands out{_as_text(rules)}."
        if self.sighting.obstacle:
            presence, text = Presence.UNDETERMINED, f"Not decided: {self.sighting.obstacle}."
        elif found:
            presence, text = Presence.PRESENT, f"{_places(found)} out{_as_text(rules)}."
        elif unnamed:
            presence, text = Presence.UNDETERMINED, f"Not decided: {len(unnamed)} outlier(s) fit no rule for a name."
        return Answer(
            question_id=question.question_id,
            kind=question.kind,
            presence=presence,
            text=text,
            reasoning=self._measured(found),
            evidence=found,
        )

    def _localisation(self, question: Question) -> Answer:
        found = self._about(question)
        if not found:
            return _unanswered(question, self._reason())
        listed = "; ".join(self._place(tracklet) for tracklet in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        return Answer(question_id=question.question_id, kind=question.kind, text=f"{listed}{more}.", evidence=found)

    def _counting(self, question: Question) -> Answer:
        if self.sighting.obstacle:
            return _unanswered(question, Unanswered.LOW_QUALITY)
        found = self._about(question)
        if question.question_id.endswith(".count.lesions"):
            count = len(found)
        elif question.question_id.endswith(".count.kinds"):
            pairs = zip(self.sighting.blobs, self.sighting.tracklets, strict=True)
            count = len({(blob.polarity, tracklet.label) for blob, tracklet in pairs if tracklet in found})
        else:
            return _unanswered(question, Unanswered.OUTSIDE_ENGINE_SCOPE)
        return Answer(
            question_id=question.question_id, kind=question.kind, count=count, text=f"{count}.", evidence=found
        )

    def _classification(self, question: Question) -> Answer:
        """Name the finding that covers most pixels, where a rule does; "none of these" is beyond this engine."""
        found = self._about(question)
        if not found:
            return _unanswered(question, self._reason())
        main = max(found, key=lambda tracklet: sum(finding.box.area for finding in tracklet.findings))
        if main.label not in question.options:
            return _unanswered(question, Unanswered.OUTSIDE_ENGINE_SCOPE)
        return Answer(
            question_id=question.question_id,
            kind=question.kind,
            chosen=(main.label,),
            text=f"{main.label}, by its size and signal.",
            evidence=(main,),
        )

    def _reason(self) -> Unanswered:
        return Unanswered.LOW_QUALITY if self.sighting.obstacle else Unanswered.OUTSIDE_ENGINE_SCOPE

    def _place(self, tracklet: Tracklet) -> str:
        """Say where a tracklet is, in pixels of the source frames."""
        key = max(tracklet.findings, key=lambda finding: finding.box.area)
        column, row = self.frames.scaling.to_source(key.box).centre
        frames = self._numbers(tracklet.frame_indices)
        plural = "s" if len(tracklet.findings) > 1 else ""
        return f"{tracklet.tracklet_id} on frame{plural} {frames}, about column {column:.0f}, row {row:.0f}"

    def _numbers(self, frame_indices: Sequence[int]) -> str:
        return frames_as_text([index + self.frames.first_frame_index for index in frame_indices])

    def _measured(self, tracklets: Sequence[Tracklet]) -> str:
        """Say what was measured of each tracklet."""
        blobs = dict(zip(self.sighting.tracklets, self.sighting.blobs, strict=True))
        parts = [
            f"{tracklet.tracklet_id}: {blobs[tracklet].polarity}, {blobs[tracklet].size_mm:.0f} mm, "
            f"{blobs[tracklet].contrast:.0%} contrast, {blobs[tracklet].sigma:.1f} standard deviations"
            for tracklet in tracklets[:_LISTED]
        ]
        return "; ".join(parts)

    def _summary(self) -> str:
        who = "A rule-based detector without medical knowledge"
        area = f"this {self.frames.anatomy} volume"
        limits = "Diffuse, paired, midline, very small and very large changes are beyond it."
        if self.sighting.obstacle:
            return f"{who} could not judge {area}: {self.sighting.obstacle}. {limits}"
        if not self.sighting.tracklets:
            return f"{who} found no compact bright or dark outlier in {area}. {limits}"
        polarities = Counter(blob.polarity for blob in self.sighting.blobs)
        found = " and ".join(f"{polarities[polarity]} {polarity}" for polarity in Polarity if polarities[polarity])
        indices = sorted({index for tracklet in self.sighting.tracklets for index in tracklet.frame_indices})
        return f"{who} found {found} compact outlier(s) in {area}, on frames {self._numbers(indices)}. {limits}"


def _unanswered(question: Question, reason: Unanswered) -> Answer:
    return Answer(question_id=question.question_id, kind=question.kind, unanswered=reason)


def _places(tracklets: Sequence[Tracklet]) -> str:
    return "1 place stands" if len(tracklets) == 1 else f"{len(tracklets)} places stand"


def _as_text(rules: Sequence[NamingRule]) -> str:
    """Return the rules in words, to follow "stands out"."""
    words = [f"as {rule.polarity} and of {rule.min_size_mm:g} to {rule.max_size_mm:g} mm" for rule in rules]
    return f" {' or '.join(words)}" if words else ""
