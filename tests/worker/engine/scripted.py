"""A model that says what a script tells it (implements :class:`worker.engine.conversation.Speaker`)."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sgmri.catalogue import STANDARD
from sgmri.errors import UnparsableAnswer
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import NONE_OF_THESE, QuestionKind
from sgmri.readings import EngineIdentity
from sgmri.volume import Anatomy, Plane
from tests.worker.engine.plain_frames import plain_frames
from worker.engine.auxiliary import Maps
from worker.engine.calibration import Calibration
from worker.engine.controls import absent_by_design, scope
from worker.engine.conversation import Ask, Weights
from worker.engine.grounded import Card
from worker.engine.profiles import PROFILES

PROFILE = PROFILES["sgmri"]
WHITE_MATTER, LACUNE, MASS = "Nonspecific white matter lesion", "Lacunar infarct", "Mass"
SURE, UNSURE = (math.log(0.98), math.log(0.02)), (math.log(0.5), math.log(0.5))
YES, NO = SURE, (math.log(0.02), math.log(0.98))
Pixels = tuple[int, int, int, int]


def frames(count: int = 8, *, anatomy: Anatomy = Anatomy.BRAIN, plane: Plane = Plane.AXIAL) -> Frames:
    """Return grey frames of 200 rows and 250 columns."""
    return replace(plain_frames(np.zeros((count, 200, 250), np.uint8)), anatomy=anatomy, plane=plane)


def card(*labels: str, calibration: Calibration | None = None) -> Card:
    """Return the card of a model that knows some labels."""
    return Card(
        identity=EngineIdentity(name="scripted", version="1", digest="0" * 64),
        profile=PROFILE,
        labels=labels or (WHITE_MATTER, LACUNE, MASS, "Possible artifact"),
        question_set_ids=("brain-1", "knee-1"),
        calibration=calibration or Calibration(scope_threshold=0.0, planes={"brain": ("axial",)}),
    )


@dataclass(slots=True, kw_only=True)
class Script:
    """What the model says.

    Parameters
    ----------
    places
        Label -> boxes (x0, y0, x1, y1 in pixels) by frame index: what is there. Everything follows from it, except
        where a rule says otherwise.
    weigh_rule, say_rule
        Asked first; what they do not answer with None is said as it is. ``...`` stands for "the model says nothing".
    heads
        What its auxiliary head sees.
    """

    places: Mapping[str, Mapping[int, Sequence[Pixels]]] = field(default_factory=dict)
    weigh_rule: Callable[[Ask], object] = lambda ask: None
    say_rule: Callable[[Ask], object] = lambda ask: None
    heads: Maps | None = None
    opened: int = 0
    closed: int = 0
    weighed: list[Ask] = field(default_factory=list)
    said: list[Ask] = field(default_factory=list)

    def open(self, frames: Frames, control: ReadingControl) -> "Talk":
        self.opened += 1
        return Talk(self, frames)

    def close(self) -> None:
        self.closed += 1

    def there(self, ask: Ask) -> bool:
        labels = ask.question.labels or tuple(self.places)
        return any(
            ask.frame_index is None or self.places[label].get(ask.frame_index)
            for label in labels
            if self.places.get(label)
        )


class Talk:
    def __init__(self, script: Script, shown: Frames) -> None:
        self._script = script
        self._frames = shown
        self._anatomy = shown.anatomy

    def weigh(self, asked: Sequence[Ask], control: ReadingControl) -> list[Weights | None]:
        self._script.weighed += asked
        return [self._weighed(ask) for ask in asked]

    def _weighed(self, ask: Ask) -> Weights | None:
        told = self._script.weigh_rule(ask)
        if told is not None:
            return None if told is ... else told  # type: ignore[return-value]  # the script's own
        if ask.question == scope(self._anatomy):
            return YES
        if ask.question in absent_by_design(self._anatomy):
            return NO
        if ask.question.kind is QuestionKind.CLASSIFICATION:
            right = self._main()
            return tuple(math.log(0.9 if option == right else 0.01) for option in ask.question.options)
        return YES if self._script.there(ask) else NO

    def _main(self) -> str:
        options = next(q for q in STANDARD[self._anatomy].questions if q.kind is QuestionKind.CLASSIFICATION).options
        return next((label for label in self._script.places if label in options), NONE_OF_THESE)

    def say(self, asked: Sequence[Ask], control: ReadingControl) -> list[str | None]:
        self._script.said += asked
        return [self._said(ask) for ask in asked]

    def _said(self, ask: Ask) -> str | None:
        told = self._script.say_rule(ask)
        if told is not None:
            return None if told is ... else str(told)
        if ask.question.kind is QuestionKind.CAPTIONING:
            return answer(ask.known.replace("places: ", "").replace("frames:", "Frames"))
        boxes = self._script.places.get(ask.question.labels[0], {}).get(ask.frame_index or 0, ())
        return where(ask.question.labels[0], boxes)

    def tell(self, ask: Ask, control: ReadingControl) -> Iterator[str]:
        """Say what the script has for it, in pieces of four characters; a script that says nothing is cut off."""
        self._script.said.append(ask)
        told = self._script.say_rule(ask)
        if not isinstance(told, str):
            raise UnparsableAnswer("the answer was cut off")
        for start in range(0, len(told), 4):
            yield told[start : start + 4]

    def maps(self) -> Maps | None:
        return self._script.heads

    def close(self) -> None:
        self._script.closed += 1


def answer(text: str, reasoning: str = "", boxes: Sequence[object] = ()) -> str:
    """Return an answer in the profile's JSON."""
    return json.dumps({"answer": text, "reasoning": reasoning, "bboxes": list(boxes)})


def where(label: str, boxes: Sequence[Pixels], *, frame_number: int = 1) -> str:
    """Return the answer that lists boxes of one frame, in thousandths of 250 x 200 pixels."""
    written = [
        {"frame": frame_number, "label": label, "bbox": [x0 * 4, y0 * 5, x1 * 4, y1 * 5]} for x0, y0, x1, y1 in boxes
    ]
    return answer("upper left of the image", "A bright focus.", written)
