"""Frames of a series put into spatial order, or the reason why they are not one volume; no pixels are touched.

References
----------
PS3.3 C.7.6.2.1.1 (Image Position and Orientation (Patient)), C.7.4.1.1.1 (Frame of Reference UID)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_io.frames import FrameFacts
from dicom_io.instances import InstanceFacts
from dicom_io.series import SeriesFacts
from sgmri.errors import IncompleteSeries, MalformedInstance, UnsupportedSeries
from sgmri.lifecycle import Reason
from sgmri.volume import Orientation

SAME_COSINE = 1e-3
"""How far components of the direction cosines may differ in one volume."""
_SAME_SPACING_MM = 1e-3
SAME_POSITION_MM = 0.01
"""Frames that lie nearer to each other along the normal are at one position."""
_IN_LINE_MM = 1.0
"""How far a frame may lie beside the straight line from the first frame to the last."""
_GAP_STEPS = 1.6
"""A step of at least so many median steps means missing slices."""
_CROWDED_STEPS = 0.4
"""A step of fewer median steps means that two stacks are interleaved."""
_GAPS_PART = 0.25
"""The part of the steps that may be gaps; more are a pattern, not a loss."""
_MISSING_PART = 0.2
"""The part of the expected slices that may be missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a series may be.

    Parameters
    ----------
    min_frames, max_frames
        Frames of the volume.
    max_rows_columns
        Rows, and columns, of a frame.
    max_voxels
        Voxels of the volume (the default is 512 MiB of float32).
    """

    min_frames: int = 4
    max_frames: int = 2000
    max_rows_columns: int = 2048
    max_voxels: int = 512 * 1024 * 1024 // 4

    @property
    def max_instance_bytes(self) -> int:
        """Bytes of one instance, inflated: four times 8 bits for each voxel, headers included."""
        return 4 * self.max_voxels


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The frames of a series in spatial order.

    Parameters
    ----------
    frames
        (instance, frame) from inferior to superior, anterior to posterior or left to right, whatever the signs of the
        direction cosines (:attr:`sgmri.volume.Orientation.frame_direction`).
    orientation, slice_spacing_mm
        As in :class:`sgmri.volume.Volume`.
    missing
        How many slices seem to be missing between the frames.
    """

    frames: tuple[tuple[InstanceFacts, FrameFacts], ...]
    orientation: Orientation
    slice_spacing_mm: float
    missing: int

    @property
    def coverage_mm(self) -> float:
        """How much of the body the frames cover along the normal, slices that are missing in between included."""
        return (len(self.frames) + self.missing) * self.slice_spacing_mm


def arrange(facts: SeriesFacts, limits: Limits | None = None) -> Stack:
    """Put the frames of a series into spatial order, or say why they are not one volume.

    Parameters
    ----------
    facts
        The series, or a sub-volume of it.
    limits
        How large it may be.

    Raises
    ------
    UnsupportedSeries
        TOO_LARGE, TOO_FEW_FRAMES, or MIXED_GEOMETRY: several matrices, orientations, frames of reference, or two
        frames at one position.
    MalformedInstance
        If a frame has no usable geometry.
    IncompleteSeries
        If more than a fifth of the slices is missing.
    """
    limits = limits or Limits()
    check_size(facts.images, limits)
    frames = [(image, frame) for image in facts.images for frame in image.frames]
    if not facts.is_described:
        raise MalformedInstance("expected a description of every frame, found fewer or more than frames")
    orientation = _shared_orientation(facts.images, [frame for _, frame in frames])
    positions = np.array([frame.position_mm for _, frame in frames], dtype=np.float64)
    depths_mm = positions @ orientation.frame_direction
    order = np.argsort(depths_mm, kind="stable")
    spacing_mm, missing = _check_steps(depths_mm[order], limits)
    _check_line(positions[order], depths_mm[order])
    return Stack(
        frames=tuple(frames[index] for index in order),
        orientation=orientation,
        slice_spacing_mm=spacing_mm,
        missing=missing,
    )


def check_size(images: Sequence[InstanceFacts], limits: Limits) -> None:
    """Refuse images that claim too much, or not one matrix and frame of reference; needs no pixel and no geometry.

    Parameters
    ----------
    images
        MR images of one series.
    limits
        How large they may be.

    Raises
    ------
    UnsupportedSeries
        TOO_LARGE or MIXED_GEOMETRY.
    MalformedInstance
        If an image has no matrix.
    """
    for image in images:
        if not (image.rows and image.columns and image.number_of_frames):
            raise MalformedInstance("expected Rows, Columns and a Number of Frames above 0, found none")
        if max(image.rows, image.columns) > limits.max_rows_columns:
            raise UnsupportedSeries(
                f"expected at most {limits.max_rows_columns} rows and columns, found more", Reason.TOO_LARGE
            )
    if sum(image.number_of_frames for image in images) > limits.max_frames:
        raise UnsupportedSeries(f"expected at most {limits.max_frames} frames, found more", Reason.TOO_LARGE)
    if sum(image.number_of_frames * image.rows * image.columns for image in images) > limits.max_voxels:
        raise UnsupportedSeries(f"expected at most {limits.max_voxels} voxels, found more", Reason.TOO_LARGE)
    if len({(image.rows, image.columns) for image in images}) > 1:
        raise _mixed("one matrix size", "several")
    if len({image.frame_of_reference_uid for image in images}) > 1:
        raise _mixed("one frame of reference", "several")
    if len({image.photometric_interpretation == "MONOCHROME1" for image in images}) > 1:
        raise _mixed("one grey scale", "MONOCHROME1 beside MONOCHROME2")


def _mixed(expected: str, found: str) -> UnsupportedSeries:
    return UnsupportedSeries(f"expected {expected} in the series, found {found}", Reason.MIXED_GEOMETRY)


def _shared_orientation(images: Sequence[InstanceFacts], frames: Sequence[FrameFacts]) -> Orientation:
    if not frames:
        raise UnsupportedSeries("expected frames, found none", Reason.TOO_FEW_FRAMES)
    orientations = [orientation_of(frame) for frame in frames]
    first = orientations[0]
    cosines = np.array([(*one.row_cosines, *one.column_cosines) for one in orientations])
    if np.abs(cosines - cosines[0]).max() > SAME_COSINE:
        raise _mixed("one orientation", "several")
    spacings_mm = np.array([one.pixel_spacing_mm for one in orientations])
    if np.abs(spacings_mm - spacings_mm[0]).max() > _SAME_SPACING_MM:
        raise _mixed("one pixel spacing", "several")
    return first


def orientation_of(frame: FrameFacts) -> Orientation:
    """Return the orientation of a frame.

    Raises
    ------
    MalformedInstance
        If it has no usable geometry.
    """
    row, column, spacing = frame.row_cosines, frame.column_cosines, frame.pixel_spacing_mm
    if row is None or column is None or spacing is None or frame.position_mm is None:
        raise MalformedInstance("expected position, orientation and pixel spacing for every frame, found some missing")
    lengths = math.hypot(*row), math.hypot(*column)
    across = abs(sum(a * b for a, b in zip(row, column, strict=True)))
    if max(abs(length - 1) for length in lengths) > 0.01 or across > 0.01 or min(spacing) <= 0:
        raise MalformedInstance("expected perpendicular unit vectors and a positive pixel spacing, found others")
    return Orientation(row_cosines=row, column_cosines=column, pixel_spacing_mm=spacing)


def _check_steps(depths_mm: NDArray[np.float64], limits: Limits) -> tuple[float, int]:
    """Return the median step in mm and the number of missing slices of sorted depths."""
    steps_mm = np.diff(depths_mm)
    if (steps_mm < SAME_POSITION_MM).any():
        raise _mixed("one frame at each position", "several (echoes, b-values, time points or components)")
    if len(depths_mm) < max(limits.min_frames, 2):
        raise UnsupportedSeries(
            f"expected at least {max(limits.min_frames, 2)} frames, found {len(depths_mm)}", Reason.TOO_FEW_FRAMES
        )
    spacing_mm = float(np.median(steps_mm))
    gaps = steps_mm[steps_mm >= _GAP_STEPS * spacing_mm] / spacing_mm
    if (steps_mm < _CROWDED_STEPS * spacing_mm).any() or len(gaps) > _GAPS_PART * len(steps_mm):
        raise _mixed("evenly spaced frames", "unevenly spaced ones, as of interleaved stacks")
    missing = int((np.round(gaps) - 1).sum())
    if missing > _MISSING_PART * (len(depths_mm) + missing):
        raise IncompleteSeries(
            f"expected evenly spaced frames, found {missing} missing beside {len(depths_mm)}; send the series again"
        )
    return spacing_mm, missing


def _check_line(positions_mm: NDArray[np.float64], depths_mm: NDArray[np.float64]) -> None:
    along = (depths_mm - depths_mm[0]) / (depths_mm[-1] - depths_mm[0])
    line_mm = positions_mm[0] + along[:, np.newaxis] * (positions_mm[-1] - positions_mm[0])
    if np.linalg.norm(positions_mm - line_mm, axis=1).max() > _IN_LINE_MM:
        raise _mixed("frames in one line", "several stacks side by side")
