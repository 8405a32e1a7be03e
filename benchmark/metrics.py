"""Scores of answers: boxes as published and strictly, ranking, calibration, and how sure a score is.

Pure functions of boxes and numbers; nothing here knows a model or a file. The published V-score counts what was
found and lets extra boxes be free; the strict one counts them (arXiv 2604.15808, and our report on its scoring).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from sgmri.findings import Finding

Numbers = NDArray[np.float64]
"""float64 (samples,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Boxes of the truth and of an answer, matched for the largest sum of overlaps.

    Parameters
    ----------
    truth, predicted
        How many boxes there are.
    overlaps
        IoU of each matched pair, above 0.
    """

    truth: int
    predicted: int
    overlaps: tuple[float, ...]

    @property
    def published_v(self) -> float:
        """Sum of overlaps over the boxes of the truth: extra boxes are free. NaN where there is no truth."""
        return sum(self.overlaps) / self.truth if self.truth else float("nan")

    @property
    def strict_v(self) -> float:
        """Sum of overlaps over all boxes, matched ones once: extra boxes cost. 1 where both have none."""
        boxes = self.truth + self.predicted - len(self.overlaps)
        return sum(self.overlaps) / boxes if boxes else 1.0


def iou_table(
    truth: Sequence[tuple[float, float, float, float]], predicted: Sequence[tuple[float, float, float, float]]
) -> NDArray[np.float64]:
    """Return the intersection over union of every pair of boxes.

    Parameters
    ----------
    truth, predicted
        Edges x0, y0, x1, y1 in one pixel space; a box without an inside overlaps nothing.

    Returns
    -------
    float64 (truth, predicted), 0 to 1.
    """
    a = np.asarray(truth, float).reshape(-1, 1, 4)
    b = np.asarray(predicted, float).reshape(1, -1, 4)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    shared: NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    areas = [np.prod(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None), axis=-1) for boxes in (a, b)]
    shared /= np.maximum(areas[0] + areas[1] - shared, np.finfo(float).tiny)
    return shared


def match(truth: Sequence[Finding], predicted: Sequence[Finding], *, labels: bool = True) -> Matched:
    """Match boxes of the same frame (and label) one to one.

    Parameters
    ----------
    truth, predicted
        Boxes in one pixel space.
    labels
        Whether a match needs the same label; the published score does not look at it.
    """
    table = iou_table([real.box.as_tuple() for real in truth], [said.box.as_tuple() for said in predicted])
    for key in ("frame_index", "label") if labels else ("frame_index",):
        real_keys, said_keys = ([getattr(one, key) for one in some] for some in (truth, predicted))
        table *= np.equal.outer(np.array(real_keys, dtype=object), np.array(said_keys, dtype=object)).astype(bool)
    overlaps = table[linear_sum_assignment(-table)]
    return Matched(
        truth=len(truth), predicted=len(predicted), overlaps=tuple(float(value) for value in overlaps if value > 0)
    )


def auroc(probabilities: Sequence[float] | Numbers, outcomes: Sequence[bool] | NDArray[np.bool_]) -> float:
    """Return the area under the receiver operating curve: how often a yes ranks above a no. NaN without both."""
    chance, truth = np.asarray(probabilities, float), np.asarray(outcomes, bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(chance)
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def expected_calibration_error(
    certainties: Sequence[float] | Numbers, right: Sequence[bool] | NDArray[np.bool_], *, bins: int = 15
) -> float:
    """Return the mean distance between how sure answers are and how often they are right (Naeini 2015).

    Parameters
    ----------
    certainties
        0 to 1, of the answer that was given.
    right
        Whether it was right.
    bins
        Of equal width.
    """
    certainty, truth = np.asarray(certainties, float), np.asarray(right, bool)
    if not len(certainty):
        return float("nan")
    place = np.minimum((certainty * bins).astype(int), bins - 1)
    total = 0.0
    for index in range(bins):
        inside = place == index
        if inside.any():
            total += abs(float(certainty[inside].mean()) - float(truth[inside].mean())) * int(inside.sum())
    return total / len(certainty)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A score and the range that 95 % of resampled examinations fall into."""

    value: float
    low: float
    high: float
    samples: int

    def __str__(self) -> str:
        """Return it as it stands in a table."""
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    score: Callable[[NDArray[np.int64]], float], volumes: int, *, rounds: int = 1000, seed: int = 0
) -> Interval:
    """Return a score with its 95 % interval over resampled volumes.

    Parameters
    ----------
    score
        The score of some volumes, by their places; may be NaN where it cannot be told.
    volumes
        How many there are.
    rounds, seed
        Of the resampling.
    """
    rng = np.random.default_rng(seed)
    everything = np.arange(volumes)
    drawn = [score(rng.integers(0, volumes, volumes)) for _ in range(rounds)] if volumes else []
    kept = np.array([value for value in drawn if not np.isnan(value)])
    low, high = (float(edge) for edge in np.quantile(kept, [0.025, 0.975])) if len(kept) else (float("nan"),) * 2
    return Interval(value=score(everything) if volumes else float("nan"), low=low, high=high, samples=volumes)


def bootstrap_mean(values: Sequence[float], volumes: Sequence[str], *, rounds: int = 1000, seed: int = 0) -> Interval:
    """Return a mean with its 95 % interval over resampled volumes; fast, for thousands of samples.

    Parameters
    ----------
    values
        One a sample.
    volumes
        Which volume each sample is of: the samples of one volume are drawn together, for they are alike.
    rounds, seed
        Of the resampling.
    """
    if not values:
        return Interval(value=float("nan"), low=float("nan"), high=float("nan"), samples=0)
    sample, (names, place) = np.asarray(values, float), np.unique(np.asarray(volumes), return_inverse=True)
    sums, counts = np.bincount(place, sample), np.bincount(place)
    weights = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), rounds)
    low, high = np.quantile((weights @ sums) / (weights @ counts), [0.025, 0.975])
    return Interval(value=float(sample.mean()), low=float(low), high=float(high), samples=len(values))
