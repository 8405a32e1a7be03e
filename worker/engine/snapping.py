"""Draw boxes onto what they are about: from the model's rough corners to the edges that the pixels have.

A small model says where a finding lies to within some pixels. What stands out against its surroundings within the
box, if it ends near by, is what is meant. Where nothing stands out, or it has no end, the box stays as it was said.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sgmri.geometry import Box, iou

_SMOOTHING_PX = 0.7
_GROWTH = 0.5
_LEAST_GROWTH_PX = 5.0
_CORE = 0.35
"""Half of a box's core, in parts of its sides."""
_LEAST_CORE_PX = 2.0
_LEAST_CONTRAST = 14.0
"""Grey values (of 255) that something stands out by at least."""
_LEAST_IOU = 0.2
"""What overlaps the box less is something else."""
_WITHIN, _ALIKE = 0.8, 0.4
"""Parts of a part that lie within the box, and of the largest part's size, for it to belong to the finding."""
_LEAST_INSIDE, _LEAST_OUTSIDE = 4, 8
"""Pixels within and around the box that a judgement needs."""


def snap(pixels: NDArray[np.uint8], box: Box) -> Box:
    """Return the box of what stands out within a box; the same box where nothing plainly does.

    Parameters
    ----------
    pixels
        uint8 (rows, columns): one frame.
    box
        In its pixels.
    """
    x_slice, y_slice = (
        _grown(low, high, size)
        for low, high, size in ((box.x0, box.x1, pixels.shape[1]), (box.y0, box.y1, pixels.shape[0]))
    )
    part = ndimage.gaussian_filter(pixels[y_slice, x_slice].astype(np.float32), _SMOOTHING_PX)
    y, x = np.mgrid[y_slice, x_slice] + 0.5
    inside = (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)
    if inside.sum() < _LEAST_INSIDE or (~inside).sum() < _LEAST_OUTSIDE:
        return box
    centre_x, centre_y = box.centre
    reach_x, reach_y = (max(_LEAST_CORE_PX, _CORE * side) for side in (box.width, box.height))
    core = (np.abs(x - centre_x) < reach_x) & (np.abs(y - centre_y) < reach_y)
    deviation = np.abs(part - np.median(part[~inside]))
    top = float(np.percentile(deviation[core], 85))
    found = _parts(deviation > top / 2, core, inside) if top >= _LEAST_CONTRAST else None
    if found is None:
        return box
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    if rows[0] == 0 or columns[0] == 0 or rows[-1] == len(found) - 1 or columns[-1] == found.shape[1] - 1:
        return box  # it has no end here
    left, upper = x_slice.start, y_slice.start
    drawn = Box(
        x0=float(left + columns[0]),
        y0=float(upper + rows[0]),
        x1=float(left + columns[-1] + 1),
        y1=float(upper + rows[-1] + 1),
    )
    return drawn if iou(drawn, box) >= _LEAST_IOU else box


def _grown(low: float, high: float, size: int) -> slice:
    """Return the pixels of a side with its surroundings."""
    margin = max(_LEAST_GROWTH_PX, _GROWTH * (high - low))
    return slice(int(max(0, np.floor(low - margin))), int(min(size, np.ceil(high + margin))))


def _parts(mask: NDArray[np.bool_], core: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return the connected part of a mask that fills most of the core, with others like it within the box.

    Both ventricles are one finding: what lies within the box and is not much smaller belongs to it.
    """
    parts, count = ndimage.label(mask)
    if not count:
        return None
    shares = np.bincount(parts[core & mask], minlength=count + 1)[1:]
    if not shares.any():
        return None
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    within = np.bincount(parts[inside], minlength=count + 1)[1:] / sizes
    largest = int(shares.argmax())
    chosen = (within >= _WITHIN) & (sizes >= _ALIKE * sizes[largest])
    chosen[largest] = True
    found: NDArray[np.bool_] = np.isin(parts, np.flatnonzero(chosen) + 1)
    return found
