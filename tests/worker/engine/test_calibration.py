import json
import math
from pathlib import Path

import pytest

from sgmri.errors import EngineError
from sgmri.questions import Presence
from worker.engine.calibration import ANY, Calibration, Line, read, to_json

_CALIBRATION = Calibration(
    lines={"Mass": Line(temperature=2.0, shift=-0.5, volumes=200, ece=0.01), ANY: Line(temperature=1.5)},
    frame_lines={"Mass": Line(temperature=1.2, shift=0.1, head=0.5, volumes=900, ece=0.02)},
    undecided=0.1,
    box_threshold=-1.5,
    snaps=True,
    frame_threshold=-0.3,
    scope_threshold=0.0,
    planes={"brain": ("axial",)},
)


def test_it_survives_the_file(tmp_path: Path) -> None:
    """What a bundle stores is what comes back."""
    (tmp_path / "calibration.json").write_text(to_json(_CALIBRATION), encoding="utf-8")
    assert read(tmp_path / "calibration.json") == _CALIBRATION


def test_a_line_scales_and_shifts_the_odds() -> None:
    """Odds of 4 at temperature 2 and shift -0.5 are a probability of sigmoid(1.5)."""
    verdict = _CALIBRATION.verdict(["Edema", "Mass"], 4.0)
    assert verdict.probability == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert verdict.presence is Presence.PRESENT
    assert verdict.calibrated
    assert verdict.certainty == verdict.probability


def test_without_a_line_odds_are_taken_as_they_are() -> None:
    """An uncalibrated label is decided at even odds and says that it is not calibrated."""
    verdict = _CALIBRATION.verdict(["Edema"], -3.0)
    assert verdict.presence is Presence.ABSENT
    assert not verdict.calibrated
    assert verdict.certainty == pytest.approx(1 / (1 + math.exp(-3)))


def test_near_one_half_nothing_is_decided() -> None:
    """Within the margin on either side of one half the verdict is undetermined."""
    assert _CALIBRATION.verdict(["Edema"], 0.3).presence is Presence.UNDETERMINED
    assert _CALIBRATION.verdict(["Edema"], -0.3).presence is Presence.UNDETERMINED
    assert Calibration().verdict(["Edema"], 0.001).presence is Presence.PRESENT


def test_certainty_never_is_certain() -> None:
    """Endless odds give neither 0 nor 1, and no overflow."""
    for odds in (1e9, -1e9):
        assert 0.999 < Calibration().verdict([ANY], odds).certainty < 1


@pytest.mark.parametrize(
    "change",
    [
        {"lines": {"Mass": {"temperature": 0.0, "shift": 0.0, "volumes": 1, "ece": None}}},
        {"lines": {"Mass": {"temperature": 1.0, "colour": 0.0}}},
        {"lines": []},
        {"frame_lines": {"Mass": {"temperature": 1.0, "head": math.nan}}},
        {"box_threshold": "low"},
        {"undecided": "much"},
        {"undecided": math.inf},
        {"planes": {"brain": 3}},
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """A temperature of nothing, an unknown key or a value of another type: no model is run with it."""
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(json.loads(to_json(_CALIBRATION)) | change), encoding="utf-8")
    with pytest.raises(EngineError, match="calibration"):
        read(file)


def test_a_missing_key_or_file_is_refused(tmp_path: Path) -> None:
    """Nothing is filled in."""
    with pytest.raises(EngineError):
        read(tmp_path / "calibration.json")
    (tmp_path / "calibration.json").write_text("{}", encoding="utf-8")
    with pytest.raises(EngineError):
        read(tmp_path / "calibration.json")


def test_the_head_counts_as_much_as_the_line_says() -> None:
    """What the head saw is added with its weight; without a head, or without a line, the words stand alone."""
    assert _CALIBRATION.on_frame("Mass", 1.2, 3.0) == pytest.approx(1.0 + 0.1 + 1.5)
    assert _CALIBRATION.on_frame("Mass", 1.2) == pytest.approx(1.1)
    assert _CALIBRATION.on_frame("Edema", 1.2, 3.0) == pytest.approx(1.2)
    assert _CALIBRATION.needs_head
    assert not Calibration(lines={"Mass": Line(temperature=2.0)}).needs_head
