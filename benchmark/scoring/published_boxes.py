"""The published V-score, faults included: forms are told apart by magnitude, and extra boxes are free.

What the paper's numbers were made with (arXiv 2604.15808), rewritten from its description; no score of ours uses it.
Boxes are as the paper writes them: top left corner and size, in pixels, frames from 1.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmark.metrics import iou_table
from sgmri.volume import Anatomy

PUBLISHED_SIZE_PX = {Anatomy.BRAIN: 256, Anatomy.KNEE: 320}
"""Width and height that the published code takes every image for; a third of the brain images are larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBox:
    """A box as written, whether or not it can be.

    Parameters
    ----------
    frame_number
        From 1; None where none was named.
    x, y, width, height
        In pixels.
    """

    frame_number: int | None = None
    x: float
    y: float
    width: float
    height: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1."""
        return self.x, self.y, self.x + self.width, self.y + self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedV:
    """The published score of one localisation, and what is logged beside it.

    Parameters
    ----------
    v
        Sum of the overlaps over the boxes of the truth: extra boxes cost nothing.
    precision_50, recall_50, f1_50
        Of pairs whose IoU is 0.5 or more.
    overlaps
        IoU of the matched pairs, above 0.
    """

    v: float
    precision_50: float
    recall_50: float
    f1_50: float
    overlaps: tuple[float, ...]


def published_v_score(
    truth: Sequence[WrittenBox], predicted: Sequence[WrittenBox], *, is_volume: bool
) -> PublishedV | None:
    """Score boxes as published: matched for the largest sum of overlaps, whatever their labels.

    Parameters
    ----------
    truth, predicted
        The boxes; one without a frame fits every frame.
    is_volume
        Whether frames count; of an image they do not.

    Returns
    -------
    None where there is no truth: the published score leaves such a sample out.
    """
    if not truth:
        return None
    overlaps: tuple[float, ...] = ()
    if predicted:
        table = iou_table([box.edges for box in truth], [box.edges for box in predicted])
        if is_volume:
            table *= _may_match(truth, predicted)
        chosen = table[linear_sum_assignment(-table)]
        overlaps = tuple(float(value) for value in chosen if value > 0)
    hits = sum(value >= 0.5 for value in overlaps)
    return PublishedV(
        v=sum(overlaps) / len(truth),
        precision_50=hits / len(predicted) if predicted else 0.0,
        recall_50=hits / len(truth),
        f1_50=2 * hits / (len(truth) + len(predicted)),
        overlaps=overlaps,
    )


def _may_match(truth: Sequence[WrittenBox], predicted: Sequence[WrittenBox]) -> NDArray[np.bool_]:
    """Tell which pairs lie on one frame: bool (truth, predicted)."""
    real, said = (
        np.array([np.nan if box.frame_number is None else box.frame_number for box in boxes], float)
        for boxes in (truth, predicted)
    )
    real, said = real[:, None], said[None, :]
    fits: NDArray[np.bool_] = (real == said) | np.isnan(real) | np.isnan(said)
    return fits


def published_runner_boxes(text: str, anatomy: Anatomy) -> tuple[WrittenBox, ...]:
    """Read boxes as the published runner does: one that names no frame is put on frame 1."""
    boxes = published_boxes(text, anatomy)
    return tuple(box if box.frame_number is not None else replace(box, frame_number=1) for box in boxes)


def published_boxes(text: str, anatomy: Anatomy) -> tuple[WrittenBox, ...]:
    """Read boxes as published: the first form that yields any is read alone.

    Parameters
    ----------
    text
        The output.
    anatomy
        Decides which size (256 or 320 pixels) relative numbers are scaled to, whatever the image's true size.
    """
    size = PUBLISHED_SIZE_PX[anatomy]
    relative = _fractions(text, size)
    if relative:
        return relative
    for form, read in _FORMS:
        found = tuple(_found(text, form, read, size))
        if found:
            return found
    return ()


_FARTHEST_PX = 1e9
"""Numbers beyond it, which only a model that repeats a digit for ever writes, would overflow in areas."""
_Numbers = tuple[float, float, float, float]
_N = r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*"
_BARE = rf"\[{_N},{_N},{_N},{_N}\]"
_PAIRS = rf"\({_N},{_N}\)\s*,\s*\({_N},{_N}\)"
_NAMED = re.compile(r"\bFrame\s+([0-9]+)\s*[:,-]?\s*\Z", re.IGNORECASE)


def _as_written(numbers: _Numbers, _size: int) -> _Numbers:
    return numbers


def _corners(numbers: _Numbers, _size: int) -> _Numbers:
    x0, y0, x1, y1 = numbers
    return x0, y0, x1 - x0, y1 - y0


def _thousandths(numbers: _Numbers, size: int) -> _Numbers:
    x0, y0, x1, y1 = (number / 1000 * size for number in numbers)
    return x0, y0, x1 - x0, y1 - y0


def _thousandths_if_large(numbers: _Numbers, size: int) -> _Numbers:
    return _thousandths(numbers, size) if max(numbers) > size else _corners(numbers, size)


def _corners_if_larger(numbers: _Numbers, size: int) -> _Numbers:
    x, y, third, fourth = numbers
    return _corners(numbers, size) if third > x and fourth > y else numbers


_FORMS: tuple[tuple[re.Pattern[str], Callable[[_Numbers, int], _Numbers]], ...] = (
    (re.compile(rf"<bbo?x\w*>\s*{_BARE}\s*</bbo?x\w*>", re.IGNORECASE), _as_written),
    (re.compile(rf"<\|box_start\|>\s*{_PAIRS}\s*<\|box_end\|>"), _thousandths),
    (re.compile(rf"bbox\({_N},{_N},{_N},{_N}\)", re.IGNORECASE), _corners),
    (re.compile(_PAIRS), _corners),
    (re.compile(rf'"bbox_2d"\s*:\s*{_BARE}'), _thousandths_if_large),
    (re.compile(rf'"x"\s*:{_N},\s*"y"\s*:{_N},\s*"width"\s*:{_N},\s*"height"\s*:{_N}'), _as_written),
    (re.compile(_BARE), _corners_if_larger),
)


def _found(
    text: str, form: re.Pattern[str], read: Callable[[_Numbers, int], _Numbers], size: int
) -> Iterator[WrittenBox]:
    """Yield the boxes of one form; each has the frame named right before it, or else the last one so named."""
    frame: int | None = None
    for match in form.finditer(text):
        named = _NAMED.search(text[max(0, match.start() - 24) : match.start()])
        frame = int(named[1]) if named else frame
        a, b, c, d = (float(group) for group in match.groups())
        x, y, width, height = read((a, b, c, d), size)
        if max(map(abs, (x, y, width, height))) <= _FARTHEST_PX:
            yield WrittenBox(frame_number=frame, x=x, y=y, width=width, height=height)


_EDGES = ("x_min", "y_min", "x_max", "y_max")


def _fractions(text: str, size: int) -> tuple[WrittenBox, ...]:
    """Read an output that is JSON as a whole and names edges in parts of the image, 0 to 1."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    boxes = []
    for item in found if isinstance(found, list) else [found]:
        values = [item.get(key) for key in _EDGES] if isinstance(item, dict) else []
        parts = [float(value) for value in values if isinstance(value, int | float) and 0 <= value <= 1]
        if len(parts) == len(_EDGES):
            x, y, width, height = _corners((parts[0], parts[1], parts[2], parts[3]), size)
            boxes.append(WrittenBox(x=x * size, y=y * size, width=width * size, height=height * size))
    return tuple(boxes)
