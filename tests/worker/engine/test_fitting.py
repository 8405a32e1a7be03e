import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgmri.errors import InvalidGeometry
from worker.engine.fitting import fit, fitted_size
from worker.engine.profiles import PROFILES, PixelBudget

_OURS = PixelBudget(min_pixels=49_152, max_pixels=65_536)


@pytest.mark.parametrize(
    ("shape", "budget", "expected"),
    [
        ((256, 256), _OURS, (256, 256)),
        ((320, 320), _OURS, (256, 256)),
        ((512, 460), _OURS, (256, 224)),
        ((128, 128), _OURS, (224, 224)),
        ((320, 320), PROFILES["sgmri-vqa-sft"].pixel_budget, (320, 320)),
        ((320, 320), PROFILES["sgmri-vqa-sft-reference"].pixel_budget, (800, 800)),
        ((256, 256), PROFILES["sgmri-vqa-sft-reference"].pixel_budget, (800, 800)),
        ((512, 512), PROFILES["sgmri-vqa-sft"].pixel_budget, (512, 512)),
    ],
)
def test_sizes_are_those_of_the_published_processor(
    shape: tuple[int, int], budget: PixelBudget, expected: tuple[int, int]
) -> None:
    """Frames of known sizes become what Qwen's own processor makes of them: 625 tokens in the reference budget."""
    assert fitted_size(*shape, budget, block=32) == expected


@given(st.integers(40, 700), st.integers(40, 700))
def test_any_frame_fits_the_budget(rows: int, columns: int) -> None:
    """Whole blocks, at most the budget's pixels, and nearly the frame's own shape."""
    down, across = fitted_size(rows, columns, _OURS, block=32)
    assert down % 32 == across % 32 == 0
    assert down * across <= _OURS.max_pixels * 1.35  # growing rounds up, as the original does
    assert abs(np.log((down / across) / (rows / columns))) < np.log(1.9)


def test_the_original_processor_agrees() -> None:
    """For a sweep of sizes, the size is the one that transformers' own function returns."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    for rows in range(48, 640, 37):
        for columns in range(48, 640, 53):
            if rows * columns >= 2048:
                theirs = smart_resize(
                    rows, columns, factor=32, min_pixels=_OURS.min_pixels, max_pixels=_OURS.max_pixels
                )
                assert fitted_size(rows, columns, _OURS, block=32) == tuple(theirs)


def test_frames_that_fit_are_left_alone() -> None:
    """No copy where nothing changes; else every frame is resized by itself."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 256, 256), dtype=np.uint8)
    assert fit(frames, _OURS, block=32) is frames
    small = fit(frames[:, :128, :128], _OURS, block=32)
    assert small.shape == (3, 224, 224)
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small[1], fit(frames[1:2, :128, :128], _OURS, block=32)[0])


def test_a_place_stays_where_it_is() -> None:
    """A bright square keeps its relative place: boxes in thousandths of the frame need no map."""
    frames = np.zeros((1, 320, 320), np.uint8)
    frames[0, 80:160, 160:240] = 255
    rows, columns = np.nonzero(fit(frames, _OURS, block=32)[0] > 127)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (64, 128, 128, 192)


def test_a_line_is_no_frame() -> None:
    """Frames more than 200 times as long as wide are refused, as the original refuses them."""
    with pytest.raises(InvalidGeometry):
        fitted_size(1, 300, _OURS, block=32)
