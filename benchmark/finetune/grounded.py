"""Our recipe: every frame behind its name, places in thousandths of the frame, findings followed over the frames.

Prompts come from the product's own builder and profile, so that what is trained is what is asked. Half of the time an
item is asked in its own words, half of the time in those of the worker, wherever the worker asks such a thing: yes or
no of the volume, controls that must be denied, one finding on one frame alone, the choice and the summary behind what
was found. Boxes are listed lesion by lesion, each lesion's frames in order; the reasoning before them names every
lesion with its first, last and largest frame, so that an extent is said before its boxes are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from benchmark.finetune.exchange import Exchange
from benchmark.generator.questions import NOTHING_TO_LOCALIZE
from benchmark.generator.wording import sign
from benchmark.items import Item, Level, Task, TruthBox
from benchmark.scoring.strict import question_of
from benchmark.training import wording
from sgmri.catalogue import STANDARD
from sgmri.findings import Finding, Tracklet, frames_as_text, link
from sgmri.interfaces import Frames
from sgmri.questions import NONE_OF_THESE, Question, QuestionKind
from sgmri.volume import Anatomy
from worker.engine.controls import absent_by_design, scope
from worker.engine.grounding import key_finding
from worker.engine.profiles import PromptProfile
from worker.engine.prompts import about_one_frame, answer_keys, answer_start, choices, prefix, question_text
from worker.engine.summary import by_size, facts, known_line

_OWN_WORDS = 0.5
"""How often an item is asked in its own words where the worker has words of its own."""
_LISTED = 6
"""So many lesions are put into words; the boxes are all there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question with what is true of it; ``value`` stands under the answer's key."""

    question: Question
    value: str | int
    reasoning: str = wording.NO_SIGN
    tracklets: tuple[Tracklet, ...] = ()
    known: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundedRecipe:
    """What the worker asks, answered from the truth.

    Parameters
    ----------
    profile
        The one that the bundle carries.
    labels
        Anatomy -> labels that the training knows: what is denied on a frame is drawn from them.
    """

    profile: PromptProfile
    labels: Mapping[Anatomy, tuple[str, ...]]

    def exchange(self, item: Item, frames: Frames, rng: Generator) -> Exchange:
        """Return an exchange about an item, in its own words or in the worker's."""
        workers = self._worker_asks(item, frames, rng)
        own = not workers or rng.random() < _OWN_WORDS
        asked = self._in_own_words(item, frames) if own else workers[int(rng.integers(len(workers)))]
        return Exchange(
            segments=prefix(frames, self.profile),
            question=question_text(asked.question, self.profile, known=asked.known),
            answer=self._pieces(asked, frames),
            budget=self.profile.pixel_budget,
        )

    def _in_own_words(self, item: Item, frames: Frames) -> _Asked:
        question, found = question_of(item), _tracklets(item, item.boxes, frames)
        return _Asked(
            question=question, value=self._value(item, found, frames), reasoning=_seen(item, found), tracklets=found
        )

    def _value(self, item: Item, found: Sequence[Tracklet], frames: Frames) -> str | int:
        match item.task:
            case Task.COUNTING:
                return int(item.answer)
            case Task.LOCALIZATION:
                return _where(found, frames)
            case Task.CLASSIFICATION | Task.DIAGNOSIS if self.profile.options_by_name:
                return "; ".join(item.lettered_options[letter] for letter in item.letters)
            case _:
                return item.answer

    def _worker_asks(self, item: Item, frames: Frames, rng: Generator) -> list[_Asked]:
        """Return what the worker asks that an item has the truth of."""
        match item.level, item.task:
            case Level.IMAGE, Task.DETECTION:
                return self._on_this_frame(item, frames, rng)
            case Level.IMAGE, Task.LOCALIZATION if item.label:
                own = self._in_own_words(item, frames)
                question = about_one_frame(QuestionKind.LOCALISATION, (item.label,), self.profile)
                return [_Asked(question=question, value=own.value, reasoning=own.reasoning, tracklets=own.tracklets)]
            case Level.VOLUME, Task.DETECTION:
                return _of_the_volume(item, frames)
            case Level.VOLUME, Task.CLASSIFICATION:
                return self._which(item, frames, rng)
            case Level.VOLUME, Task.CAPTIONING:
                found = facts(_tracklets(item, item.context, frames), self.profile.frame_base)
                question = STANDARD[item.anatomy][f"{item.anatomy}.summary"]
                said = wording.caption(found) if found else item.answer
                return [_Asked(question=question, value=said, reasoning="", known=known_line(found))]
            case _:
                return []

    def _on_this_frame(self, item: Item, frames: Frames, rng: Generator) -> list[_Asked]:
        """Ask for each finding of a frame, and for as many (one at least) that it does not show."""
        here = sorted({box.label for box in item.context})
        others = [label for label in self.labels[item.anatomy] if label not in item.labels]
        absent = [others[int(place)] for place in rng.permutation(len(others))[: max(1, len(here))]]
        asked = []
        for label in (*here, *absent):
            found = _tracklets(item, [box for box in item.context if box.label == label], frames)
            question = about_one_frame(QuestionKind.DETECTION, (label,), self.profile)
            asked.append(_Asked(question=question, value="Yes" if found else "No", reasoning=_seen(item, found)))
        return asked

    def _which(self, item: Item, frames: Frames, rng: Generator) -> list[_Asked]:
        """Ask for the main finding, the largest, with the options in any order."""
        found = by_size(_tracklets(item, item.context, frames), self.profile.frame_base)
        if not found:
            return []
        known = STANDARD[item.anatomy][f"{item.anatomy}.which"]
        options = tuple(known.options[int(place)] for place in rng.permutation(len(known.options)))
        right = found[0].label if found[0].label in options else NONE_OF_THESE
        question = Question(question_id=known.question_id, kind=known.kind, text=known.text, options=options)
        value = right if self.profile.options_by_name else f"({chr(ord('A') + options.index(right))})"
        return [_Asked(question=question, value=value, reasoning="", known=known_line(found))]

    def _pieces(self, asked: _Asked, frames: Frames) -> tuple[str, ...]:
        """Write an answer, parted where the worker parts it: before the value, and before an option's letter."""
        text = self._written(asked, frames)
        start = answer_start(self.profile)
        if not (self.profile.answer_first and text.startswith(start)):
            return (text,)
        pieces = [start, text.removeprefix(start)]
        if asked.question.kind is QuestionKind.CLASSIFICATION:
            opening, _ = choices(asked.question, self.profile)
            pieces = [start, opening, pieces[1].removeprefix(opening)] if opening else pieces
        return tuple(pieces)

    def _written(self, asked: _Asked, frames: Frames) -> str:
        keys = self.profile.answer_format
        values: dict[str, object] = {keys.answer: asked.value, keys.reasoning: asked.reasoning}
        answer = {key: values[key] for key in answer_keys(self.profile)}
        boxes = asked.tracklets
        if asked.question.kind is QuestionKind.CAPTIONING:
            answer[keys.boxes] = [self._box(key_finding(tracklet), frames) for tracklet in boxes]
        elif asked.question.kind is QuestionKind.LOCALISATION:
            answer[keys.boxes] = [self._box(finding, frames) for tracklet in boxes for finding in tracklet.findings]
        return json.dumps(answer)

    def _box(self, finding: Finding, frames: Frames) -> dict[str, object]:
        keys, (_, rows, columns) = self.profile.answer_format, frames.pixels.shape
        return {
            keys.frame: finding.frame_index + self.profile.frame_base,
            keys.label: finding.label,
            keys.box: list(self.profile.coordinates.write(finding.box, rows, columns)),
        }


def _tracklets(item: Item, boxes: Sequence[TruthBox], frames: Frames) -> tuple[Tracklet, ...]:
    """Return boxes in pixels of the frames that are shown, followed over them; an image's frame is the first."""
    findings = [
        Finding(
            label=box.label,
            frame_index=0 if item.level is Level.IMAGE else box.frame_number - 1,
            box=frames.scaling.to_model(box.box),
        )
        for box in boxes
    ]
    return link(findings)


def _of_the_volume(item: Item, frames: Frames) -> list[_Asked]:
    """Return the worker's yes/no questions: the one that an item is about, and with "any" all that must be denied."""
    anatomy, asked = item.anatomy, []
    for question in STANDARD[anatomy].questions:
        if question.kind is QuestionKind.DETECTION and (
            item.label in question.labels if item.label else not question.labels
        ):
            present = item.answer == "Yes" if not item.label else bool(set(question.labels) & set(item.labels))
            labels = set(question.labels)
            boxes = [box for box in item.context if not labels or box.label in labels]
            reasoning = _seen(item, _tracklets(item, boxes, frames))
            asked.append(_Asked(question=question, value="Yes" if present else "No", reasoning=reasoning))
    if not item.label:
        asked.append(_Asked(question=scope(anatomy), value="Yes", reasoning=""))
        asked += [_Asked(question=question, value="No") for question in absent_by_design(anatomy)]
    return asked


def _seen(item: Item, found: Sequence[Tracklet]) -> str:
    """Say which sign is seen on a frame, or which lesions on which frames of a volume."""
    if not found:
        return wording.NO_SIGN
    if item.level is Level.IMAGE:
        labels = dict.fromkeys(tracklet.label for tracklet in found)
        return " ".join(f"{label}: {sign(label, item.volume_id)}." for label in list(labels)[:_LISTED])
    told = [
        f"{tracklet.label}, {_frames(tracklet)}, largest on {key_finding(tracklet).frame_index + 1}"
        for tracklet in found[:_LISTED]
    ]
    return "; ".join(told) + _more(found)


def _where(found: Sequence[Tracklet], frames: Frames) -> str:
    """Say where the lesions lie on their largest frames."""
    if not found:
        return NOTHING_TO_LOCALIZE
    _, rows, columns = frames.pixels.shape
    places = [wording.place(key_finding(tracklet).box.as_tuple(), rows, columns) for tracklet in found[:_LISTED]]
    return "; ".join(dict.fromkeys(places)) + _more(found)


def _more(found: Sequence[Tracklet]) -> str:
    return f"; and {len(found) - _LISTED} more." if len(found) > _LISTED else "."


def _frames(tracklet: Tracklet) -> str:
    return f"frame{'s' if len(tracklet.findings) > 1 else ''} {frames_as_text(tracklet.frame_indices)}"
