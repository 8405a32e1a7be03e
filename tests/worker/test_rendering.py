from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sgmri.errors import InvalidGeometry, MalformedInstance, UnsupportedSeries
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.questions import Answer, Presence, QuestionKind
from sgmri.volume import Anatomy, FrameRef, Orientation, Volume, Weighting
from worker.rendering import render, to_source


def _volume(voxels: NDArray[np.float32], spacing_mm: tuple[float, float] = (1.0, 1.0)) -> Volume:
    return Volume(
        voxels=voxels.astype(np.float32),
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=f"1.2.3.{index}",
                frame_number=None,
                position_mm=(0.0, 0.0, 5.0 * index),
            )
            for index in range(len(voxels))
        ),
        orientation=Orientation(
            row_cosines=(1.0, 0.0, 0.0), column_cosines=(0.0, 1.0, 0.0), pixel_spacing_mm=spacing_mm
        ),
        slice_spacing_mm=5.0,
        frame_of_reference_uid="1.2.3",
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3",
        anatomy=Anatomy.BRAIN,
        weighting=Weighting.FLAIR,
        fat_suppressed=False,
    )


def _noise(rows: int, columns: int, frames: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(7).uniform(0, 900, (frames, rows, columns)).astype(np.float32)


def _present(*boxes: Box) -> Answer:
    findings = tuple(Finding(label="Mass", frame_index=index, box=box) for index, box in enumerate(boxes))
    return Answer(
        question_id="brain.any",
        kind=QuestionKind.DETECTION,
        presence=Presence.PRESENT,
        evidence=(Tracklet(tracklet_id="lesion-1", findings=findings),),
    )


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "max_side", "model_shape", "size_mm"),
    [
        ((64, 96), (0.9, 0.9), 512, (64, 96), 0.9),
        ((64, 96), (0.9, 0.6), 512, (96, 96), 0.6),
        ((96, 64), (0.6, 0.9), 512, (96, 96), 0.6),
        ((400, 200), (0.5, 0.5), 100, (100, 50), 2.0),
        ((120, 60), (1.0, 0.5), 60, (60, 15), 2.0),
    ],
)
def test_model_pixels_are_square(
    shape: tuple[int, int],
    spacing_mm: tuple[float, float],
    max_side: int,
    model_shape: tuple[int, int],
    size_mm: float,
) -> None:
    """A model frame covers the source frame in mm with square pixels, no longer than max_side."""
    frames = render(_volume(_noise(*shape), spacing_mm), max_side=max_side)
    assert frames.pixels.shape == (2, *model_shape)
    assert frames.pixels.dtype == np.uint8
    assert frames.pixel_size_mm == pytest.approx(size_mm)
    assert frames.scaling.scale_y * size_mm == pytest.approx(spacing_mm[0])
    assert frames.scaling.scale_x * size_mm == pytest.approx(spacing_mm[1])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(8, 90),
    st.integers(8, 90),
    st.floats(0.3, 2.0),
    st.floats(0.3, 2.0),
    st.integers(16, 128),
    st.data(),
)
def test_boxes_come_back_exactly(
    rows: int, columns: int, row_mm: float, column_mm: float, max_side: int, data: st.DataObject
) -> None:
    """A box that covers whole source pixels exactly is those pixels again after the way to the model and back."""
    frames = render(_volume(_noise(rows, columns, 1), (row_mm, column_mm)), max_side=max_side)
    x0, y0 = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, columns)), data.draw(st.integers(y0 + 1, rows))
    source = Box(x0=x0, y0=y0, x1=x1, y1=y1)
    (back,) = to_source([_present(frames.scaling.to_model(source))], frames)
    assert back.evidence[0].findings[0].box == source


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (1.0, 0.5), (0.5, 1.0)])
@pytest.mark.parametrize("max_side", [512, 24])
def test_pixels_and_boxes_use_the_same_map(spacing_mm: tuple[float, float], max_side: int) -> None:
    """What is bright on the model frame maps back to what was bright on the source frame."""
    voxels = np.full((1, 48, 48), 10, np.float32)
    voxels[0, 8:20, 28:36] = 500
    frames = render(_volume(voxels, spacing_mm), max_side=max_side)
    bright = frames.pixels[0] >= 128
    y, x = np.nonzero(bright)
    box = Box(x0=float(x.min()), y0=float(y.min()), x1=float(x.max() + 1), y1=float(y.max() + 1))
    (back,) = to_source([_present(box)], frames)
    assert back.evidence[0].findings[0].box == Box(x0=28, y0=8, x1=36, y1=20)


def test_window_is_one_monotone_map_for_all_frames() -> None:
    """A brighter voxel is never darker when rendered, whichever frames the two lie on."""
    voxels = _noise(40, 40, 3)
    frames = render(_volume(voxels))
    order = np.argsort(voxels.ravel(), kind="stable")
    assert (np.diff(frames.pixels.ravel()[order].astype(int)) >= 0).all()
    assert frames.pixels.min() == 0
    assert frames.pixels.max() == 255


def test_air_does_not_set_the_window() -> None:
    """Tissue uses most of the grey values even where nine tenths of the volume are air, and spikes do not dim it."""
    rng = np.random.default_rng(3)
    voxels = rng.normal(20, 5, (4, 100, 100)).astype(np.float32)
    voxels[:, 35:65, 35:65] = rng.normal(600, 80, (4, 30, 30))
    voxels[0, 40, 40] = 60_000
    tissue = render(_volume(voxels)).pixels[:, 36:64, 36:64]
    assert 130 < float(np.median(tissue)) < 220
    assert np.percentile(tissue, 95) - np.percentile(tissue, 5) > 50


def test_any_value_range_renders() -> None:
    """Negative values and a very narrow range use the same grey values as any other."""
    voxels = _noise(32, 32)
    reference = render(_volume(voxels)).pixels
    shifted = render(_volume(voxels * 0.25 - 4096)).pixels
    assert np.abs(reference.astype(int) - shifted).max() <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused(bad: float) -> None:
    """NaN and infinity are a malformed source, not black or white."""
    voxels = _noise(16, 16)
    voxels[1, 3, 4] = bad
    with pytest.raises(MalformedInstance, match="finite"):
        render(_volume(voxels))


def test_blank_volume_is_refused() -> None:
    """A volume of one grey value cannot be read, and is not read as normal."""
    with pytest.raises(UnsupportedSeries, match="one grey value"):
        render(_volume(np.full((2, 16, 16), 77, np.float32)))


def test_single_bright_voxel_is_still_an_image() -> None:
    """A volume that differs in a single voxel renders, with that voxel white."""
    voxels = np.zeros((1, 40, 40), np.float32)
    voxels[0, 5, 6] = 9
    pixels = render(_volume(voxels)).pixels
    assert pixels[0, 5, 6] == 255
    assert pixels.sum() == 255


def test_facts_of_the_series_go_along() -> None:
    """An engine is told spacing, anatomy, plane and contrast of the series."""
    frames = render(_volume(_noise(16, 16)))
    assert (frames.slice_spacing_mm, frames.anatomy, frames.plane.value) == (5.0, Anatomy.BRAIN, "axial")
    assert (frames.weighting, frames.fat_suppressed) == (Weighting.FLAIR, False)


def test_equal_tracklets_become_one() -> None:
    """Answers that rest on equal tracklets rest on one and the same after mapping, with all else untouched."""
    frames = render(_volume(_noise(30, 20), (1.0, 0.5)))
    one = _present(Box(x0=1, y0=2, x1=3, y1=4), Box(x0=1, y0=2, x1=5.5, y1=6))
    two = replace(_present(Box(x0=1, y0=2, x1=3, y1=4), Box(x0=1, y0=2, x1=5.5, y1=6)), question_id="other")
    plain = Answer(question_id="brain.summary", kind=QuestionKind.CAPTIONING, text="nothing to see")
    mapped = to_source([one, two, plain], frames)
    assert mapped[0].evidence[0] is mapped[1].evidence[0]
    assert mapped[0].evidence[0].findings[1].box == Box(x0=1, y0=1, x1=6, y1=3)
    assert mapped[1].question_id == "other"
    assert mapped[2] == plain


def test_box_off_the_frame_is_not_moved_onto_it() -> None:
    """A box wholly outside its frame raises instead of becoming some pixel at the edge."""
    frames = render(_volume(_noise(20, 20)))
    with pytest.raises(InvalidGeometry):
        to_source([_present(Box(x0=30, y0=0, x1=40, y1=5))], frames)
