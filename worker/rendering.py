"""From a volume to the grey frames that an engine sees, and from its boxes back to source pixels.

Made and undone in this one module: :func:`render` resizes, :func:`to_source` maps back with the same
:class:`sgmri.geometry.FrameScaling`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sgmri.errors import MalformedInstance, UnsupportedSeries
from sgmri.findings import Tracklet
from sgmri.geometry import FrameScaling
from sgmri.interfaces import Frames
from sgmri.questions import Answer
from sgmri.volume import Volume

_DARKEST_PERCENT = 0.5
"""Percentile of all voxels that becomes black."""
_BRIGHTEST_PERCENT = 99.9
"""Percentile of the tissue that becomes white: high, so that a small bright lesion keeps its profile."""
_BINS = 512


def render(volume: Volume, *, max_side: int = 512) -> Frames:
    """Render a volume as grey frames with square pixels, one window for all frames.

    Parameters
    ----------
    volume
        What to render.
    max_side
        Longest side of a model frame in pixels; larger frames are made smaller, smaller ones are left.

    Returns
    -------
    Frames
        A model pixel is as large as the smaller of the two pixel spacings (larger where ``max_side`` demands it).
        The source frame maps onto the whole model frame exactly; as a model frame has whole pixels, its pixels are
        square up to half a pixel over the length of a side.

    Raises
    ------
    MalformedInstance
        If a voxel is not a finite number.
    UnsupportedSeries
        If all voxels have the same value.
    """
    low, high = _window(volume.voxels)
    rows, columns, size_mm = _model_shape(volume, max_side)
    pixels = np.empty((len(volume.frames), rows, columns), np.uint8)
    for frame_index, source in enumerate(volume.voxels):
        grey = (source.astype(np.float64) - low) * (255.0 / (high - low))
        resized = _resized(np.clip(grey, 0.0, 255.0).astype(np.float32), rows, columns)
        pixels[frame_index] = np.rint(np.clip(resized, 0.0, 255.0)).astype(np.uint8)
    scaling = FrameScaling(
        scale_x=columns / volume.columns,
        scale_y=rows / volume.rows,
        source_rows=volume.rows,
        source_columns=volume.columns,
    )
    return Frames(
        pixels=pixels,
        scaling=scaling,
        pixel_size_mm=size_mm,
        slice_spacing_mm=volume.slice_spacing_mm,
        anatomy=volume.anatomy,
        plane=volume.orientation.plane,
        weighting=volume.weighting,
        fat_suppressed=volume.fat_suppressed,
    )


def to_source(answers: Sequence[Answer], frames: Frames) -> tuple[Answer, ...]:
    """Map the evidence of answers from model pixels to whole source pixels.

    Parameters
    ----------
    answers
        As the engine gave them, boxes in pixels of ``frames``.
    frames
        What the engine was given.

    Returns
    -------
    tuple of Answer
        The same answers in the same order; equal tracklets become one and the same tracklet.

    Raises
    ------
    InvalidGeometry
        If a box lies wholly outside its frame (:mod:`worker.engine.guard` lets none through).
    """
    mapped: dict[Tracklet, Tracklet] = {}
    for answer in answers:
        for tracklet in answer.evidence:
            if tracklet not in mapped:
                mapped[tracklet] = _tracklet_to_source(tracklet, frames.scaling)
    return tuple(replace(answer, evidence=tuple(mapped[t] for t in answer.evidence)) for answer in answers)


def _tracklet_to_source(tracklet: Tracklet, scaling: FrameScaling) -> Tracklet:
    findings = tuple(replace(finding, box=scaling.to_source(finding.box)) for finding in tracklet.findings)
    return replace(tracklet, findings=findings)


def _window(voxels: NDArray[np.float32]) -> tuple[float, float]:
    """Return the values that become black and white, the air around the patient left out of the upper one."""
    if not np.isfinite(voxels).all():
        raise MalformedInstance(
            "expected finite voxel values, found NaN or infinity: check the rescale and real-world value mapping of "
            "the source"
        )
    if voxels.size == 0 or voxels.min() == voxels.max():
        raise UnsupportedSeries(
            "expected an image with contrast, found one grey value in the whole volume: send the series again from "
            "the modality"
        )
    low = float(np.percentile(voxels, _DARKEST_PERCENT))
    # The brightest few voxels (spikes, inflow) must not stretch the histogram that separates air from tissue
    ceiling = float(np.percentile(voxels, _BRIGHTEST_PERCENT))
    tissue = voxels[voxels > _otsu(voxels, low, ceiling)] if ceiling > low else voxels[voxels > low]
    if tissue.size == 0:
        tissue = voxels
    high = float(np.percentile(tissue, _BRIGHTEST_PERCENT))
    if high <= low:
        return float(voxels.min()), float(voxels.max())
    return low, high


def _otsu(voxels: NDArray[np.float32], low: float, high: float) -> float:
    """Return the value between ``low`` and ``high`` that separates two classes best (Otsu 1979)."""
    counts, edges = np.histogram(voxels, bins=_BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    above = below[-1] - below
    weighted = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (weighted / below - (weighted[-1] - weighted) / above) ** 2
    return float(edges[1 + int(np.argmax(np.nan_to_num(between[:-1])))])


def _model_shape(volume: Volume, max_side: int) -> tuple[int, int, float]:
    """Return rows, columns and pixel size (mm) of the model frames."""
    row_mm, column_mm = volume.orientation.pixel_spacing_mm
    height_mm, width_mm = volume.rows * row_mm, volume.columns * column_mm
    size_mm = max(min(row_mm, column_mm), max(height_mm, width_mm) / max_side)
    # Rounding errors must not lift the longer side above its limit
    rows = min(max(round(height_mm / size_mm), 1), max_side)
    columns = min(max(round(width_mm / size_mm), 1), max_side)
    return rows, columns, size_mm


def _resized(frame: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Resize bilinearly about pixel centres: model centre i + 0.5 samples source (i + 0.5) / scale.

    Pillow's filter has this geometry, and widens when it makes smaller, so that nothing between the samples is lost.
    """
    if frame.shape == (rows, columns):
        return frame
    image = Image.fromarray(frame).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)
