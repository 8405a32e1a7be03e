"""The midline of a head on axial or coronal frames, and whether something has its like on the other side."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from worker.engine.regions import Image, Mask

_COARSE_MM = 2.5
_MAX_TILT_DEG = 20
_TILT_STEP_DEG = 2
_MAX_OFFSET_MM = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Midline:
    """A straight line on the frames, in pixel-centre indices.

    Parameters
    ----------
    x, y
        A point of it.
    tilt_rad
        Angle from the image's vertical; positive where its lower end lies further left.
    """

    x: float
    y: float
    tilt_rad: float

    def mirrored(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mirror images of points, column and row as pixel-centre indices."""
        normal_x, normal_y = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        distance = (x - self.x) * normal_x + (y - self.y) * normal_y
        return x - 2 * distance * normal_x, y - 2 * distance * normal_y


def find_midline(smooth: Image, region: Mask, pixel_size_mm: float) -> Midline:
    """Return the line about which the mean of all frames is most alike to its mirror image.

    Parameters
    ----------
    smooth
        float32 (frames, rows, columns), grey values.
    region
        bool, of the same shape: the brain.
    pixel_size_mm
        Size of a square pixel.
    """
    step = max(round(_COARSE_MM / pixel_size_mm), 1)
    mean = (smooth * region).mean(axis=0)[::step, ::step].astype(np.float64)
    y, x = np.indices(mean.shape).astype(np.float64)
    # The outline weighs as much as what is inside: squares would let single bright places decide
    weight = region.mean(axis=0)[::step, ::step]
    centre_x, centre_y = float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())
    reach = round(_MAX_OFFSET_MM / (step * pixel_size_mm))
    best, best_difference = Midline(x=centre_x, y=centre_y, tilt_rad=0.0), np.inf
    for tilt_deg in range(-_MAX_TILT_DEG, _MAX_TILT_DEG + 1, _TILT_STEP_DEG):
        for offset in np.arange(-reach, reach + 0.5, 0.5):
            line = Midline(x=centre_x + float(offset), y=centre_y, tilt_rad=float(np.deg2rad(tilt_deg)))
            mirrored_x, mirrored_y = line.mirrored(x, y)
            mirrored = ndimage.map_coordinates(mean, [mirrored_y, mirrored_x], order=1)
            difference = float(np.abs(mirrored - mean).sum())
            if difference < best_difference:
                best, best_difference = line, difference
    return Midline(x=best.x * step, y=best.y * step, tilt_rad=best.tilt_rad)


def mirrored_strength(signed: Image, voxels: tuple[NDArray[np.intp], ...], midline: Midline, reach_px: float) -> float:
    """Return the mean contrast at the mirrored place of a blob, at the best shift of at most ``reach_px``.

    Parameters
    ----------
    signed
        float32 (frames, rows, columns), contrast, positive where it is of the blob's polarity.
    voxels
        Frame, row and column indices of the blob.
    midline
        What to mirror about.
    reach_px
        How exactly paired structures face each other.
    """
    frame, row, column = voxels
    mirrored_x, mirrored_y = midline.mirrored(column.astype(np.float64), row.astype(np.float64))
    last_row, last_column = signed.shape[1] - 1, signed.shape[2] - 1
    shifts = np.linspace(-reach_px, reach_px, 5)
    strongest = -np.inf
    for shift_y in shifts:
        y = np.clip(np.rint(mirrored_y + shift_y), 0, last_row).astype(np.intp)
        for shift_x in shifts:
            x = np.clip(np.rint(mirrored_x + shift_x), 0, last_column).astype(np.intp)
            strongest = max(strongest, float(signed[frame, y, x].mean()))
    return strongest
