"""Calibration: lines that make certainty meet truth, and thresholds that are tried through the engine."""

import numpy as np
import pytest

from benchmark.calibration import Evidence, Point, fit, gather, tuned
from benchmark.heldout import Case, tracklets, volumes
from benchmark.recorded import RecordedSpeaker
from benchmark.training.examples import LABELS
from benchmark.training.lesions import Planted
from sgmri.catalogue import STANDARD
from sgmri.interfaces import ReadingControl
from sgmri.volume import Anatomy
from tests.worker.engine.scripted import MASS, NO, PROFILE, WHITE_MATTER, YES, Script, card, frames
from worker.engine.auxiliary import Maps
from worker.engine.calibration import ANY, Calibration, Line
from worker.engine.grounded import GroundedEngine

_BASE = Calibration(undecided=0.02, scope_threshold=0.0)


def _points(seed: int, count: int, *, words: float, head: float) -> list[Point]:
    """Return points whose words and head are right so often, each as sure as the other."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        truth = bool(rng.random() < 0.5)
        said, seen = (
            (6.0 if (rng.random() < right) == truth else -6.0) + float(rng.normal(0, 0.5)) for right in (words, head)
        )
        made.append(Point(said, seen, truth))
    return made


def test_lines_are_fitted_where_there_is_enough() -> None:
    """Odds that are too sure are cooled down, so that certainty meets truth; a rare label gets no line."""
    points = [Point(p.said, None, p.truth) for p in _points(0, 400, words=0.8, head=0.5)]
    evidence = Evidence(volumes=[{MASS: p} for p in points], frames={"Edema": points[:6]})
    fitted = fit(evidence, base=_BASE)
    assert set(fitted.lines) == {MASS}
    assert not fitted.frame_lines
    line = fitted.lines[MASS]
    assert line.probability(6.0) == pytest.approx(0.8, abs=0.05)
    assert line.head == 0
    assert line.ece is not None and line.ece < 0.12
    assert (fitted.undecided, fitted.scope_threshold) == (0.02, 0.0)


def test_what_is_stranger_than_every_known_volume_is_not_recognised() -> None:
    """The threshold lies below the least familiar volume; few volumes, or a model that was never taught, set none."""
    known = [5.0 + number / 10 for number in range(30)]
    assert fit(Evidence(volumes=[], frames={}, recognised=known), base=_BASE).scope_threshold == 4.0
    assert fit(Evidence(volumes=[], frames={}, recognised=[0.3] * 30), base=_BASE).scope_threshold == 0.0
    assert fit(Evidence(volumes=[], frames={}, recognised=known[:5]), base=_BASE).scope_threshold == 0.0
    assert fit(Evidence(volumes=[], frames={}, recognised=known), base=Calibration()).scope_threshold is None


def test_the_better_witness_counts_more() -> None:
    """Of words that are right in two of three cases and a head that is right in nine of ten, the head decides."""
    points = _points(1, 600, words=0.66, head=0.9)
    line = fit(Evidence(volumes=[{MASS: p} for p in points], frames={}), base=_BASE).lines[MASS]
    assert line.head > 1 / line.temperature > 0
    assert line.probability(6.0, -6.0) < 0.5 < line.probability(-6.0, 6.0)


def test_anything_rests_on_every_finding() -> None:
    """Whether there is anything is weighed with the surest finding, where the words alone do not know."""
    volumes = [
        {ANY: Point(0.0, None, p.truth), MASS: p, "Edema": Point(-6.0, -6.0, False)}
        for p in _points(2, 300, words=0.95, head=0.95)
    ]
    fitted = fit(Evidence(volumes=volumes, frames={}), base=_BASE)
    assert fitted.lines[ANY].head > 0.3
    assert fitted.verdict([ANY], 0.0, 5.0).probability > 0.8
    assert fitted.verdict([ANY], 0.0, -5.0).probability < 0.2


def _case() -> Case:
    boxes = {2: (40, 60, 60, 80), 3: (40, 60, 60, 80)}
    return Case(name="one", frames=frames(), truth=tracklets([Planted(label=WHITE_MATTER, boxes=boxes)]))


def test_everything_is_gathered_with_its_truth() -> None:
    """Each yes/no question of known labels, each frame of what is there or suspected: words, head and truth."""
    log_odds = np.full((8, 5, 5, 2), -3.0, np.float32)
    log_odds[2, 1, 1, 0] = 2.0
    script = Script(
        places={WHITE_MATTER: {2: [(40, 60, 60, 80)], 3: [(40, 60, 60, 80)]}},
        weigh_rule=lambda ask: NO if ask.frame_index == 3 else None,
        heads=Maps(labels=(WHITE_MATTER, MASS), log_odds=log_odds),
    )
    evidence = gather(script, PROFILE, [_case()], (WHITE_MATTER, MASS))
    yes, no = YES[0] - YES[1], NO[0] - NO[1]
    assert set(evidence.labels) == {WHITE_MATTER, MASS}
    assert evidence.of(WHITE_MATTER) == [Point(pytest.approx(yes), pytest.approx(-0.5), True)]  # type: ignore[arg-type]
    assert evidence.of(MASS) == [Point(pytest.approx(no), -3.0, False)]  # type: ignore[arg-type]
    assert evidence.of(ANY)[0].truth and evidence.of(ANY)[0].seen is None
    assert set(evidence.frames) == {WHITE_MATTER}
    shown = evidence.frames[WHITE_MATTER]
    assert [point.truth for point in shown] == [frame in (2, 3) for frame in range(8)]
    assert [point.seen for point in shown] == [2.0 if frame == 2 else -3.0 for frame in range(8)]
    assert shown[3].said == pytest.approx(no)


def test_thresholds_are_chosen_that_ground_best() -> None:
    """A model that sees its lesion on too many frames, and a second one that is not there: both are tuned away."""
    near = (-1.0, -0.6)
    log_odds = np.full((8, 5, 5, 1), -4.0, np.float32)
    log_odds[:, 1, 1] = 4.0
    script = Script(
        places={WHITE_MATTER: {frame: [(40, 60, 60, 80), (150, 100, 170, 120)] for frame in range(8)}},
        weigh_rule=lambda ask: near if ask.frame_index not in (None, 2, 3) else None,
        heads=Maps(labels=(WHITE_MATTER,), log_odds=log_odds),
    )
    start = Calibration(scope_threshold=0.0, lines={WHITE_MATTER: Line(temperature=1.0, head=0.1)})
    chosen = tuned(script, card(WHITE_MATTER, calibration=start), [_case()], (WHITE_MATTER,))
    assert chosen.frame_threshold == 0.0
    assert chosen.box_threshold is not None


def test_a_question_is_asked_once() -> None:
    """The same volume read twice through a recorded speaker: opened once, and the second reading is the same."""
    script = Script(places={WHITE_MATTER: {2: [(40, 60, 60, 80)]}})
    recorded = RecordedSpeaker(script)
    shown = frames()
    engine = GroundedEngine(recorded, card())
    questions = STANDARD[Anatomy.BRAIN]
    first = engine.answer(shown, questions, ReadingControl())
    asked = len(script.weighed), len(script.said)
    assert engine.answer(shown, questions, ReadingControl()) == first
    assert (len(script.weighed), len(script.said)) == asked
    assert script.opened == script.closed == 1
    assert engine.answer(frames(9), questions, ReadingControl()) != ()
    assert script.opened == 2
    recorded.close()
    engine.answer(shown, questions, ReadingControl())
    assert script.opened == 3


def test_held_out_volumes_are_gathered() -> None:
    """Through the whole path of a synthetic volume: every label that is there has a true point."""
    case = next(case for case in volumes(2, seed=5, backgrounds=False) if case.truth)
    evidence = gather(Script(weigh_rule=lambda ask: YES), PROFILE, [case], LABELS)
    there = {tracklet.label for tracklet in case.truth}
    assert {label for label in evidence.labels if evidence.of(label)[0].truth} == there & set(evidence.labels)
    assert evidence.of(ANY)[0].truth
