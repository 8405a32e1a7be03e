import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgmri.errors import ConfigError, InvalidGeometry
from sgmri.geometry import Box
from worker.engine.profiles import PROFILES, CoordinateSpace, PixelBudget, PromptProfile, from_mapping, to_mapping

_ROWS, _COLUMNS = 320, 260


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_a_profile_survives_json(profile: PromptProfile) -> None:
    """What a bundle stores is what comes back, key by key."""
    assert from_mapping(json.loads(json.dumps(to_mapping(profile)))) == profile


def test_the_profiles_are_what_the_weights_were_trained_on() -> None:
    """The published weights write pixels, the base model and ours thousandths; all count frames from 1."""
    assert {name: profile.coordinates for name, profile in PROFILES.items()} == {
        "sgmri": CoordinateSpace.RELATIVE_1000_XYXY,
        "sgmri-vqa-sft": CoordinateSpace.PIXEL_XYWH,
        "sgmri-vqa-sft-reference": CoordinateSpace.PIXEL_XYWH,
        "qwen3-vl": CoordinateSpace.RELATIVE_1000_XYXY,
    }
    assert {profile.frame_base for profile in PROFILES.values()} == {1}
    reference = PROFILES["sgmri-vqa-sft-reference"]
    assert reference.pixel_budget == PixelBudget(min_pixels=602_112, max_pixels=4_014_080)
    assert PROFILES["sgmri"].frame_naming == "Frame {number}: "
    assert reference.frame_naming == ""


def _broken(**changes: Any) -> dict[str, Any]:
    return to_mapping(PROFILES["sgmri"]) | changes


@pytest.mark.parametrize(
    ("mapping", "word"),
    [
        (_broken(colour="red"), "unknown keys"),
        (_broken(task_lines={"detection": "?"}), "missing"),
        (_broken(pixel_budget={"min_pixels": 1, "max_pixels": 2, "mean": 1}), "unknown keys"),
        (_broken(pixel_budget={"min_pixels": 3, "max_pixels": 2}), "min_pixels"),
        (_broken(pixel_budget=4), "expected a table"),
        (_broken(coordinates="pixels"), "expected one of"),
        (_broken(coordinates=1), "expected one of"),
        (_broken(frame_base=True), "expected int"),
        (_broken(frame_base=2), "0 or 1"),
        (_broken(answer_first=1), "expected bool"),
        (_broken(system="{frames.__class__}"), "may only use"),
        (_broken(system="{count!r}"), "may only use"),
        (_broken(system="{"), "no template"),
        (_broken(closing="<|im_end|>"), "special tokens"),
        (_broken(frame_texts={"detection": "{label}?", "localisation": "?"}), "may only use"),
        (_broken(frame_texts={"detection": "?"}), "missing"),
        (_broken(answer_format=to_mapping(PROFILES["sgmri"])["answer_format"] | {"box": "frame"}), "different"),  # type: ignore[operator]
    ],
)
def test_what_is_no_profile_is_refused(mapping: dict[str, Any], word: str) -> None:
    """An unknown, missing or unusable key stops the process with its name."""
    with pytest.raises(ConfigError, match=word):
        from_mapping(mapping)


def test_a_missing_key_is_refused() -> None:
    """A bundle says everything; there are no defaults to fall back on."""
    mapping = to_mapping(PROFILES["sgmri"])
    del mapping["coordinates"]
    with pytest.raises(ConfigError, match="coordinates"):
        from_mapping(mapping)


_EDGE_X = st.floats(0, _COLUMNS - 2)
_EDGE_Y = st.floats(0, _ROWS - 2)


@given(st.sampled_from(CoordinateSpace), _EDGE_X, _EDGE_Y, st.floats(1, _COLUMNS), st.floats(1, _ROWS))
def test_a_box_comes_back_within_rounding(space: CoordinateSpace, x0: float, y0: float, w: float, h: float) -> None:
    """Written and read back, every edge lies within half a unit, and whole units come back exactly."""
    box = Box(x0=x0, y0=y0, x1=min(x0 + w, _COLUMNS), y1=min(y0 + h, _ROWS))
    numbers = space.write(box, _ROWS, _COLUMNS)
    back = space.read(numbers, _ROWS, _COLUMNS)
    unit = max(_ROWS, _COLUMNS) / 1000 if space.is_relative else 1.0
    for edge, again in zip(box.as_tuple(), back.as_tuple(), strict=True):
        assert abs(edge - again) <= (0.5 + 1e-9) * unit
    assert space.write(back, _ROWS, _COLUMNS) == numbers


def test_the_spaces_mean_what_they_say() -> None:
    """The same numbers are four different boxes."""
    numbers = (100.0, 150.0, 200.0, 300.0)
    read = {space: space.read(numbers, 1000, 500).as_tuple() for space in CoordinateSpace}
    assert read == {
        CoordinateSpace.PIXEL_XYWH: (100, 150, 300, 450),
        CoordinateSpace.PIXEL_XYXY: (100, 150, 200, 300),
        CoordinateSpace.RELATIVE_1000_XYWH: (50, 150, 150, 450),
        CoordinateSpace.RELATIVE_1000_XYXY: (50, 150, 100, 300),
    }


@pytest.mark.parametrize(
    "numbers",
    [
        (math.nan, 0, 5, 5),
        (0, 0, math.inf, 5),
        (0, 0, 0, 5),
        (0, 0, 5, -5),
        (-2.5, 0, 9, 9),
        (0, 0, _COLUMNS + 2.5, 5),
        (0, _ROWS - 1, 5, 4),
        (_COLUMNS, 0, 2, 5),
        (-1.0, 0, 1, 5),
        (5, 5, 1e-9, 5),
        (1e308, 1e308, 1e308, 1e308),
    ],
)
def test_an_impossible_box_is_refused(numbers: tuple[float, float, float, float]) -> None:
    """Not finite, empty, or off the frame by more than two pixels: no box."""
    with pytest.raises(InvalidGeometry):
        CoordinateSpace.PIXEL_XYWH.read(numbers, _ROWS, _COLUMNS)


def test_a_rounding_error_is_clipped() -> None:
    """Up to two pixels beyond the frame are cut off."""
    box = CoordinateSpace.PIXEL_XYWH.read((-2, -1, _COLUMNS + 4, _ROWS + 3), _ROWS, _COLUMNS)
    assert box.as_tuple() == (0, 0, _COLUMNS, _ROWS)


def test_a_changed_profile_is_checked_again() -> None:
    """A profile cannot be built wrong by replacing a value either."""
    with pytest.raises(ConfigError):
        replace(PROFILES["sgmri"], frame_naming="Frame {count}")
