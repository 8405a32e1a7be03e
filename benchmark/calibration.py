"""Fit a model's calibration on volumes of its own: one temperature and shift a label, and the frames' threshold."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmark.heldout import Case
from benchmark.metrics import expected_calibration_error
from sgmri.catalogue import STANDARD
from sgmri.interfaces import ReadingControl
from sgmri.questions import Question, QuestionKind
from worker.engine.calibration import ANY, Calibration, Line
from worker.engine.conversation import Ask, Speaker

_LEAST_OF_EACH = 5
"""A label is calibrated only where so many volumes have it, and so many have not."""
_PRIOR = 0.25
"""How strongly the line is held near temperature 1 and shift 0: with few errors, certainty has no other bound."""

Odds = Mapping[str, list[tuple[float, bool]]]
"""Label -> (log-odds, whether it is there), one a volume."""


def gather(speaker: Speaker, cases: Iterable[Case], labels: Sequence[str]) -> Odds:
    """Return the log-odds of every yes/no question about volumes whose truth is known."""
    odds: dict[str, list[tuple[float, bool]]] = {}
    for case in cases:
        there = {tracklet.label for tracklet in case.truth}
        asked = [question for question in STANDARD[case.frames.anatomy].questions if _is_asked(question, labels)]
        conversation = speaker.open(case.frames, ReadingControl())
        try:
            weighed = conversation.weigh([Ask(question=question) for question in asked], ReadingControl())
        finally:
            conversation.close()
        for question, weights in zip(asked, weighed, strict=True):
            if weights is None:
                continue
            name = next((label for label in question.labels if label in labels), ANY)
            present = bool(there & set(question.labels)) if question.labels else bool(there)
            odds.setdefault(name, []).append((weights[0] - weights[1], present))
    return odds


def _is_asked(question: Question, labels: Sequence[str]) -> bool:
    if question.kind is not QuestionKind.DETECTION:
        return False
    return not question.labels or any(label in labels for label in question.labels)


def fit(odds: Odds, *, base: Calibration) -> Calibration:
    """Return the calibration with a fitted line for every label that has enough volumes of each kind.

    Parameters
    ----------
    odds
        Of :func:`gather`.
    base
        Everything but the lines.
    """
    lines = {}
    for label, pairs in odds.items():
        values = np.array([value for value, _ in pairs], dtype=np.float64)
        truth = np.array([present for _, present in pairs], dtype=bool)
        if min(int(truth.sum()), int((~truth).sum())) < _LEAST_OF_EACH:
            continue
        lines[label] = _line(values, truth)
    return Calibration(
        lines=MappingProxyType(lines),
        undecided=base.undecided,
        frame_threshold=base.frame_threshold,
        has_scope=base.has_scope,
        planes=base.planes,
    )


def _line(odds: NDArray[np.float64], truth: NDArray[np.bool_]) -> Line:
    """Fit a line to one half of the volumes for its error, and to all of them for use."""
    half = np.arange(len(odds)) % 2 == 0
    trial = _fitted(odds[half], truth[half])
    certainty, right = _judged(odds[~half], truth[~half], trial)
    temperature, shift = _fitted(odds, truth)
    return Line(
        temperature=round(temperature, 4),
        shift=round(shift, 4),
        volumes=len(odds),
        ece=round(expected_calibration_error(certainty, right), 4),
    )


def _judged(
    odds: NDArray[np.float64], truth: NDArray[np.bool_], line: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    chance = 1 / (1 + np.exp(-(odds / line[0] + line[1])))
    said = chance >= 0.5
    certainty: NDArray[np.float64] = np.where(said, chance, 1 - chance)
    right: NDArray[np.bool_] = said == truth
    return certainty, right


def _fitted(odds: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Return (temperature, shift) of the least penalised log-loss."""

    def loss(parameters: NDArray[np.float64]) -> float:
        slope, shift = float(np.exp(-parameters[0])), float(parameters[1])
        scaled = odds * slope + shift
        wrong = np.logaddexp(0, np.where(truth, -scaled, scaled)).sum()
        return float(wrong) + _PRIOR * float((parameters**2).sum())

    best = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6, "maxiter": 800}).x
    return float(np.exp(best[0])), float(best[1])
