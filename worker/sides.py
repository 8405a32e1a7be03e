"""On which side of the patient's head a finding lies: told from the orientation and the tissue, never from words."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sgmri.findings import Laterality, Tracklet
from sgmri.volume import Anatomy, Volume

_MARGIN_MM: Final = 5.0
"""Nearer to the midline no side is given."""
_TISSUE: Final = 0.2
"""Of the 99th percentile: above air, below any tissue."""
_EDGE: Final = 0.1
"""A plane of voxels with less tissue than this part of the fullest plane lies outside: noise, a ghost, an ear."""
_HALF_HEAD_MM: Final = 95.0
"""No head is wider from its midline to its side."""


def side_of(tracklet: Tracklet, volume: Volume) -> Laterality | None:
    """Tell on which side of the head a tracklet lies; None for a knee, on the midline, or where that is not known.

    The midline is the centre of the tissue's extent along x (LPS: x grows to the patient's left, PS3.3 C.7.6.2.1.1),
    so an off-centre head does not matter. Where the volume ends inside the head, as a sagittal slab does, the midline
    is known within bounds only, and so are the sides.
    """
    if volume.anatomy is not Anatomy.BRAIN:
        return None
    least_mm, most_mm = _midline_mm(volume)
    x_mm = np.mean([volume.to_patient_mm(finding.frame_index, *finding.box.centre)[0] for finding in tracklet.findings])
    if x_mm >= most_mm + _MARGIN_MM:
        return Laterality.LEFT
    return Laterality.RIGHT if x_mm <= least_mm - _MARGIN_MM else None


def _midline_mm(volume: Volume) -> tuple[float, float]:
    """Return between which x the midline lies: twice the same where air is seen on both sides of the head."""
    tissue = volume.voxels > _TISSUE * float(np.percentile(volume.voxels, 99))
    # In the order of the affine: first and last column, row and frame of the head
    edges = np.array([_edges(tissue.sum(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))])
    orientation = volume.orientation
    x_steps = (orientation.row_cosines[0], orientation.column_cosines[0], orientation.frame_direction[0])
    axis = int(np.argmax(np.abs(x_steps)))
    indices = np.ones((2, 4))
    indices[:, :3] = edges.mean(axis=1)
    indices[:, axis] = edges[axis]
    end_of_axis = (tissue.shape[2], tissue.shape[1], tissue.shape[0])[axis] - 1
    sides = zip(indices @ volume.affine[0], (edges[axis][0] > 0, edges[axis][1] < end_of_axis), strict=True)
    (right_mm, right_is_seen), (left_mm, left_is_seen) = sorted(sides)
    middle_mm = (right_mm + left_mm) / 2
    reach_mm = max(_HALF_HEAD_MM, left_mm - middle_mm)
    # Beyond an end that is not seen the head goes on, and takes its midline along
    return (
        float(middle_mm if right_is_seen else left_mm - reach_mm),
        float(middle_mm if left_is_seen else right_mm + reach_mm),
    )


def _edges(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the first and the last plane of the head, from the tissue voxels counted on each plane across an axis."""
    inside = np.flatnonzero(counts >= _EDGE * counts.max())
    return int(inside[0]), int(inside[-1])
