"""The shape of one blob: grown around its core to half of its amplitude, and measured."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sgmri.geometry import Box
from worker.engine.regions import Image, Mask, largest_piece

_TOP_PERCENT = 85
"""Percentile of a blob's contrast that counts as its top: below the noise peaks."""
_HALF_PASSES = 3
_RING_MM = (1.5, 5.0)
"""From and to which distance the surroundings of a blob are looked at, in the plane."""
RING_REACH_MM = _RING_MM[1]
"""How far around a blob its surroundings reach, in the plane."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """A blob at half amplitude, and how it stands out.

    Parameters
    ----------
    mask
        bool (frames, rows, columns), in its window.
    amplitude
        From its surroundings to its top, as a fraction of the local background.
    isolation
        Fraction of its surroundings that lies below half of its amplitude.
    """

    mask: Mask
    amplitude: float
    isolation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """A shape in numbers.

    Parameters
    ----------
    boxes
        Frame index and tight box (whole pixels) on every frame, in its window, ascending.
    longest_mm, shortest_mm
        Longest side of all its boxes; shorter side of the box on the frame that shows most of it.
    fill
        Fraction of its box that it fills on that frame.
    solidity
        Fraction that it fills of the block around it over all frames (an ellipsoid fills 0.52, a shell little).
    elongation
        Longer over shorter axis of the second moments on that frame.
    """

    boxes: tuple[tuple[int, Box], ...]
    longest_mm: float
    shortest_mm: float
    fill: float
    solidity: float
    elongation: float


def grow_to_half(signed: Image, core: Mask, pixel_size_mm: float) -> Shape | None:
    """Return the shape around a core: what lies above the middle between its top and its surroundings.

    Parameters
    ----------
    signed
        float32 (frames, rows, columns), contrast in a window around the core, positive where it is of its polarity.
    core
        bool, of the same shape.
    pixel_size_mm
        Size of a square pixel.

    Returns
    -------
    Shape, or None if it reaches the window's sides or fills its surroundings
    """
    surround, mask = 0.0, core
    for _ in range(_HALF_PASSES):
        top = float(np.percentile(signed[mask], _TOP_PERCENT))
        above, _count = ndimage.label(signed > (top + surround) / 2)
        mask = np.isin(above, np.unique(above[core & (above > 0)])) & (above > 0)
        if not mask.any() or _touches_sides(mask):
            return None
        ring = _ring(mask, pixel_size_mm)
        if not ring.any():
            return None
        surround = float(np.median(signed[ring]))
    half = (top + surround) / 2
    return Shape(mask=mask, amplitude=top - surround, isolation=float((signed[ring] < half).mean()))


def measure(shape: Shape, pixel_size_mm: float) -> Measures:
    """Measure a shape on the unbroken run of frames around the one that shows most of it.

    Parameters
    ----------
    shape
        What to measure.
    pixel_size_mm
        Size of a square pixel.
    """
    areas = shape.mask.sum(axis=(1, 2))
    key = int(np.argmax(areas))
    runs, _count = ndimage.label(areas > 0)
    frames = [int(frame) for frame in np.flatnonzero(runs == runs[key])]
    boxes = {frame: _tight(shape.mask[frame]) for frame in frames}
    rows, columns = np.nonzero(shape.mask[frames].any(axis=0))
    block = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) * len(frames)
    return Measures(
        boxes=tuple(boxes.items()),
        longest_mm=max(max(box.width, box.height) for box in boxes.values()) * pixel_size_mm,
        shortest_mm=min(boxes[key].width, boxes[key].height) * pixel_size_mm,
        fill=float(areas[key]) / boxes[key].area,
        solidity=float(areas[frames].sum() / block),
        elongation=_elongation(shape.mask[key]),
    )


def _ring(mask: Mask, pixel_size_mm: float) -> Mask:
    """Return the surroundings of a blob on its own frames."""
    reach = int(np.ceil(_RING_MM[1] / pixel_size_mm)) + 1
    extent = ndimage.find_objects(mask.astype(np.int8))[0]
    rows, columns = (slice(max(part.start - reach, 0), part.stop + reach) for part in extent[1:])
    ring = np.zeros_like(mask)
    for frame_index in range(extent[0].start, extent[0].stop):
        frame = mask[frame_index, rows, columns]
        if frame.any():
            distance_mm = ndimage.distance_transform_edt(~frame) * pixel_size_mm
            ring[frame_index, rows, columns] = (distance_mm > _RING_MM[0]) & (distance_mm <= _RING_MM[1])
    return ring


def _touches_sides(mask: Mask) -> bool:
    """Tell whether a mask reaches the sides of its window."""
    return bool(mask[:, 0].any() or mask[:, -1].any() or mask[:, :, 0].any() or mask[:, :, -1].any())


def _tight(mask: Mask) -> Box:
    """Return the box around the largest piece on one frame, in whole pixels."""
    piece = largest_piece(mask)
    rows, columns = np.flatnonzero(piece.any(axis=1)), np.flatnonzero(piece.any(axis=0))
    return Box(x0=float(columns[0]), y0=float(rows[0]), x1=float(columns[-1] + 1), y1=float(rows[-1] + 1))


def _elongation(mask: Mask) -> float:
    """Return the longer over the shorter axis of the second moments; a pixel's own extent counts."""
    points = np.argwhere(mask).astype(np.float64)
    if len(points) < 2:
        return 1.0
    # 1/12: variance of a unit square, so that a line of single pixels has a finite width
    spread = np.linalg.eigvalsh(np.cov(points.T, bias=True) + np.eye(2) / 12)
    return float(np.sqrt(spread[1] / spread[0]))
