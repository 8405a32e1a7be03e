from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sgmri.interfaces import Frames, ReadingControl
from tests.worker.engine.scripted import LACUNE, NO, PROFILE, WHITE_MATTER, YES, Pixels, Script, answer, frames, where
from worker.engine.auxiliary import Maps
from worker.engine.calibration import Calibration, Line
from worker.engine.conversation import Ask
from worker.engine.grounding import Grounded, Grounding, Sight, key_finding

_CONTROL = ReadingControl()
_A: Pixels = (40, 60, 52, 70)
_B: Pixels = (44, 62, 56, 74)
SHOWN = frames()


def _grounded(
    script: Script, *labels: str, threshold: float = 0.0, calibration: Calibration | None = None, shown: Frames = SHOWN
) -> Grounded:
    talk = script.open(shown, _CONTROL)
    grounding = Grounding(
        conversation=talk,
        frames=shown,
        profile=PROFILE,
        calibration=calibration or Calibration(frame_threshold=threshold),
        maps=talk.maps(),
        control=_CONTROL,
    )
    return grounding.ground(grounding.look(labels))


def _always(said: str) -> Callable[[Ask], object]:
    return lambda ask: said


def _boxes(found: Grounded) -> list[list[tuple[int, tuple[float, ...]]]]:
    return [[(f.frame_index, f.box.as_tuple()) for f in tracklet.findings] for tracklet in found.tracklets]


def test_only_frames_that_see_are_asked_where() -> None:
    """Every frame is asked whether, and only those that say yes are asked where."""
    script = Script(places={WHITE_MATTER: {2: [_A], 3: [_A]}})
    found = _grounded(script, WHITE_MATTER)
    assert [ask.frame_index for ask in script.weighed] == list(range(8))
    assert [ask.frame_index for ask in script.said] == [2, 3]
    assert _boxes(found) == [[(2, _A), (3, _A)]]
    assert found.words[found.tracklets[0].tracklet_id] == ("upper left of the image", "A bright focus.")


def test_a_single_missing_frame_is_closed() -> None:
    """A frame without a box between two that have one gets the mean box, and its own score."""
    places = {WHITE_MATTER: {2: [_A], 4: [_B]}}
    undecided = (-0.8, -0.6)
    script = Script(places=places, weigh_rule=lambda ask: undecided if ask.frame_index == 3 else None)
    (tracklet,) = _grounded(script, WHITE_MATTER).tracklets
    assert tracklet.frame_indices == (2, 3, 4)
    assert tracklet.findings[1].box.as_tuple() == (42, 61, 54, 72)
    assert tracklet.findings[1].score == pytest.approx(0.4502)


def test_a_denied_frame_is_not_closed() -> None:
    """Where the frame between surely denies the finding, no box is put there."""
    script = Script(
        places={WHITE_MATTER: {2: [_A], 4: [_B]}}, weigh_rule=lambda ask: NO if ask.frame_index == 3 else None
    )
    (tracklet,) = _grounded(script, WHITE_MATTER).tracklets
    assert tracklet.frame_indices == (2, 4)


def test_places_apart_are_findings_apart() -> None:
    """Two places on the same frames, and two labels in one place, are different tracklets with ids of their own."""
    far: Pixels = (150, 100, 165, 120)
    found = _grounded(
        Script(places={WHITE_MATTER: {1: [_A, far], 2: [_A, far]}, LACUNE: {2: [_A]}}), WHITE_MATTER, LACUNE
    )
    assert sorted(t.label for t in found.tracklets) == [LACUNE, WHITE_MATTER, WHITE_MATTER]
    assert len({t.tracklet_id for t in found.tracklets}) == 3


def test_a_place_said_twice_is_one() -> None:
    """Boxes of one answer that overlap strongly are one finding."""
    near: Pixels = (41, 61, 53, 71)
    assert _boxes(_grounded(Script(places={WHITE_MATTER: {2: [_A, near]}}), WHITE_MATTER)) == [[(2, _A)]]


def test_what_cannot_be_read_is_no_box() -> None:
    """An answer that is no JSON, names another frame or leaves the frame gives nothing, and no exception."""
    for said in (
        "not JSON",
        answer("here"),
        where(WHITE_MATTER, [_A], frame_number=3),
        where(WHITE_MATTER, [(0, 0, 300, 250)]),
    ):
        script = Script(places={WHITE_MATTER: {2: [_A]}}, say_rule=_always(said))
        assert _grounded(script, WHITE_MATTER).tracklets == ()


def test_labels_that_time_cut_off_are_named() -> None:
    """A box that was not reached in time makes its label unfinished."""

    def rule(ask: Ask) -> object:
        return ... if ask.question.labels == (LACUNE,) else None

    found = _grounded(Script(places={WHITE_MATTER: {2: [_A]}, LACUNE: {2: [_B]}}, say_rule=rule), WHITE_MATTER, LACUNE)
    assert found.unfinished == {LACUNE}
    assert [t.label for t in found.tracklets] == [WHITE_MATTER]


def test_the_threshold_decides_what_sees() -> None:
    """Frames count as seeing from the threshold on; undecided frames are no frames."""
    sight = Sight(label=WHITE_MATTER, log_odds={5: 1.0, 1: -0.2, 3: 0.0})
    assert sight.frames(0.0) == (3, 5)
    assert sight.frames(-1.0) == (1, 3, 5)
    script = Script(places={WHITE_MATTER: {2: [_A]}}, weigh_rule=lambda ask: ... if ask.frame_index == 2 else YES)
    assert all(2 not in tracklet.frame_indices for tracklet in _grounded(script, WHITE_MATTER).tracklets)


def test_the_largest_box_is_the_key() -> None:
    """A tracklet is shown best where its box is largest."""
    (tracklet,) = _grounded(Script(places={WHITE_MATTER: {2: [_A], 3: [_B]}}), WHITE_MATTER).tracklets
    assert key_finding(tracklet).frame_index == 3


def _maps(*hot: tuple[int, int, int]) -> Maps:
    """Return maps of 8 frames, 5 x 5 cells of 40 x 50 pixels: +4 where (frame, row, column) is hot, else -4."""
    log_odds = np.full((8, 5, 5, 1), -4.0, np.float32)
    for frame, row, column in hot:
        log_odds[frame, row, column, 0] = 4.0
    return Maps(labels=(WHITE_MATTER,), log_odds=log_odds)


def test_the_head_decides_with_the_words() -> None:
    """With a line that counts both, a frame that only one of them sees is decided by their sum."""
    line = Line(temperature=1.0, head=2.0)
    script = Script(places={WHITE_MATTER: {2: [_A], 3: [_A]}}, heads=_maps((2, 1, 0)))
    found = _grounded(script, WHITE_MATTER, calibration=Calibration(frame_lines={WHITE_MATTER: line}))
    assert [ask.frame_index for ask in script.said] == [2]
    assert found.sights[WHITE_MATTER].log_odds[2] == pytest.approx(YES[0] - YES[1] + 8)
    assert found.sights[WHITE_MATTER].log_odds[3] == pytest.approx(YES[0] - YES[1] - 8)


def test_a_box_that_the_head_denies_is_not_believed() -> None:
    """Of two boxes on a frame, the one that no suspicious cell touches is dropped; without a threshold both stay."""
    far: Pixels = (150, 100, 165, 120)
    script = Script(places={WHITE_MATTER: {2: [_A, far]}}, heads=_maps((2, 1, 0)))
    believed = _grounded(script, WHITE_MATTER, calibration=Calibration(box_threshold=0.0))
    assert _boxes(believed) == [[(2, _A)]]
    assert len(_grounded(script, WHITE_MATTER).tracklets) == 2


def test_boxes_are_drawn_onto_what_stands_out() -> None:
    """Two rough boxes about one bright spot become its box, once; the profile's words stay."""
    pixels = np.full((8, 200, 250), 80, np.uint8)
    pixels[2, 58:72, 40:56] = 200
    rough: Pixels = (38, 55, 52, 68)
    other: Pixels = (45, 62, 60, 76)
    script = Script(places={WHITE_MATTER: {2: [rough, other]}})
    found = _grounded(script, WHITE_MATTER, calibration=Calibration(snaps=True), shown=replace(SHOWN, pixels=pixels))
    assert _boxes(found) == [[(2, (40, 58, 56, 72))]]


def test_one_place_has_one_name() -> None:
    """Of two labels on the same boxes, the one that the head sees more of stays; without a head both do."""
    places = {WHITE_MATTER: {2: [_A], 3: [_A]}, LACUNE: {2: [_A], 3: [_A]}}
    log_odds = np.full((8, 5, 5, 2), 1.0, np.float32)
    log_odds[..., 1] = 3.0
    maps = Maps(labels=(WHITE_MATTER, LACUNE), log_odds=log_odds)
    found = _grounded(
        Script(places=places, heads=maps), WHITE_MATTER, LACUNE, calibration=Calibration(box_threshold=0.0)
    )
    assert [tracklet.label for tracklet in found.tracklets] == [LACUNE]
    assert len(_grounded(Script(places=places), WHITE_MATTER, LACUNE).tracklets) == 2


def test_what_is_seen_once_must_be_seen_well() -> None:
    """A box on a single frame that the head barely sees is noise; on two frames it is a finding."""
    maps = Maps(labels=(WHITE_MATTER,), log_odds=np.full((8, 5, 5, 1), 0.2, np.float32))
    calibration = Calibration(box_threshold=0.0)
    once = Script(places={WHITE_MATTER: {2: [_A]}}, heads=maps)
    twice = Script(places={WHITE_MATTER: {2: [_A], 3: [_A]}}, heads=maps)
    assert not _grounded(once, WHITE_MATTER, calibration=calibration).tracklets
    assert len(_grounded(twice, WHITE_MATTER, calibration=calibration).tracklets) == 1
