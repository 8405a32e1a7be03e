"""What stands out inside a box, from the pixels: a mask that is used only where it is plausible.

Otsu's threshold over the box and its surroundings; the side of the threshold on which the middle of the box lies, and
of it the largest piece inside the box, with its holes filled. No outline of a reader: it never leaves the box, and what
does not look like one lesion in a box of its own is left to the box.

References
----------
Otsu 1979, doi:10.1109/TSMC.1979.4310076
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

_LEAST_PART: Final = 0.15
"""Part of the box that the mask covers at least; less is a speck."""
_LEAST_SPAN: Final = 0.6
"""Part of the box's width and height that it spans at least: a box was drawn around what it is about."""
_MOST_AROUND: Final = 0.25
"""Part of the surroundings on the same side of the threshold; more, and the box holds nothing of its own."""


def refined(frame: NDArray[np.float32], rows: slice, columns: slice) -> NDArray[np.bool_] | None:
    """Return what stands out inside a box.

    Parameters
    ----------
    frame
        float32 (rows, columns), in any unit.
    rows, columns
        The box, whole pixels.

    Returns
    -------
    bool, of the box's shape; None where nothing plausible stands out, and where the whole box does.
    """
    margin = max(2, (rows.stop - rows.start) // 4, (columns.stop - columns.start) // 4)
    top, left = max(0, rows.start - margin), max(0, columns.start - margin)
    grown = frame[top : rows.stop + margin, left : columns.stop + margin]
    if not np.isfinite(grown).all() or grown.min() == grown.max():
        return None
    box = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    outside = np.ones(grown.shape, dtype=bool)
    outside[box] = False
    if not outside.any():
        return None
    stands_out = grown > threshold_otsu(grown)  # type: ignore[no-untyped-call]  # scikit-image has no types
    if np.median(_middle(grown[box])) < np.median(grown[outside]):
        stands_out = ~stands_out
    if stands_out[outside].mean() > _MOST_AROUND:
        return None
    mask = _largest_piece(stands_out[box])
    return mask if _is_plausible(mask) else None


def _middle(box: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = box.shape
    return box[height // 4 : height - height // 4, width // 4 : width - width // 4]


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces == largest)
    return filled


def _is_plausible(mask: NDArray[np.bool_]) -> bool:
    spans = (mask.any(axis=1).mean(), mask.any(axis=0).mean())
    return bool(_LEAST_PART <= mask.mean() < 1 and min(spans) >= _LEAST_SPAN)
