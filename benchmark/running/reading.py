"""Let an engine of the product read a volume once, and answer the benchmark's questions from that reading.

An engine answers the standard question set, not the benchmark's wording. What it said and showed of the volume is
put into the published form of an answer; a question that its reading says nothing about is unanswered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmark.items import LETTERS, AnswerType, Counted, Item, Level, Task
from sgmri.catalogue import STANDARD
from sgmri.findings import Finding, Tracklet
from sgmri.interfaces import Engine, Frames, ReadingControl
from sgmri.questions import NONE_OF_THESE, Answer, Presence, Question, QuestionKind
from sgmri.volume import Anatomy
from worker.engine.guard import guard
from worker.rendering import to_source

NOTHING = "No findings to localize."


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An answer in the published form, and how sure the engine is of it."""

    text: str
    certainty: float | None = None


@dataclass(frozen=True, kw_only=True)
class VolumeReading:
    """What an engine said of a volume.

    Parameters
    ----------
    anatomy
        Of the volume.
    answers
        Guarded; boxes in source pixels.
    """

    anatomy: Anatomy
    answers: tuple[Answer, ...]

    @cached_property
    def tracklets(self) -> tuple[Tracklet, ...]:
        """Everything that it showed, once."""
        return tuple({t.tracklet_id: t for answer in self.answers for t in answer.evidence}.values())

    def gate(self, label: str) -> tuple[Question, Answer] | None:
        """Return the yes/no question about a label (about any finding where it is empty), with its answer."""
        questions = STANDARD[self.anatomy]
        for answer in self.answers:
            question = questions[answer.question_id]
            fits = label in question.labels if label else not question.labels
            if question.kind is QuestionKind.DETECTION and fits:
                return question, answer
        return None

    def answer(self, item: Item) -> Spoken | None:
        """Answer an item; None where the reading says nothing about it."""
        match item.task:
            case Task.DETECTION:
                return self._detection(item)
            case Task.LOCALIZATION:
                return self._localization(item)
            case Task.COUNTING:
                return self._counting(item)
            case Task.CLASSIFICATION | Task.DIAGNOSIS:
                return self._choice(item)
            case Task.CAPTIONING:
                return self._caption(item)

    def _shown(self, item: Item) -> list[Finding]:
        """Return the boxes on the frames, and of the label, that an item is about."""
        frames = set(item.frame_numbers)
        return sorted(
            (
                finding
                for tracklet in self.tracklets
                for finding in tracklet.findings
                if finding.frame_index + 1 in frames and item.label in ("", finding.label)
            ),
            key=lambda finding: (finding.label, finding.frame_index, finding.box.as_tuple()),
        )

    def _is_absent(self, item: Item) -> bool:
        """Tell whether the reading denies what an item is about: in the volume, or on this frame of several."""
        gate = self.gate(item.label)
        if gate is None:
            return False
        seen = any(item.label in ("", tracklet.label) for tracklet in self.tracklets)
        return gate[1].presence is Presence.ABSENT or (seen and item.level is Level.IMAGE)

    def _detection(self, item: Item) -> Spoken | None:
        gate = self.gate(item.label)
        certainty = None
        if gate is not None and item.level is Level.VOLUME and len(gate[0].labels) <= 1:
            certainty = gate[
                1
            ].certainty  # of the very question; of a group of labels, or of one frame, it says nothing
        shown = self._shown(item)
        if shown:
            return Spoken(text=f"Yes. {_listed(item, shown)}", certainty=certainty)
        return Spoken(text="No.", certainty=certainty) if self._is_absent(item) else None

    def _localization(self, item: Item) -> Spoken | None:
        shown = self._shown(item)
        if shown:
            return Spoken(text=_listed(item, shown))
        return Spoken(text=NOTHING) if self._is_absent(item) else None

    def _counting(self, item: Item) -> Spoken | None:
        shown = self._shown(item)
        if not shown and not self._is_absent(item):
            return None
        if item.counted is Counted.BOXES:
            count = len(shown)
        elif item.counted is Counted.KINDS:
            count = len({finding.label for finding in shown})
        else:
            count = sum(item.label in ("", tracklet.label) for tracklet in self.tracklets)
        return Spoken(text=f"{count}.")

    def _choice(self, item: Item) -> Spoken | None:
        """Choose what was shown, the largest first; "none of these" where something else or nothing at all was."""
        shown = self._shown(item)
        areas: dict[str, float] = {}
        for finding in shown:
            areas[finding.label] = areas.get(finding.label, 0.0) + finding.box.area
        chosen = sorted((label for label in areas if label in item.options), key=lambda label: -areas[label])
        if not chosen and NONE_OF_THESE in item.options and (shown or self._is_absent(item)):
            chosen = [NONE_OF_THESE]
        if not chosen:
            return None
        if item.answer_type is AnswerType.SINGLE:
            chosen = chosen[:1]
        letters = [letter for letter, option in zip(LETTERS, item.options, strict=False) if option in chosen]
        return Spoken(text=", ".join(f"({letter})" for letter in letters))

    def _caption(self, item: Item) -> Spoken | None:
        summary = next((a.text for a in self.answers if a.kind is QuestionKind.CAPTIONING and a.text), "")
        if item.level is Level.VOLUME and summary:
            return Spoken(text=summary)
        shown = self._shown(item)
        if not shown:
            return Spoken(text="No abnormality is seen.") if self._is_absent(item) else None
        labels = list(dict.fromkeys(finding.label for finding in shown))
        return Spoken(text=f"{'; '.join(labels)}. {_listed(item, shown)}")


def _listed(item: Item, findings: Sequence[Finding]) -> str:
    """Write boxes as the published answers do: corner and size in whole pixels, frames from 1 in a volume."""
    boxes = [
        f"<bbx>[{box.x0:.0f},{box.y0:.0f},{box.width:.0f},{box.height:.0f}]</bbx>"
        for box in (finding.box for finding in findings)
    ]
    if item.level is Level.IMAGE:
        return ", ".join(boxes)
    return ", ".join(f"Frame {finding.frame_index + 1}: {box}" for finding, box in zip(findings, boxes, strict=True))


def read_volume(engine: Engine, frames: Frames) -> VolumeReading:
    """Have an engine read a volume, guarded as in the product.

    Raises
    ------
    EngineError
        If it cannot.
    """
    questions = STANDARD[frames.anatomy]
    answers = guard(engine.answer(frames, questions, ReadingControl()), frames, questions)
    return VolumeReading(anatomy=frames.anatomy, answers=to_source(answers, frames))
