"""Series of any orientation, and where each voxel lies in the patient, worked out before a header is written."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from conformance import phantoms
from conformance.phantom_headers import make_item, numbers


class Kind(StrEnum):
    """How the frames of a series are packed into instances."""

    CLASSIC = "classic"
    ENHANCED = "enhanced"
    ENHANCED_OWN_GROUPS = "enhanced, orientation and pixel size per frame"
    ENHANCED_SINGLE = "enhanced, one frame an instance"


TO_PATIENT = MappingProxyType(
    {
        "HFS": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        "HFP": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
        "HFDL": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
        "HFDR": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
        "FFS": ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    }
)
"""Patient Position (0018,5100) -> the scanner's three axes in LPS: to the left of a patient who lies HFS, down to the
table, and into his head (PS3.3 C.7.3.1.1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """Frames in the order in which they were acquired, and where they lie.

    Parameters
    ----------
    voxels
        uint16 (frames, rows, columns).
    row_cosines, column_cosines
        float64 (3,): directions in which the column, and the row, index grows; unit vectors, LPS.
    pixel_spacing_mm
        (between rows, between columns).
    origins_mm
        float64 (frames, 3): centre of each frame's first pixel, LPS.
    """

    voxels: NDArray[np.uint16]
    row_cosines: NDArray[np.float64]
    column_cosines: NDArray[np.float64]
    pixel_spacing_mm: tuple[float, float]
    origins_mm: NDArray[np.float64]

    def positions_mm(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return where voxels lie: (n, 3) frame, row and column -> float64 (n, 3) centres, LPS."""
        frame, row, column = indices.T
        row_mm, column_mm = self.pixel_spacing_mm
        found: NDArray[np.float64] = (
            self.origins_mm[frame]
            + np.outer(column * column_mm, self.row_cosines)
            + np.outer(row * row_mm, self.column_cosines)
        )
        return found

    def mirrored(self, axis: int, *, orientation: bool) -> "Scan":
        """Return it mirrored along its frames (0) or columns (2).

        With the orientation it is the same patient scanned the other way, without it another one in his mirror image.
        """
        turned = replace(self, voxels=np.flip(self.voxels, axis).copy())
        if not orientation:
            return turned
        if axis == 0:
            return replace(turned, origins_mm=self.origins_mm[::-1])
        last_mm = (self.voxels.shape[2] - 1) * self.pixel_spacing_mm[1]
        return replace(turned, row_cosines=-self.row_cosines, origins_mm=self.origins_mm + last_mm * self.row_cosines)


def centred(
    voxels: NDArray[np.uint16],
    cosines: tuple[NDArray[np.float64], NDArray[np.float64]],
    pixel_spacing_mm: tuple[float, float],
    slice_spacing_mm: float,
) -> Scan:
    """Return a scan whose frames follow each other along row x column, its middle near the origin but not at it."""
    row_cosines, column_cosines = cosines
    frames, rows, columns = voxels.shape
    row_mm, column_mm = pixel_spacing_mm
    first_mm = (
        np.array([1.5, -12.25, 8.75])
        - row_cosines * column_mm * (columns - 1) / 2
        - column_cosines * row_mm * (rows - 1) / 2
    )
    steps_mm = (np.arange(frames) - (frames - 1) / 2) * slice_spacing_mm
    return Scan(
        voxels=voxels,
        row_cosines=row_cosines,
        column_cosines=column_cosines,
        pixel_spacing_mm=pixel_spacing_mm,
        origins_mm=first_mm + np.outer(steps_mm, np.cross(row_cosines, column_cosines)),
    )


@lru_cache
def _header(name: str) -> Dataset:
    ds = phantoms.make(name).datasets[0]
    del ds.PixelData
    return ds


def datasets(scan: Scan, kind: Kind, order: Sequence[int], *, name: str = "brain") -> list[Dataset]:
    """Return the scan as a series.

    Parameters
    ----------
    scan
        What was scanned.
    kind
        How it is packed.
    order
        Frames of the scan in the order of files and Instance Numbers, or of the frames of a multi-frame instance.
    name
        "brain" or "knee": the phantom whose headers it gets.
    """
    match kind:
        case Kind.CLASSIC:
            return [_classic(scan, index, number, name) for number, index in enumerate(order, start=1)]
        case Kind.ENHANCED_SINGLE:
            return [_enhanced(scan, kind, [index], number, name) for number, index in enumerate(order, start=1)]
        case _:
            return [_enhanced(scan, kind, order, 1, name)]


def _instance(scan: Scan, name: str, frames: Sequence[int], instance_number: int) -> Dataset:
    ds = deepcopy(_header(name))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{1000 + frames[0]}")
    ds.InstanceNumber = instance_number
    ds.Rows, ds.Columns = scan.voxels.shape[1:]
    ds.PixelData = scan.voxels[list(frames)].astype("<u2").tobytes()
    return ds


def _classic(scan: Scan, index: int, instance_number: int, name: str) -> Dataset:
    ds = _instance(scan, f"{name}-normal", [index], instance_number)
    ds.ImageOrientationPatient = _orientation(scan)
    ds.ImagePositionPatient = numbers(scan.origins_mm[index])
    ds.PixelSpacing = numbers(np.array(scan.pixel_spacing_mm))
    return ds


def _enhanced(scan: Scan, kind: Kind, frames: Sequence[int], instance_number: int, name: str) -> Dataset:
    ds = _instance(scan, f"{name}-enhanced", frames, instance_number)
    ds.NumberOfFrames = len(frames)
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = _orientation(scan)
    shared.PixelMeasuresSequence[0].PixelSpacing = numbers(np.array(scan.pixel_spacing_mm))
    per_frame = [deepcopy(ds.PerFrameFunctionalGroupsSequence[0]) for _ in frames]
    for groups, index in zip(per_frame, frames, strict=True):
        groups.PlanePositionSequence = [make_item(ImagePositionPatient=numbers(scan.origins_mm[index]))]
        content = groups.FrameContentSequence[0]
        content.InStackPositionNumber, content.DimensionIndexValues = index + 1, [1, index + 1]
        if kind is Kind.ENHANCED_OWN_GROUPS:
            groups.PlaneOrientationSequence = deepcopy(shared.PlaneOrientationSequence)
            groups.PixelMeasuresSequence = deepcopy(shared.PixelMeasuresSequence)
    if kind is Kind.ENHANCED_OWN_GROUPS:
        del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    ds.PerFrameFunctionalGroupsSequence = per_frame
    return ds


def _orientation(scan: Scan) -> list[str]:
    return numbers(np.concatenate([scan.row_cosines, scan.column_cosines]))
