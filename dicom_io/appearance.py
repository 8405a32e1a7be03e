"""What a volume looks like, in numbers: outline in mm, layers below the skin, symmetry, and a coarse picture.

Every number is in patient directions and in mm, or a part of the body's own brightness, so that matrix, zoom, gain and
the signs of direction cosines do not matter. :mod:`dicom_io.recognition` decides by them; its weights are learnt from
the same function.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sgmri.volume import Orientation, Plane

Measures = NDArray[np.float64]
_Picture = NDArray[np.float64]
_Mask = NDArray[np.bool_]

CELL_MM = 4.0
"""Everything is measured on square cells of this size: coarser than noise, finer than a skull."""
_MOST_CELLS = 160
"""Rows and columns of cells that are looked at, about the middle; a field of view is at most 640 mm."""
_TISSUE = 0.12
"""The part of the way from air to the brightest tissue from which on a cell shows tissue."""
_LAYERS_MM = (0, 4, 8, 12, 16, 20, 28, 36, 48)
"""Depths below the skin at which layers begin; the last one has no end."""
_COARSE = 6
"""Fields along each side of the coarse picture of the body."""
_UP_AND_ACROSS = {
    Plane.AXIAL: ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    Plane.CORONAL: ((0.0, 0.0, -1.0), (1.0, 0.0, 0.0)),
    Plane.SAGITTAL: ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
}
"""Directions (LPS) in which rows and columns of an upright picture grow, as a reader hangs it."""


def measure(voxels: NDArray[np.float32], orientation: Orientation, *, coverage_mm: float) -> Measures:
    """Put into numbers what a volume looks like.

    Parameters
    ----------
    voxels
        float32 (frames, rows, columns), finite, more is brighter; frames spread over the volume, three or more, in
        its order.
    orientation
        Direction and size of the pixels.
    coverage_mm
        How much of the body the volume covers along the normal, in mm.

    Returns
    -------
    float64 (measures,)
        Finite whatever is shown; all but the first ones are 0 where there is no body.
    """
    pictures = _normalised(_cells(voxels, orientation))
    outlines = np.stack([_outline(picture) for picture in pictures])
    planes = [float(orientation.plane is plane) for plane in Plane]
    height_mm, width_mm = (CELL_MM * length for length in pictures.shape[1:])
    numbers = [*planes, coverage_mm / 100, height_mm / 100, width_mm / 100]
    for third in np.array_split(np.arange(len(pictures)), 3):
        numbers += _form(outlines[third])
    middle = np.array_split(np.arange(len(pictures)), 3)[1]
    numbers += _layers(pictures[middle], outlines[middle])
    numbers += _symmetry(pictures[middle], outlines[middle])
    numbers += _greys(pictures[middle], outlines[middle])
    numbers += _coarse(pictures[middle], outlines[middle])
    return np.array(numbers)


def _cells(voxels: NDArray[np.float32], orientation: Orientation) -> _Picture:
    """Turn the frames by quarters and mirror them into upright pictures, and average these over square cells."""
    down, across = (np.array(axis) for axis in _UP_AND_ACROSS[orientation.plane])
    rows, columns = np.array(orientation.column_cosines), np.array(orientation.row_cosines)
    row_mm, column_mm = orientation.pixel_spacing_mm
    if abs(rows @ down) < abs(columns @ down):
        voxels, rows, columns, row_mm, column_mm = voxels.transpose(0, 2, 1), columns, rows, column_mm, row_mm
    upright = voxels[:, :: 1 if rows @ down > 0 else -1, :: 1 if columns @ across > 0 else -1]
    return _averaged(_averaged(upright.astype(np.float64), 1, row_mm), 2, column_mm)


def _averaged(values: _Picture, axis: int, spacing_mm: float) -> _Picture:
    """Average along one axis over cells, from the integral: exact whatever the spacing is."""
    length = values.shape[axis]
    cells = int(np.clip(length * spacing_mm / CELL_MM, 1, _MOST_CELLS))
    first_mm = (length * spacing_mm - cells * CELL_MM) / 2
    edges = np.clip((first_mm + CELL_MM * np.arange(cells + 1)) / spacing_mm, 0, length)
    below = np.minimum(edges.astype(int), length - 1)
    moved = np.moveaxis(values, axis, -1)
    integral = np.concatenate([np.zeros((*moved.shape[:-1], 1)), np.cumsum(moved, axis=-1)], axis=-1)
    at_edges = integral[..., below] + (edges - below) * moved[..., below]
    return np.moveaxis(np.diff(at_edges, axis=-1) / np.maximum(np.diff(edges), 1e-9), -1, axis)


def _normalised(pictures: _Picture) -> _Picture:
    """Bring air to 0 and the brightest tissue to 1."""
    low, high = np.percentile(pictures, (2, 98))
    if not high > low:
        return np.zeros_like(pictures)
    scaled: _Picture = np.clip((pictures - low) / (high - low), 0, 1.5)
    return scaled


def _outline(picture: _Picture) -> _Mask:
    """Return where the body is: tissue, and whatever has tissue on all four sides."""
    tissue = _neighbours(picture > _TISSUE) >= 6
    spans = [
        np.logical_or.accumulate(tissue, axis) & np.flip(np.logical_or.accumulate(np.flip(tissue, axis), axis), axis)
        for axis in (0, 1)
    ]
    return spans[0] & spans[1]


def _neighbours(mask: _Mask) -> NDArray[np.int64]:
    """Count the set cells among each one and its eight neighbours; at the border it counts as its own neighbour."""
    padded = np.pad(mask.astype(np.int64), 1, mode="edge")
    rows, columns = mask.shape
    return sum(
        (padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)), np.zeros_like(padded[1:-1, 1:-1])
    )


def _form(outlines: _Mask) -> list[float]:
    """Return the mean of height, width and area in dm, of filling and of what touches each side of the frames."""
    found = np.zeros(8)
    for outline in outlines:
        rows, columns = np.flatnonzero(outline.any(axis=1)), np.flatnonzero(outline.any(axis=0))
        if not len(rows):
            continue
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        sides = (outline[0], outline[-1], outline[:, 0], outline[:, -1])
        area = int(outline.sum())
        found += [
            height * CELL_MM / 100,
            width * CELL_MM / 100,
            area * (CELL_MM / 100) ** 2,
            area / (height * width),
            *(float(side.mean()) for side in sides),
        ]
    return list(found / len(outlines))


def _layers(pictures: _Picture, outlines: _Mask) -> list[float]:
    """Return mean and deviation of the layers below the skin, in parts of the body's mean.

    A head has a dark bone all around below its scalp; a limb has not.
    """
    inside = _anywhere(outlines)
    whole = float(pictures[outlines].mean()) if outlines.any() else 1.0
    picture = pictures.mean(axis=0) / max(whole, 1e-6)
    depths_mm = _depths_mm(inside)
    found: list[float] = []
    for start, end in zip(_LAYERS_MM, (*_LAYERS_MM[1:], np.inf), strict=True):
        layer = picture[(depths_mm > start) & (depths_mm <= end)]
        found += [float(layer.mean()), float(layer.std())] if len(layer) else [0.0, 0.0]
    return found


def _anywhere(outlines: _Mask) -> _Mask:
    """Return where any of the frames shows the body."""
    anywhere: _Mask = np.logical_or.reduce(outlines, axis=0)
    return anywhere


def _depths_mm(inside: _Mask) -> _Picture:
    """Return how far each cell lies below the skin, by peeling; the frame's edge is no skin."""
    depths = np.zeros(inside.shape)
    left = inside
    while left.any() and depths.max() < _LAYERS_MM[-1] + CELL_MM:
        depths[left] += CELL_MM
        left = left & (_neighbours(left) == 9)
    return depths


def _symmetry(pictures: _Picture, outlines: _Mask) -> list[float]:
    """Return how alike the body is to its mirror image, across and up and down: correlations."""
    body = _cropped(pictures.mean(axis=0), _anywhere(outlines))
    return [_correlation(body, np.flip(body, axis)) for axis in (1, 0)]


def _correlation(one: _Picture, other: _Picture) -> float:
    if min(one.std(), other.std()) < 1e-9:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _greys(pictures: _Picture, outlines: _Mask) -> list[float]:
    """Return quantiles of the body's grey values and the roughness of neighbouring cells, in parts of its mean."""
    if not outlines.any():
        return [0.0] * 6
    body = pictures[outlines]
    mean = max(float(body.mean()), 1e-6)
    steps = np.abs(np.diff(pictures, axis=2))[outlines[:, :, 1:] & outlines[:, :, :-1]]
    rough = float(steps.mean()) if len(steps) else 0.0
    return [*(np.percentile(body, (5, 25, 50, 75, 95)) / mean), rough / mean]


def _coarse(pictures: _Picture, outlines: _Mask) -> list[float]:
    """Return the body cut out of the mean picture on a few square fields, row by row, in parts of its mean."""
    body = _cropped(pictures.mean(axis=0), _anywhere(outlines))
    fields = _fields(body)
    return list((fields / max(float(fields.mean()), 1e-6)).ravel()) if body.any() else [0.0] * _COARSE**2


def _cropped(picture: _Picture, inside: _Mask) -> _Picture:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return np.zeros((1, 1))
    cut: _Picture = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return cut


def _fields(body: _Picture) -> _Picture:
    parts: Iterator[_Picture] = iter(np.array_split(body, _COARSE, axis=0))
    return np.array(
        [[part.mean() if part.size else 0.0 for part in np.array_split(row, _COARSE, axis=1)] for row in parts]
    )
