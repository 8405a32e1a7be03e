"""Where to look: the patient on every frame, the brain inside the head, the limb without its rim."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
"""bool (frames, rows, columns), or one frame of it."""
Image = NDArray[np.float32]
"""float32 (frames, rows, columns), or one frame of it."""

MAD_TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""

_TISSUE_SHARE = 0.12
"""Air is darker than this fraction of the bright tissue."""
_BRAIN_SHARE = 0.6
"""Skull and air are darker than this fraction of the typical grey value inside the head."""
_DRIFT_MM = 4.0
"""How far the brain's outline may grow from its largest frame to the next."""
_BRIDGE_MM = 6.0
"""Half the width of tissue bridges (nerves, vessels, neck, orbits) from the brain outwards that are cut."""
_MIN_PIECE_SHARE = 0.3
"""The falx may part the hemispheres: pieces down to this fraction of the largest belong to the brain too."""
_MIN_ALLOWED = 0.6
"""Fraction of a piece that lies within the outline followed so far."""
_MIN_FRAME_SHARE = 0.3
"""A frame with less of the brain than this fraction of the largest frame is the vertex or the skull base."""


def body_mask(pixels: NDArray[np.uint8], pixel_size_mm: float) -> Mask:
    """Return where the patient is: the largest body of tissue on every frame, holes filled.

    Parameters
    ----------
    pixels
        uint8 (frames, rows, columns).
    pixel_size_mm
        Size of a square pixel.

    Returns
    -------
    bool (frames, rows, columns)
    """
    smooth = blurred(pixels, 1.0 / pixel_size_mm)
    tissue = smooth > _air_threshold(smooth)
    closing = _disc(2.0 / pixel_size_mm)
    body = np.zeros(pixels.shape, bool)
    for frame_index, frame in enumerate(tissue):
        closed = ndimage.binary_closing(np.pad(frame, closing.shape[0]), closing)
        inner = closed[closing.shape[0] : -closing.shape[0], closing.shape[1] : -closing.shape[1]]
        body[frame_index] = ndimage.binary_fill_holes(largest_piece(inner))
    return body


def brain_region(pixels: NDArray[np.uint8], pixel_size_mm: float, *, peel_mm: float, margin_mm: float) -> Mask:
    """Return the brain without its rim, on the frames where enough of it is seen.

    On every frame the tissue is torn apart at thin bridges (the skull is a dark ring between scalp and brain). On the
    frame with the largest piece inside the peeled head, that piece is the brain; from there it is followed in both
    directions, to the large pieces within its outline (the face and the orbits are no brain).

    Parameters
    ----------
    pixels, pixel_size_mm
        As for :func:`body_mask`.
    peel_mm
        How much of the head's rim is never looked at (scalp and skull).
    margin_mm
        How much of the brain's own rim is never looked at (partial volume).

    Returns
    -------
    bool (frames, rows, columns)
    """
    head = body_mask(pixels, pixel_size_mm)
    smooth = blurred(pixels, 0.7 / pixel_size_mm)
    inside = _depth_mm(head, pixel_size_mm) > peel_mm
    brain = np.zeros(head.shape, bool)
    if not inside.any():
        return brain
    tissue = (smooth > _BRAIN_SHARE * np.median(smooth[inside])) & inside
    pieces = _depth_mm(tissue, pixel_size_mm) > _BRIDGE_MM
    start = int(np.argmax([largest_piece(frame).sum() for frame in pieces]))
    for path in (range(start, len(pieces)), range(start - 1, -1, -1)):
        allowed = inside[start] if path.start == start else _grown(brain[start], _DRIFT_MM / pixel_size_mm)
        for frame_index in path:
            core = _main_pieces(pieces[frame_index], allowed)
            whole = ndimage.binary_fill_holes(_grown(core, _BRIDGE_MM / pixel_size_mm))
            brain[frame_index] = whole & inside[frame_index] & allowed
            allowed = _grown(brain[frame_index], _DRIFT_MM / pixel_size_mm)
    areas = brain.sum(axis=(1, 2))
    brain[areas < _MIN_FRAME_SHARE * areas.max()] = False
    return _depth_mm(brain, pixel_size_mm) > margin_mm


def joint_region(pixels: NDArray[np.uint8], pixel_size_mm: float, *, peel_mm: float, margin_mm: float) -> Mask:
    """Return the limb without skin and subcutaneous rim; parameters as for :func:`brain_region`."""
    return _depth_mm(body_mask(pixels, pixel_size_mm), pixel_size_mm) > peel_mm + margin_mm


def blurred(pixels: NDArray[np.uint8], sigma_px: float) -> Image:
    """Return every frame smoothed by a Gaussian of standard deviation ``sigma_px``."""
    smooth: Image = ndimage.gaussian_filter(pixels.astype(np.float32), (0.0, sigma_px, sigma_px))
    return smooth


def _air_threshold(smooth: Image) -> float:
    """Return a grey value between air and the darkest tissue: a small part of the bright tissue, but above noise."""
    bright = float(np.median(smooth[smooth >= np.percentile(smooth, 90)]))
    air = smooth[smooth < _TISSUE_SHARE * bright]
    if air.size == 0:
        return _TISSUE_SHARE * bright
    spread = float(np.median(np.abs(air - np.median(air)))) * MAD_TO_SIGMA
    return min(max(_TISSUE_SHARE * bright, float(np.median(air)) + 6 * spread), 0.4 * bright)


def _disc(radius_px: float) -> Mask:
    reach = max(round(radius_px), 1)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc: Mask = x * x + y * y <= (reach + 0.5) ** 2
    return disc


def _grown(mask: Mask, reach_px: float) -> Mask:
    """Return a 2-D mask dilated by a disc."""
    if not mask.any():
        return mask
    grown: Mask = ndimage.distance_transform_edt(~mask) <= reach_px
    return grown


def largest_piece(mask: Mask) -> Mask:
    """Return the largest connected piece of a 2-D mask (4-connected)."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Mask = labels == int(np.argmax(sizes))
    return largest


def _main_pieces(mask: Mask, allowed: Mask) -> Mask:
    """Return the pieces that lie mostly where they may and are not much smaller than the largest such piece."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    within = np.bincount(labels[allowed], minlength=count + 1)
    within[0] = 0
    is_main = (within >= _MIN_PIECE_SHARE * within.max()) & (within > _MIN_ALLOWED * sizes)
    main: Mask = is_main[labels]
    return main


def _depth_mm(mask: Mask, pixel_size_mm: float) -> Image:
    """Return the in-plane distance of every pixel of the mask to its outside; the frame's edge is no outside."""
    depth = np.zeros(mask.shape, np.float32)
    for frame_index, frame in enumerate(mask):
        if frame.any() and not frame.all():
            depth[frame_index] = ndimage.distance_transform_edt(frame) * pixel_size_mm
        elif frame.all():
            depth[frame_index] = np.inf
    return depth
