"""Puts headers on research images that have none: a classic MR series with the geometry that is known of them.

Files such as fastMRI's hold voxels and an acquisition's grid, but no patient coordinates. The series lies in its
nominal plane (axial heads from the feet up, coronal knees from front to back), so that frames, spacing and boxes are
true and the product can be driven with it; left and right are nominal, and Image Comments says so.

References
----------
PS3.3 A.4 (MR Image IOD)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import format_number_as_ds

from conformance.phantom_anatomy import Grid
from conformance.phantom_headers import derived_uid, make_item, numbers, orientation, pixels, position, with_meta
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import InvalidGeometry
from sgmri.volume import Anatomy, Orientation

_BRIGHTEST = 4095
_COSINES = MappingProxyType(
    {Anatomy.BRAIN: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), Anatomy.KNEE: ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))}
)
_COMMENT = f"Research image in a nominal plane: left and right are not known. {RESEARCH_USE_STATEMENT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Research:
    """What is known of a volume besides its voxels.

    Parameters
    ----------
    name
        Of the volume in its data set; stands for the patient's name, and the UIDs derive from it.
    patient_id
        The data set's pseudonym; empty where it has none.
    anatomy, description
        Body part; how the acquisition is called, such as ``AXFLAIR``.
    pixel_spacing_mm, slice_thickness_mm
        Between rows and columns; of a slice, which is its distance to the next one too.
    timing
        Echo Time, Repetition Time and Inversion Time by keyword, in ms, as far as they are known.
    """

    name: str
    patient_id: str
    anatomy: Anatomy
    description: str
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float
    timing: Mapping[str, float]


def research_series(voxels: NDArray[np.float32], about: Research) -> tuple[Dataset, ...]:
    """Return one MR Image a frame, in the order of the frames.

    Parameters
    ----------
    voxels
        float32 (frames, rows, columns), finite, from the feet to the head or from front to back; values below 0 become
        0, and the brightest of all becomes 4095.
    about
        What is known of them.

    Raises
    ------
    InvalidGeometry
        If a voxel is not finite, or none is above 0.
    """
    highest = float(voxels.max())
    if not np.isfinite(voxels).all() or highest <= 0:
        raise InvalidGeometry(f"{about.name}: expected finite voxels and one above 0, found other values")
    stored = np.rint(np.clip(voxels, 0, None) * (_BRIGHTEST / highest)).astype(np.uint16)
    row, column = _COSINES[about.anatomy]
    grid = Grid(
        orientation=Orientation(row_cosines=row, column_cosines=column, pixel_spacing_mm=about.pixel_spacing_mm),
        frames=len(stored),
        rows=stored.shape[1],
        columns=stored.shape[2],
        slice_spacing_mm=about.slice_thickness_mm,
        slice_thickness_mm=about.slice_thickness_mm,
        centre_mm=(0.0, 0.0, 0.0),
    )
    return tuple(_instance(frame, grid, frame_index, about) for frame_index, frame in enumerate(stored))


def _instance(frame: NDArray[np.uint16], grid: Grid, frame_index: int, about: Research) -> Dataset:
    uids = ("research", about.name)
    is_inversion = "InversionTime" in about.timing
    ds = make_item(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=MRImageStorage,
        SOPInstanceUID=derived_uid(*uids, "instance", frame_index),
        ImageType=["ORIGINAL", "PRIMARY", "OTHER"],
        StudyDate="",
        StudyTime="",
        AccessionNumber="",
        Modality="MR",
        Manufacturer="",
        ReferringPhysicianName="",
        StudyDescription=f"RESEARCH MR {about.anatomy.upper()}",
        SeriesDescription=about.description,
        PatientName=f"RESEARCH^{about.name}",
        PatientID=about.patient_id or about.name,
        PatientBirthDate="",
        PatientSex="",
        BodyPartExamined=about.anatomy.upper(),
        PatientPosition="HFS" if about.anatomy is Anatomy.BRAIN else "FFS",
        StudyInstanceUID=derived_uid(*uids, "study"),
        SeriesInstanceUID=derived_uid(*uids, "series"),
        FrameOfReferenceUID=derived_uid(*uids, "frame of reference"),
        PositionReferenceIndicator="",
        StudyID="",
        SeriesNumber=1,
        InstanceNumber=frame_index + 1,
        ImageComments=_COMMENT,
        BurnedInAnnotation="NO",
        ScanningSequence=["SE", "IR"] if is_inversion else "SE",
        SequenceVariant="NONE",
        ScanOptions="FS" if "FS" in about.description.split("_")[0] else "",
        MRAcquisitionType="2D",
        RepetitionTime="",
        EchoTime="",
        EchoTrainLength="",
        SliceThickness=format_number_as_ds(grid.slice_thickness_mm),
        SpacingBetweenSlices=format_number_as_ds(grid.slice_spacing_mm),
        PixelSpacing=numbers(np.array(grid.orientation.pixel_spacing_mm)),
        ImageOrientationPatient=orientation(grid),
        ImagePositionPatient=position(grid, frame_index),
        WindowCenter=str(_BRIGHTEST // 2),
        WindowWidth=str(_BRIGHTEST),
    )
    ds.update(make_item(**{keyword: format_number_as_ds(value) for keyword, value in about.timing.items()}))
    if about.anatomy is Anatomy.KNEE:
        ds.Laterality = ""  # type 2C: a knee has a side, which nobody noted
    ds.update(pixels(frame))
    return with_meta(ds)
