"""Whether a model knows what it knows: calibration, and what abstaining buys.

Only answers that are right or wrong count (detection, counting, choices). What was not answered, or could not be
read, is never "wrong" here: it is coverage that the model gave up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import Numbers, expected_calibration_error
from benchmark.scoring.answers import ScoredAnswer
from benchmark.scoring.strict import Outcome

BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers of about the same certainty: how sure they were, and how many were right."""

    certainty: float
    accuracy: float
    answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """What a run shows of its certainties.

    Parameters
    ----------
    asked
        Questions that have a right answer.
    answered, sure
        Answers among them, and those that state a certainty.
    error
        Share of the answers that is wrong; NaN where there are none.
    ece
        Expected calibration error of those that state a certainty; NaN where none does.
    bins
        For the reliability plot.
    curve
        (coverage, risk): share of all questions answered when only the surest are, and the share of these that is
        wrong; answers without a certainty come last, together.
    area
        Mean risk over the coverage that the model reaches (area under the curve / its last coverage).
    """

    asked: int
    answered: int
    sure: int
    error: float
    ece: float
    bins: tuple[Bin, ...]
    curve: tuple[tuple[float, float], ...]
    area: float


def certainty(answers: Sequence[ScoredAnswer]) -> Certainty:
    """Return what the answers show of their certainties."""
    closed = [one for one in answers if _is_closed(one)]
    given = [one for one in closed if one.strict.outcome is Outcome.ANSWERED]
    right = np.array([one.strict.scores["accuracy"] == 1.0 for one in given], bool)
    stated = np.array([_stated(one) for one in given], float)
    sure = ~np.isnan(stated)
    curve = _curve(stated, right, len(closed))
    return Certainty(
        asked=len(closed),
        answered=len(given),
        sure=int(sure.sum()),
        error=float(1 - right.mean()) if len(given) else float("nan"),
        ece=expected_calibration_error(stated[sure], right[sure], bins=BINS),
        bins=_bins(stated[sure], right[sure]),
        curve=curve,
        area=_area(curve),
    )


def _is_closed(one: ScoredAnswer) -> bool:
    return "A" in one.published


def _stated(one: ScoredAnswer) -> float:
    value = one.prediction.certainty
    return float("nan") if value is None else value


def _bins(stated: Numbers, right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    place = np.minimum((stated * BINS).astype(int), BINS - 1)
    return tuple(
        Bin(
            certainty=float(stated[place == index].mean()),
            accuracy=float(right[place == index].mean()),
            answers=int((place == index).sum()),
        )
        for index in np.unique(place)
    )


def _curve(stated: Numbers, right: NDArray[np.bool_], asked: int) -> tuple[tuple[float, float], ...]:
    """Return a point for every certainty that occurs: equal ones cannot be told apart, so they go together."""
    order = np.argsort(-np.nan_to_num(stated, nan=-1.0), kind="stable")
    sorted_, wrong = stated[order], np.cumsum(~right[order])
    last = [
        place
        for place in range(len(order))
        if place + 1 == len(order) or (sorted_[place + 1] != sorted_[place] and not np.isnan(sorted_[place]))
    ]
    return tuple((float((place + 1) / asked), float(wrong[place] / (place + 1))) for place in last)


def _area(curve: Sequence[tuple[float, float]]) -> float:
    if not curve:
        return float("nan")
    coverage = np.array([0.0, *(point[0] for point in curve)])
    risk = np.array([point[1] for point in curve])
    return float((np.diff(coverage) * risk).sum() / coverage[-1])


def plot(found: Certainty, name: str, path: Path) -> None:
    """Draw the reliability diagram and the risk-coverage curve of a run as PNG.

    Parameters
    ----------
    found
        Of :func:`certainty`.
    name
        Of the run, for the title.
    path
        Where the picture goes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="grey", linestyle="dotted")
    left.plot([one.certainty for one in found.bins], [one.accuracy for one in found.bins], marker="o")
    for one in found.bins:
        left.annotate(f"n={one.answers}", (one.certainty, one.accuracy), textcoords="offset points", xytext=(4, -10))
    left.set(xlabel="stated certainty", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    left.set_title(name, parse_math=False)  # a name is no formula, whatever stands in it
    if found.curve:
        coverage, risk = zip((0.0, found.curve[0][1]), *found.curve, strict=True)
        right.step(coverage, risk, where="pre")
    right.set(xlabel="coverage (share of questions answered)", ylabel="risk (share that is wrong)")
    right.set(xlim=(0, 1), ylim=(0, 1), title="risk and coverage")
    figure.savefig(path, dpi=120)
