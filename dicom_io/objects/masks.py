"""What a segmentation paints: each box filled, or what stands out inside it; and the same as Pixel Data.

Only the rows that a mask touches are worked on: hundreds of frames times a dozen segments are as good as empty.

References
----------
PS3.3 C.8.20.2 (Segmentation Image), PS3.5 8.1.1 (bits are packed without padding between frames)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sgmri.errors import EngineError
from sgmri.geometry import Box
from sgmri.readings import Reading


class MaskForm(StrEnum):
    """What a mask is, as its segment is labelled."""

    BOX = "box"
    REFINED = "refined inside box"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mask:
    """One finding on one frame.

    Parameters
    ----------
    rows, columns
        The whole pixels that its box touches.
    pixels
        bool, of that shape: what is set.
    form
        What it is.
    """

    rows: slice
    columns: slice
    pixels: NDArray[np.bool_]
    form: MaskForm


Masks = Mapping[tuple[int, int], Mask]
"""(segment number, frame index) -> mask."""


def painted(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of the whole pixels that a box touches."""
    x0, y0, x1, y1 = (int(edge) for edge in box.grown_to_pixels().as_tuple())
    return slice(y0, y1), slice(x0, x1)


def masks_of(reading: Reading, pixels: NDArray[np.float32] | None) -> Masks:
    """Return the mask of every box.

    Parameters
    ----------
    reading
        The reading.
    pixels
        The volume that was read, float32 (frames, rows, columns), to refine inside the boxes; None: boxes.

    Raises
    ------
    EngineError
        If the volume is not of the reading's size.
    """
    expected = (len(reading.frames), reading.rows, reading.columns)
    if pixels is not None and pixels.shape != expected:
        raise EngineError(
            f"expected pixels of shape {expected}, found {pixels.shape}; hand over the volume that was read"
        )
    return {
        (number, finding.frame_index): _mask(finding.box, None if pixels is None else pixels[finding.frame_index])
        for number, tracklet in enumerate(reading.tracklets, start=1)
        for finding in tracklet.findings
    }


def _mask(box: Box, frame: NDArray[np.float32] | None) -> Mask:
    rows, columns = painted(box)
    if frame is not None:
        from dicom_io.objects.refinement import refined  # scikit-image: the worker's only, and only where asked for

        found = refined(frame, rows, columns)
        if found is not None:
            return Mask(rows=rows, columns=columns, pixels=found, form=MaskForm.REFINED)
    filled = np.ones((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
    return Mask(rows=rows, columns=columns, pixels=filled, form=MaskForm.BOX)


def overlaps(masks: Masks) -> bool:
    """Tell whether two segments share a pixel of a frame."""
    on_frame: dict[int, list[Mask]] = {}
    for (_, index), mask in masks.items():
        on_frame.setdefault(index, []).append(mask)
    return any(_share_a_pixel(*pair) for here in on_frame.values() for pair in combinations(here, 2))


def _share_a_pixel(one: Mask, other: Mask) -> bool:
    top, bottom = max(one.rows.start, other.rows.start), min(one.rows.stop, other.rows.stop)
    left, right = max(one.columns.start, other.columns.start), min(one.columns.stop, other.columns.stop)
    if top >= bottom or left >= right:
        return False

    def common(mask: Mask) -> NDArray[np.bool_]:
        rows = slice(top - mask.rows.start, bottom - mask.rows.start)
        return mask.pixels[rows, left - mask.columns.start : right - mask.columns.start]

    return bool((common(one) & common(other)).any())


def packed_bits(masks: Sequence[Mask], rows: int, columns: int) -> bytes:
    """Return the Pixel Data of one frame a mask, a bit a pixel."""
    packed = np.zeros((len(masks) * rows * columns + 15) // 16 * 2, dtype=np.uint8)  # of even length (PS3.5 8.2)
    for place, mask in enumerate(masks):
        band = np.zeros((mask.rows.stop - mask.rows.start, columns), dtype=bool)
        band[:, mask.columns] = mask.pixels
        start, shift = divmod((place * rows + mask.rows.start) * columns, 8)
        bits = np.concatenate([np.zeros(shift, dtype=bool), band.ravel()]) if shift else band
        octets = np.packbits(bits, bitorder="little")
        # Bits of the frame before and of this one may share an octet
        packed[start : start + len(octets)] |= octets
    return packed.tobytes()


def label_maps(frames: Sequence[Mapping[int, Mask]], rows: int, columns: int, *, octets: int) -> bytes:
    """Return the Pixel Data of label maps.

    Parameters
    ----------
    frames
        For each frame, segment number -> mask.
    rows, columns
        Size of a frame.
    octets
        Of a pixel, 1 or 2.
    """
    maps = np.zeros((len(frames), rows, columns), dtype=f"<u{octets}")
    for frame, masks in zip(maps, frames, strict=True):
        for number, mask in masks.items():
            frame[mask.rows, mask.columns][mask.pixels] = number
    return maps.tobytes() + b"\0" * (maps.nbytes % 2)
