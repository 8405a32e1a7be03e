"""Fit a model's calibration on volumes of its own.

First one line a label, for the volume and for single frames: how much the language model's log-odds count, and how
much the auxiliary head's. Then the thresholds of grounding, tried through the engine itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmark.evaluation import Sample, examine
from benchmark.heldout import Case
from benchmark.metrics import expected_calibration_error
from sgmri.catalogue import STANDARD
from sgmri.interfaces import ReadingControl
from sgmri.questions import QuestionKind
from worker.engine.calibration import ANY, Calibration, Line
from worker.engine.controls import scope
from worker.engine.conversation import Ask, Conversation, Speaker
from worker.engine.grounded import Card, GroundedEngine
from worker.engine.grounding import Grounding
from worker.engine.profiles import PromptProfile

_LEAST_OF_EACH = 5
"""A label is calibrated only where so many volumes (or frames) have it, and so many have not."""
_PRIOR = 0.25
"""How strongly a line is held near temperature 1, shift 0 and head 0: with few errors, certainty has no other bound."""
_SUSPICIOUS = 0.0
"""A finding that is not there is looked for on frames where words and head together give it more log-odds than this."""
_LEAST_RECOGNISED = 20
_SCOPE_MARGIN = 1.0
FRAME_THRESHOLDS = (-1.0, 0.0)
BOX_THRESHOLDS = (None, -1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Point:
    """One question whose answer is known: log-odds of the language model and of the head, and the truth."""

    said: float
    seen: float | None
    truth: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a model says where the truth is known.

    Parameters
    ----------
    volumes
        Of each volume: label (or :data:`ANY`) -> its question.
    frames
        Label -> single frames.
    recognised
        Of each volume: the log-odds with which the model recognises the organ.
    """

    volumes: Sequence[Mapping[str, Point]]
    frames: Mapping[str, Sequence[Point]]
    recognised: Sequence[float] = ()

    def of(self, label: str) -> list[Point]:
        """Return what was said of a label, one point a volume."""
        return [volume[label] for volume in self.volumes if label in volume]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that were asked for, without :data:`ANY`."""
        return tuple(dict.fromkeys(label for volume in self.volumes for label in volume if label != ANY))


def gather(speaker: Speaker, profile: PromptProfile, cases: Iterable[Case], labels: Sequence[str]) -> Evidence:
    """Ask every yes/no question about volumes, and of what is there or suspected every frame.

    Parameters
    ----------
    speaker, profile
        Of the model.
    cases
        Volumes whose truth is known.
    labels
        That the model was taught.
    """
    volumes: list[Mapping[str, Point]] = []
    frames: dict[str, list[Point]] = {}
    recognised: list[float] = []
    for case in cases:
        conversation = speaker.open(case.frames, ReadingControl())
        try:
            (known,) = conversation.weigh([Ask(question=scope(case.frames.anatomy))], ReadingControl())
            if known is not None:
                recognised.append(known[0] - known[1])
            points = _of_volume(conversation, case, labels)
            volumes.append(points)
            suspected = [
                label
                for label, point in points.items()
                if label != ANY and (point.truth or point.said + (point.seen or 0.0) > _SUSPICIOUS)
            ]
            for label, point in _of_frames(conversation, case, suspected, profile):
                frames.setdefault(label, []).append(point)
        finally:
            conversation.close()
    return Evidence(volumes=volumes, frames=frames, recognised=recognised)


def _of_volume(conversation: Conversation, case: Case, labels: Sequence[str]) -> dict[str, Point]:
    there = {tracklet.label for tracklet in case.truth}
    asked = [
        question
        for question in STANDARD[case.frames.anatomy].questions
        if question.kind is QuestionKind.DETECTION and question.concerns(labels)
    ]
    maps = conversation.maps()
    weighed = conversation.weigh([Ask(question=question) for question in asked], ReadingControl())
    points = {}
    for question, weights in zip(asked, weighed, strict=True):
        if weights is not None:
            known = [label for label in question.labels if label in labels]
            truth = bool(there & set(question.labels)) if question.labels else bool(there)
            seen = maps.on_volume(known) if maps is not None and known else None
            points[(known or [ANY])[0]] = Point(weights[0] - weights[1], seen, truth)
    return points


def _of_frames(
    conversation: Conversation, case: Case, labels: Sequence[str], profile: PromptProfile
) -> Iterator[tuple[str, Point]]:
    there = {(finding.label, finding.frame_index) for tracklet in case.truth for finding in tracklet.findings}
    grounding = Grounding(
        conversation=conversation,
        frames=case.frames,
        profile=profile,
        calibration=Calibration(),
        maps=conversation.maps(),
        control=ReadingControl(),
    )
    for glance in grounding.glances(labels):
        yield glance.label, Point(glance.said, glance.seen, (glance.label, glance.frame_index) in there)


def fit(evidence: Evidence, *, base: Calibration) -> Calibration:
    """Return the calibration with a fitted line for every label that has enough of each kind.

    Parameters
    ----------
    evidence
        Of :func:`gather`.
    base
        Everything but the lines.
    """
    lines = _lines({label: evidence.of(label) for label in evidence.labels})
    anything = [replace(volume[ANY], seen=_highest(volume, lines)) for volume in evidence.volumes if ANY in volume]
    return replace(
        base,
        lines=MappingProxyType(lines | _lines({ANY: anything})),
        frame_lines=MappingProxyType(_lines(evidence.frames)),
        scope_threshold=_scope_threshold(evidence.recognised, base),
    )


def _scope_threshold(recognised: Sequence[float], base: Calibration) -> float | None:
    """Return a little less than the log-odds of the least familiar volume: what is stranger than that is not read."""
    if base.scope_threshold is None or len(recognised) < _LEAST_RECOGNISED:
        return base.scope_threshold
    return round(max(base.scope_threshold, min(recognised) - _SCOPE_MARGIN), 2)


def _highest(volume: Mapping[str, Point], lines: Mapping[str, Line]) -> float | None:
    """Return the highest calibrated log-odds of any label, as the engine weighs "anything" with."""
    calibration = Calibration(lines=lines)
    return max(
        (calibration.on_volume([label], point.said, point.seen) for label, point in volume.items() if label != ANY),
        default=None,
    )


def tuned(speaker: Speaker, card: Card, cases: Sequence[Case], labels: Sequence[str]) -> Calibration:
    """Return the card's calibration with the thresholds that ground best, then with boxes snapped or not.

    Parameters
    ----------
    speaker
        Of the model; one that remembers, for this asks the same again and again.
    card
        With fitted lines.
    cases, labels
        As for :func:`gather`.
    """
    abnormal = [case for case in cases if case.truth]
    if not abnormal:
        return card.calibration

    def worth(one: Calibration) -> float:
        return _worth(examine(GroundedEngine(speaker, replace(card, calibration=one)), abnormal, labels))

    box_thresholds = BOX_THRESHOLDS if card.calibration.needs_head else (None,)
    thresholds = product(FRAME_THRESHOLDS, box_thresholds)
    chosen = max((replace(card.calibration, frame_threshold=f, box_threshold=b) for f, b in thresholds), key=worth)
    return max((replace(chosen, snaps=snaps) for snaps in (True, False)), key=worth)


def _worth(samples: Sequence[Sample]) -> float:
    """Return what grounding is tuned for: boxes that fit, without extra ones, and as many findings as there are."""
    return float(np.mean([sample.strict_v + bool(sample.lesions_right) for sample in samples]))


def _lines(points: Mapping[str, Sequence[Point]]) -> dict[str, Line]:
    lines = {}
    for label, some in points.items():
        truth = np.array([point.truth for point in some], dtype=bool)
        if min(int(truth.sum()), int((~truth).sum())) >= _LEAST_OF_EACH:
            odds = np.array([(point.said, 0.0 if point.seen is None else point.seen) for point in some])
            lines[label] = _line(odds, truth)
    return lines


def _line(odds: NDArray[np.float64], truth: NDArray[np.bool_]) -> Line:
    """Fit a line to one half for its error, and to all for use; ``odds``: float64 (points, 2), said and seen."""
    half = np.arange(len(odds)) % 2 == 0
    trial = _fitted(odds[half], truth[half])
    chance = np.array([trial.probability(said, seen) for said, seen in odds[~half]])
    certainty = np.maximum(chance, 1 - chance)
    error = expected_calibration_error(certainty, (chance >= 0.5) == truth[~half])
    return replace(_fitted(odds, truth), volumes=len(odds), ece=round(error, 4))


def _fitted(odds: NDArray[np.float64], truth: NDArray[np.bool_]) -> Line:
    """Return the line of the least penalised log-loss."""

    def loss(parameters: NDArray[np.float64]) -> float:
        scaled = odds[:, 0] * np.exp(-parameters[0]) + odds[:, 1] * parameters[2] + parameters[1]
        wrong = np.logaddexp(0, np.where(truth, -scaled, scaled)).sum()
        return float(wrong) + _PRIOR * float((parameters**2).sum())

    most = 0.0 if not odds[:, 1].any() else 10.0
    best = minimize(loss, np.zeros(3), method="L-BFGS-B", bounds=[(-3, 3), (-30, 30), (0.0, most)]).x
    return Line(
        temperature=round(float(np.exp(best[0])), 4), shift=round(float(best[1]), 4), head=round(float(best[2]), 4)
    )
