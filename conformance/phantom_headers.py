"""Puts headers on painted voxels: the identity that all phantoms share, classic MR, and a small CT.

Every attribute that the IODs demand is there (PS3.3 A.4, A.3). The order of the instances is not their order in
space, so that a reader has to sort by position.
"""

from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from conformance.phantom_anatomy import Grid
from sgmri import RESEARCH_USE_STATEMENT

_ORIGIN_MM = (1.5, -12.25, 8.75)
"""The anatomy's origin in patient coordinates (LPS): not zero, so that a forgotten position shows."""
DATE, TIME = "20260102", "101500"
MAKER = "sgmri phantom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """An identity that occurs nowhere else: wherever one of its values turns up, a header has leaked."""

    patient_name: str
    patient_id: str
    patient_birth_date: str
    accession_number: str


CANARIES = Canaries(
    patient_name="CANARY^NIGHTINGALE",
    patient_id="CANARY-ID-7731907",
    patient_birth_date="19170703",
    accession_number="CANARYACC4471",
)
"""The identity of every phantom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a phantom pretends to have been acquired.

    Parameters
    ----------
    body_part, laterality, region
        Body Part Examined; "L", "R" or "" for an unpaired part; SNOMED CT code and meaning of the region.
    study_description, series_description, sequence_name, coil
        Free texts as a scanner would write them.
    patient_position
        Patient Position (0018,5100).
    repetition_time_ms, echo_time_ms, inversion_time_ms, echo_train_length
        The physics; inversion time None without inversion.
    fat_suppressed
        Whether fat is saturated.
    acquisition_contrast
        Defined term of Acquisition Contrast (0008,9209).
    """

    body_part: str
    laterality: str
    region: tuple[str, str]
    study_description: str
    series_description: str
    sequence_name: str
    coil: str
    patient_position: str
    repetition_time_ms: float
    echo_time_ms: float
    inversion_time_ms: float | None
    echo_train_length: int
    fat_suppressed: bool
    acquisition_contrast: str


def derived_uid(*parts: str | int) -> UID:
    """Return the UID that belongs to a phantom's name, seed and role: the same each time (PS3.5 B.2)."""
    return UID(f"2.25.{uuid5(NAMESPACE_URL, 'sgmri/phantom/' + '/'.join(map(str, parts))).int}")


def make_item(**attributes: object) -> Dataset:
    """Return a Dataset with these attributes, by keyword."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def numbers(values: NDArray[np.float64]) -> list[str]:
    """Return numbers as decimal strings of 16 characters at most (PS3.5 6.2)."""
    # + 0.0 turns minus zero into zero
    return [format_number_as_ds(float(np.round(value, 12)) + 0.0) for value in values]


def position(grid: Grid, frame_index: int) -> list[str]:
    """Return Image Position (Patient) of a frame, which counts along the normal."""
    return numbers(grid.first_pixel_mm(frame_index) + np.asarray(_ORIGIN_MM))


def orientation(grid: Grid) -> list[str]:
    """Return Image Orientation (Patient)."""
    return numbers(np.array([*grid.orientation.row_cosines, *grid.orientation.column_cosines]))


def with_meta(ds: Dataset) -> Dataset:
    """Give an instance the file meta that PS3.10 and a C-STORE need, and return it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    return ds


def _common(study_description: str, series_description: str, uids: tuple[str, int]) -> Dataset:
    # patient, study, series, equipment and frame of reference: the same for all instances of a phantom
    return make_item(
        SpecificCharacterSet="ISO_IR 192",
        StudyDate=DATE,
        StudyTime=TIME,
        SeriesDate=DATE,
        SeriesTime=TIME,
        ContentDate=DATE,
        AccessionNumber=CANARIES.accession_number,
        Manufacturer=MAKER,
        ManufacturerModelName=MAKER,
        InstitutionName=MAKER,
        DeviceSerialNumber="0",
        SoftwareVersions="1",
        ReferringPhysicianName="",
        StudyDescription=study_description,
        SeriesDescription=series_description,
        PatientName=CANARIES.patient_name,
        PatientID=CANARIES.patient_id,
        PatientBirthDate=CANARIES.patient_birth_date,
        PatientSex="F",
        StudyInstanceUID=derived_uid(*uids, "study"),
        SeriesInstanceUID=derived_uid(*uids, "series"),
        FrameOfReferenceUID=derived_uid(*uids, "frame of reference"),
        PositionReferenceIndicator="",
        StudyID="1",
        SeriesNumber=3,
        ImageComments=f"PHANTOM, a synthetic image. {RESEARCH_USE_STATEMENT}",
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
    )


def pixels(voxels: NDArray[np.uint16]) -> Dataset:
    """Return the Image Pixel attributes for uint16 ([frames,] rows, columns)."""
    return make_item(
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=voxels.shape[-2],
        Columns=voxels.shape[-1],
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        PixelData=voxels.astype("<u2").tobytes(),
    )


def mr(protocol: Protocol, uids: tuple[str, int]) -> Dataset:
    """Return what classic and Enhanced MR have in common, without pixels and physics."""
    ds = _common(protocol.study_description, protocol.series_description, uids)
    ds.Modality = "MR"
    ds.BodyPartExamined = protocol.body_part
    ds.ProtocolName = protocol.series_description
    ds.PatientPosition = protocol.patient_position
    ds.MagneticFieldStrength = 1.5
    return ds


def classic(voxels: NDArray[np.uint16], grid: Grid, protocol: Protocol, uids: tuple[str, int]) -> tuple[Dataset, ...]:
    """Return one MR Image a frame, in the order of an interleaved acquisition (PS3.3 A.4).

    Instance numbers count against the normal.

    Parameters
    ----------
    voxels
        uint16 (frames, rows, columns), ascending along the normal.
    grid
        Where they lie.
    protocol
        How they pretend to have been acquired.
    uids
        Name and seed that the UIDs derive from.
    """
    order = [*range(0, grid.frames, 2), *range(1, grid.frames, 2)]
    return tuple(_slice(voxels[index], grid, index, protocol, uids) for index in order)


def _slice(
    voxels: NDArray[np.uint16], grid: Grid, frame_index: int, protocol: Protocol, uids: tuple[str, int]
) -> Dataset:
    ds = mr(protocol, uids)
    ds.update(pixels(voxels))
    instance_number = grid.frames - frame_index
    if protocol.laterality:
        ds.Laterality = protocol.laterality
    is_inversion = protocol.inversion_time_ms is not None
    ds.update(
        make_item(
            SOPClassUID=MRImageStorage,
            SOPInstanceUID=derived_uid(*uids, "instance", frame_index),
            ImageType=["ORIGINAL", "PRIMARY", "OTHER"],
            InstanceNumber=instance_number,
            AcquisitionNumber=1,
            AcquisitionDate=DATE,
            AcquisitionTime=TIME,
            ContentTime=f"1015{instance_number:02d}",
            ScanningSequence=["SE", "IR"] if is_inversion else "SE",
            SequenceVariant=["SK", "SP"] if is_inversion else "SK",
            ScanOptions="FS" if protocol.fat_suppressed else "",
            SequenceName=protocol.sequence_name,
            MRAcquisitionType="2D",
            RepetitionTime=protocol.repetition_time_ms,
            EchoTime=protocol.echo_time_ms,
            EchoTrainLength=protocol.echo_train_length,
            EchoNumbers=1,
            NumberOfAverages=1,
            ImagingFrequency="63.87",
            ImagedNucleus="1H",
            FlipAngle="150",
            ReceiveCoilName=protocol.coil,
            SliceThickness=format_number_as_ds(grid.slice_thickness_mm),
            SpacingBetweenSlices=format_number_as_ds(grid.slice_spacing_mm),
            PixelSpacing=numbers(np.array(grid.orientation.pixel_spacing_mm)),
            ImageOrientationPatient=orientation(grid),
            ImagePositionPatient=position(grid, frame_index),
            WindowCenter="400",
            WindowWidth="900",
        )
    )
    if protocol.inversion_time_ms is not None:
        ds.InversionTime = protocol.inversion_time_ms
    return with_meta(ds)


def ct(voxels: NDArray[np.uint16], uids: tuple[str, int]) -> Dataset:
    """Return a single CT Image with the same canaries: a study that no reader of MR may touch (PS3.3 A.3).

    Parameters
    ----------
    voxels
        uint16 (rows, columns), Hounsfield units + 1024.
    uids
        Name and seed that the UIDs derive from.
    """
    ds = _common("PHANTOM CT HEAD", "PHANTOM CT AX 5 mm", uids)
    ds.update(pixels(voxels))
    ds.update(
        make_item(
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=derived_uid(*uids, "instance"),
            Modality="CT",
            BodyPartExamined="HEAD",
            PatientPosition="HFS",
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            InstanceNumber=1,
            AcquisitionNumber=1,
            AcquisitionDate=DATE,
            AcquisitionTime=TIME,
            ContentTime=TIME,
            KVP="120",
            SliceThickness="5",
            PixelSpacing=["3.5", "3.5"],
            ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
            ImagePositionPatient=["-110.25", "-110.25", "0"],
            RescaleIntercept="-1024",
            RescaleSlope="1",
            RescaleType="HU",
            WindowCenter="40",
            WindowWidth="80",
        )
    )
    return with_meta(ds)
