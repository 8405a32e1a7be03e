"""Frames of given pixels with nothing special about them: an axial FLAIR head, shown as it is."""

import numpy as np
from numpy.typing import NDArray

from sgmri.geometry import FrameScaling
from sgmri.interfaces import Frames
from sgmri.volume import Anatomy, Plane, Weighting


def plain_frames(pixels: NDArray[np.uint8]) -> Frames:
    """Return pixels, uint8 (frames, rows, columns), of 1 mm with slices every 5 mm; not scaled."""
    _, rows, columns = pixels.shape
    return Frames(
        pixels=pixels,
        scaling=FrameScaling(scale_x=1.0, scale_y=1.0, source_rows=rows, source_columns=columns),
        pixel_size_mm=1.0,
        slice_spacing_mm=5.0,
        anatomy=Anatomy.BRAIN,
        plane=Plane.AXIAL,
        weighting=Weighting.FLAIR,
        fat_suppressed=None,
    )
