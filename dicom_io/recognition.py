"""Brain, knee or neither by the image alone, with a certainty: asked only where no header says the anatomy.

A small network over the numbers of :mod:`dicom_io.appearance`, behind a guard: what lies farther from all brains, or
all knees, than these do from each other is not recognised, however sure the network is. The weights
(``recognition.json``) are learnt by :mod:`benchmark.training.anatomy_from_image` from synthetic bodies alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicom_io.appearance import Measures, measure
from dicom_io.decode import decode_frames
from dicom_io.frames import FrameFacts
from dicom_io.instances import InstanceFacts
from dicom_io.series import SeriesFacts
from dicom_io.stacking import Limits, Stack, arrange
from sgmri.volume import Anatomy

FRAMES: Final = 9
"""Frames that are looked at, spread over the volume: as many as in training."""
CLASSES: Final[tuple[Anatomy | None, ...]] = (Anatomy.BRAIN, Anatomy.KNEE, None)
"""What the network's outputs stand for; None for neither."""
_WEIGHTS: Final = "recognition.json"
_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What an image was recognised as.

    Parameters
    ----------
    likeliest
        Brain or knee, whichever is more likely; None where neither is more likely than both.
    certainty
        Of ``likeliest``, 0 to 1: a probability on the synthetic volumes that it was fitted on.
    is_familiar
        Whether the image lies among the brains, or knees, of the training.
    least_certainty
        What is asked for before it counts.
    """

    likeliest: Anatomy | None
    certainty: float
    is_familiar: bool
    least_certainty: float

    @property
    def anatomy(self) -> Anatomy | None:
        """What the series may be read as; None where that is not sure."""
        sure = self.is_familiar and self.certainty >= self.least_certainty
        return self.likeliest if sure else None

    @property
    def doubt(self) -> str:
        """Why it is not sure, as the end of a sentence."""
        found = f"{self.likeliest or 'neither'} with certainty {self.certainty:.3f}"
        if self.likeliest is None:
            return f"its image looks like {found}"
        if not self.is_familiar:
            return f"its image looks like {found}, but like none that was learnt from"
        return f"its image does not say it clearly: {found}, {self.least_certainty:.3f} is asked for"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """What was learnt.

    Parameters
    ----------
    centre, scale
        float64 (measures,): by which measures are brought to zero mean and unit deviation.
    hidden, hidden_bias
        float64 (measures, units), (units,).
    output, output_bias
        float64 (units, 3), (3,): for :data:`CLASSES`.
    typical, spread
        float64 (2, measures): mean and deviation of brains and of knees, after ``centre`` and ``scale``.
    farthest
        float64 (2,): mean square deviation, in spreads, up to which an image is one of them.
    least_certainty
        float64 (2,): from which on it counts.
    """

    centre: _Array
    scale: _Array
    hidden: _Array
    hidden_bias: _Array
    output: _Array
    output_bias: _Array
    typical: _Array
    spread: _Array
    farthest: _Array
    least_certainty: _Array

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> "Weights":
        """Return the weights of a parsed file."""
        return cls(**{name: np.array(value) for name, value in data.items()})


@cache
def learnt() -> Weights:
    """Return the weights that travel with the product."""
    text = resources.files("dicom_io").joinpath(_WEIGHTS).read_text(encoding="utf-8")
    return Weights.from_mapping(json.loads(text))


def recognise(facts: SeriesFacts, limits: Limits | None = None) -> Recognition:
    """Decode a few frames of a volume and say what they show.

    Parameters
    ----------
    facts
        A sub-volume whose frames stack.
    limits
        How large it may be; checked before memory is taken.

    Raises
    ------
    SeriesError
        As :func:`dicom_io.decode.decode`.
    """
    limits = limits or Limits()
    stack = arrange(facts, limits)
    voxels = decode_frames(_spread(stack), limits)
    return judge(measure(voxels, stack.orientation, coverage_mm=stack.coverage_mm), learnt())


def _spread(stack: Stack) -> Sequence[tuple[InstanceFacts, FrameFacts]]:
    last = len(stack.frames) - 1
    return [stack.frames[index] for index in sorted({round(part * last / (FRAMES - 1)) for part in range(FRAMES)})]


def judge(measures: Measures, weights: Weights) -> Recognition:
    """Say what an image shows by its numbers.

    Parameters
    ----------
    measures
        From :func:`dicom_io.appearance.measure`.
    weights
        What was learnt.
    """
    standard = standardised(measures, weights)
    found = chances(standard, weights)
    best = int(np.argmax(found))
    likeliest = CLASSES[best]
    is_familiar = likeliest is not None and strangeness(standard, weights)[best] <= weights.farthest[best]
    return Recognition(
        likeliest=likeliest,
        certainty=float(found[best]),
        is_familiar=bool(is_familiar),
        least_certainty=1.0 if likeliest is None else float(weights.least_certainty[best]),
    )


def standardised(measures: Measures, weights: Weights) -> _Array:
    """Bring measures to zero mean and unit deviation; what is far out counts as four deviations."""
    return np.clip((measures - weights.centre) / weights.scale, -4, 4)


def chances(standard: _Array, weights: Weights) -> _Array:
    """Return how likely each of :data:`CLASSES` is, by the network alone: float64 (3,), sum 1."""
    scores = np.tanh(standard @ weights.hidden + weights.hidden_bias) @ weights.output + weights.output_bias
    raised = np.exp(scores - scores.max())
    likely: _Array = raised / raised.sum()
    return likely


def strangeness(standard: _Array, weights: Weights) -> _Array:
    """Return the mean square deviation from brains and from knees, in their spreads: float64 (2,)."""
    away: _Array = (((standard - weights.typical) / weights.spread) ** 2).mean(axis=1)
    return away
