"""A volume in memory: voxels, where they lie in the patient, and which DICOM frame each came from."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sgmri.errors import InvalidGeometry


class Anatomy(StrEnum):
    """The anatomies that a question set exists for."""

    BRAIN = "brain"
    KNEE = "knee"


class Plane(StrEnum):
    """The anatomical plane nearest to the frames."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class Weighting(StrEnum):
    """What the contrast is weighted by, as far as the physics in the header says."""

    T1 = "T1"
    T2 = "T2"
    PD = "PD"
    FLAIR = "FLAIR"
    UNKNOWN = "unknown"


class ContrastAgent(StrEnum):
    """Whether a contrast agent had been given when the images were taken."""

    GIVEN = "given"
    NOT_GIVEN = "not given"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """The DICOM frame that one frame of a volume came from.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid
        The instance.
    frame_number
        The frame within the instance, counted from 1; None where the instance has a single frame.
    position_mm
        Centre of the first pixel in patient coordinates (LPS), in mm: Image Position (Patient) (0020,0032).
    """

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    position_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """Direction and size of a frame's pixels, the same for all frames of a volume.

    Parameters
    ----------
    row_cosines
        Direction in which the column index grows (along a row), unit vector in LPS.
    column_cosines
        Direction in which the row index grows (down a column), unit vector in LPS.
    pixel_spacing_mm
        (between rows, between columns) in mm: Pixel Spacing (0028,0030).

    References
    ----------
    PS3.3 C.7.6.2.1.1
    """

    row_cosines: tuple[float, float, float]
    column_cosines: tuple[float, float, float]
    pixel_spacing_mm: tuple[float, float]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector (LPS) across the frames: row cosines x column cosines."""
        return np.cross(np.asarray(self.row_cosines), np.asarray(self.column_cosines))

    @property
    def plane(self) -> Plane:
        """The anatomical plane nearest to the frames."""
        return _PLANES[self._axis]

    @property
    def frame_direction(self) -> NDArray[np.float64]:
        """Unit vector (LPS) from frame to frame of a volume: to the head, to the back, or to the right.

        It is the normal or its opposite, whichever points that way along the patient's axis nearest to it, so that
        frames follow each other alike whatever signs the scanner chose for its cosines.
        """
        sign = _FRAME_SIGNS[self._axis] * np.sign(self.normal[self._axis])
        direction: NDArray[np.float64] = self.normal * sign
        return direction

    @property
    def _axis(self) -> int:
        return int(np.argmax(np.abs(self.normal)))


_PLANES = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)
"""The plane across each axis of the patient (x, y, z)."""
_FRAME_SIGNS = (-1.0, 1.0, 1.0)
"""Left to right, anterior to posterior, inferior to superior: x grows to the left, y to the back, z to the head (PS3.3
C.7.6.2.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """Frames of one series, stacked in space.

    Parameters
    ----------
    voxels
        float32 (frames, rows, columns), modality values, more is brighter; sorted along
        :attr:`Orientation.frame_direction`.
    frames
        One reference a frame, in the same order.
    orientation
        Directions and pixel size of every frame.
    slice_spacing_mm
        Distance between the centres of neighbouring frames across them (median), in mm, above 0.
    frame_of_reference_uid
        Empty where the source has none (then no segmentation can be written).
    study_instance_uid, series_instance_uid
        The source.
    anatomy, weighting, fat_suppressed
        What the selection took the series for; ``fat_suppressed`` None where the header does not say.
    is_lossy
        Whether any source image was, or may have been, compressed with loss at any time.
    anatomy_certainty
        How certain the anatomy is, 0 to 1, where it was taken from the image; None where headers or a rule name it.
    """

    voxels: NDArray[np.float32]
    frames: tuple[FrameRef, ...]
    orientation: Orientation
    slice_spacing_mm: float
    frame_of_reference_uid: str
    study_instance_uid: str
    series_instance_uid: str
    anatomy: Anatomy
    weighting: Weighting = Weighting.UNKNOWN
    fat_suppressed: bool | None = None
    is_lossy: bool = False
    anatomy_certainty: float | None = None

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.dtype != np.float32:
            raise InvalidGeometry(
                f"a volume needs float32 (frames, rows, columns), found {self.voxels.dtype} {self.voxels.shape}"
            )
        if len(self.frames) != self.voxels.shape[0]:
            raise InvalidGeometry(
                f"a volume needs one reference a frame, found {len(self.frames)} for {self.voxels.shape[0]}"
            )

    @property
    def rows(self) -> int:
        """Pixels down a column."""
        return int(self.voxels.shape[1])

    @property
    def columns(self) -> int:
        """Pixels along a row."""
        return int(self.voxels.shape[2])

    def frame_affine(self, frame_index: int) -> NDArray[np.float64]:
        """Return the map from pixel-centre indices of one frame to the patient.

        Parameters
        ----------
        frame_index
            0-based frame of the volume.

        Returns
        -------
        float64 (4, 4)
            ``[column, row, 0, 1] -> [x, y, z, 1]`` in mm, LPS (PS3.3 equation C.7.6.2.1-1); the third column is
            the frame direction times the slice spacing.
        """
        row_mm, column_mm = self.orientation.pixel_spacing_mm
        affine = np.eye(4)
        affine[:3, 0] = np.asarray(self.orientation.row_cosines) * column_mm
        affine[:3, 1] = np.asarray(self.orientation.column_cosines) * row_mm
        affine[:3, 2] = self.orientation.frame_direction * self.slice_spacing_mm
        affine[:3, 3] = self.frames[frame_index].position_mm
        return affine

    @property
    def affine(self) -> NDArray[np.float64]:
        """float64 (4, 4): ``[column, row, frame, 1] -> [x, y, z, 1]`` in mm, LPS, pixel centres.

        Exact for equally spaced frames; for others the third axis is the mean step from first to last frame
        (:meth:`frame_affine` is exact for every frame).
        """
        affine = self.frame_affine(0)
        if len(self.frames) > 1:
            first = np.asarray(self.frames[0].position_mm)
            last = np.asarray(self.frames[-1].position_mm)
            affine[:3, 2] = (last - first) / (len(self.frames) - 1)
        return affine

    def to_patient_mm(self, frame_index: int, x: float, y: float) -> NDArray[np.float64]:
        """Map an image coordinate of a frame to the patient.

        Parameters
        ----------
        frame_index
            0-based frame of the volume.
        x, y
            Image coordinates in pixels, origin at the outer corner of the top-left pixel.

        Returns
        -------
        float64 (3,)
            Position in mm, LPS. The centre of pixel (c, r) is (c + 0.5, r + 0.5), hence the half pixel here.
        """
        position: NDArray[np.float64] = self.frame_affine(frame_index) @ np.array([x - 0.5, y - 0.5, 0.0, 1.0])
        return position[:3]
