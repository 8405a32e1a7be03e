import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgmri.geometry import Box
from worker.engine.snapping import snap


def _frame(level: int = 90) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    return np.full((64, 80), level, np.uint8)


def _box(x0: float, y0: float, x1: float, y1: float) -> Box:
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


@pytest.mark.parametrize("level", [220, 10])
def test_a_rough_box_becomes_the_box_of_the_spot(level: int) -> None:
    """Bright or dark: what stands out within the box is what is meant, to the pixel."""
    frame = _frame()
    frame[20:32, 30:46] = level
    assert snap(frame, _box(27, 17.5, 43, 30)).as_tuple() == (30, 20, 46, 32)


def test_a_box_of_nothing_stays() -> None:
    """On even ground, and on noise without contrast, the box stays as it was said."""
    noise = np.random.default_rng(1).normal(90, 2, (64, 80)).astype(np.uint8)
    box = _box(20, 20, 30, 31)
    assert snap(_frame(), box) == box
    assert snap(noise, box) == box


def test_both_halves_of_a_pair_belong_to_it() -> None:
    """Two spots alike within one box, as the ventricles are, keep one box; a speck beside a spot does not widen it."""
    frame = _frame()
    frame[20:40, 30:38] = 20
    frame[20:40, 44:52] = 20
    assert snap(frame, _box(28, 18, 53, 42)).as_tuple() == (30, 20, 52, 40)
    frame = _frame()
    frame[24:36, 32:44] = 220
    frame[22:24, 47:49] = 220
    assert snap(frame, _box(30, 21, 50, 38)).as_tuple() == (32, 24, 44, 36)


def test_what_has_no_end_near_by_is_not_taken() -> None:
    """A stripe that runs out of the surroundings is no finding's edge."""
    frame = _frame()
    frame[24:28] = 230
    box = _box(30, 20, 40, 32)
    assert snap(frame, box) == box


def test_a_neighbour_is_not_taken() -> None:
    """A spot that the box only grazes is something else."""
    frame = _frame()
    frame[20:40, 44:60] = 230
    box = _box(20, 20, 40, 40)
    assert snap(frame, box) == box


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 78),
    st.floats(0, 62),
    st.floats(0.5, 40),
    st.floats(0.5, 40),
)
def test_whatever_is_shown_the_box_stays_on_the_frame(
    seed: int, x0: float, y0: float, width: float, height: float
) -> None:
    """Any pixels, any box at any edge: no error, and a box within the frame."""
    frame = np.random.default_rng(seed).integers(0, 256, (64, 80), dtype=np.uint8)
    drawn = snap(frame, _box(x0, y0, min(80.0, x0 + width), min(64.0, y0 + height)))
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= 80 and drawn.y1 <= 64
