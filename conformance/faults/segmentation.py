"""Faults of segmentations: segments, frames, bits, dimensions, planes, masks."""

from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from conformance.faults import fault as part
from conformance.faults.fault import UNKNOWN_UID, Fault, collector

FAULTS: Final[list[Fault]] = []
fault = collector("SEG", FAULTS)


def _binary(ds: Dataset) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    part.needs(ds.SegmentationType == "BINARY")
    size = (int(ds.NumberOfFrames), int(ds.Rows), int(ds.Columns))
    flat = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")[: size[0] * size[1] * size[2]]
    return flat.reshape(size).copy()


def _paint(ds: Dataset, masks: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]") -> None:
    packed = np.packbits(masks.ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)


@fault("frame of segment 9", "segmentation-segment-of-frame")
def _(ds: Dataset) -> None:
    ds.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 99


@fault("segment number twice", "segmentation-segment-numbers")
def _(ds: Dataset) -> None:
    part.needs(len(ds.SegmentSequence) > 1)
    ds.SegmentSequence[1].SegmentNumber = 1


@fault("segment number 0", "segmentation-segment-numbers")
def _(ds: Dataset) -> None:
    part.needs(ds.SegmentationType == "BINARY")
    ds.SegmentSequence[0].SegmentNumber = 0


@fault("segment without frames", "segmentation-segment-used", "segmentation-dimensions", "geometry-segment-frames")
def _(ds: Dataset) -> None:
    part.needs(ds.SegmentationType == "BINARY" and len(ds.SegmentSequence) > 1)
    for frame in ds.PerFrameFunctionalGroupsSequence:
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1


@fault("pixel data a frame short", "segmentation-pixel-length")
def _(ds: Dataset) -> None:
    size = int(ds.Rows) * int(ds.Columns) * int(ds.BitsAllocated) // 8
    ds.PixelData = ds.PixelData[:-size]


@fault("one frame more than there is", "segmentation-frames")
def _(ds: Dataset) -> None:
    ds.NumberOfFrames = int(ds.NumberOfFrames) + 1


@fault("plane positions swapped", "segmentation-plane")
def _(ds: Dataset) -> None:
    groups = ds.PerFrameFunctionalGroupsSequence
    part.needs(len(groups) > 1)
    one, other = groups[0].PlanePositionSequence, groups[1].PlanePositionSequence
    groups[0].PlanePositionSequence, groups[1].PlanePositionSequence = other, one


@fault("plane shifted by 2 mm", "segmentation-plane")
def _(ds: Dataset) -> None:
    place = ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    x, y, z = (float(value) for value in place.ImagePositionPatient)
    place.ImagePositionPatient = [round(x + 2, 6), round(y, 6), round(z, 6)]


@fault("planes turned", "segmentation-plane")
def _(ds: Dataset) -> None:
    place = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    row, column = list(place.ImageOrientationPatient)[:3], list(place.ImageOrientationPatient)[3:]
    place.ImageOrientationPatient = [*column, *row]


@fault("another pixel size", "segmentation-plane")
def _(ds: Dataset) -> None:
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [float(value) + 0.1 for value in measures.PixelSpacing]


@fault("slice thickness 0", "segmentation-thickness")
def _(ds: Dataset) -> None:
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = "0"


@fault("pixel measures missing", "segmentation-functional-groups")
def _(ds: Dataset) -> None:
    del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence


@fault("plane position of a frame missing", "segmentation-functional-groups")
def _(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence


@fault("another frame of reference", "geometry-frame-of-reference")
def _(ds: Dataset) -> None:
    ds.FrameOfReferenceUID = UNKNOWN_UID


@fault("source images missing", "segmentation-source")
def _(ds: Dataset) -> None:
    for frame in ds.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence


@fault("source images dangling", "reference-exists")
def _(ds: Dataset) -> None:
    for frame in ds.PerFrameFunctionalGroupsSequence:
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = UNKNOWN_UID


@fault("source image unlisted", "reference-listed")
def _(ds: Dataset) -> None:
    del ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]


@fault("source frames swapped", "segmentation-plane", "geometry-segment-frames")
def _(ds: Dataset) -> None:
    groups = ds.PerFrameFunctionalGroupsSequence
    part.needs(len(groups) > 1)
    one, other = groups[0].DerivationImageSequence, groups[1].DerivationImageSequence
    groups[0].DerivationImageSequence, groups[1].DerivationImageSequence = other, one


@fault("algorithm name missing", "segmentation-segment-description")
def _(ds: Dataset) -> None:
    del ds.SegmentSequence[-1].SegmentAlgorithmName


@fault("property type missing", "segmentation-segment-description")
def _(ds: Dataset) -> None:
    del ds.SegmentSequence[-1].SegmentedPropertyTypeCodeSequence


@fault("property category of another meaning", "code-meaning")
def _(ds: Dataset) -> None:
    ds.SegmentSequence[-1].SegmentedPropertyCategoryCodeSequence[0].CodeMeaning = "Tissue"


@fault("tracking UID without tracking ID", "segmentation-tracking")
def _(ds: Dataset) -> None:
    del ds.SegmentSequence[-1].TrackingID


@fault("tracking UID of two segments", "segmentation-tracking")
def _(ds: Dataset) -> None:
    part.needs(len(ds.SegmentSequence) > 1)
    ds.SegmentSequence[-1].TrackingUID = ds.SegmentSequence[-2].TrackingUID
    part.needs(ds.SegmentSequence[-1].TrackingUID)


@fault("8 bits stored", "segmentation-bits")
def _(ds: Dataset) -> None:
    part.needs(ds.SegmentationType == "BINARY")
    ds.BitsStored = 8


@fault("type of another class", "segmentation-bits")
def _(ds: Dataset) -> None:
    ds.SegmentationType = "FRACTIONAL" if ds.SegmentationType == "BINARY" else "BINARY"


@fault("dimension index values of another length", "segmentation-dimensions")
def _(ds: Dataset) -> None:
    content = ds.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0]
    values = content.DimensionIndexValues
    content.DimensionIndexValues = [*(values if isinstance(values, list) else list(values)), 1]


@fault("dimension of an attribute that no frame has", "segmentation-dimensions")
def _(ds: Dataset) -> None:
    ds.DimensionIndexSequence[-1].DimensionIndexPointer = 0x00189074


@fault("dimension index values twice", "segmentation-dimensions")
def _(ds: Dataset) -> None:
    groups = ds.PerFrameFunctionalGroupsSequence
    part.needs(len(groups) > 1)
    groups[1].FrameContentSequence[0].DimensionIndexValues = groups[0].FrameContentSequence[0].DimensionIndexValues


@fault("content label in lower case", "file-value")
def _(ds: Dataset) -> None:
    ds.ContentLabel = "findings"


@fault("planes called regular that are not", "segmentation-organisation")
def _(ds: Dataset) -> None:
    part.needs(len(ds.PerFrameFunctionalGroupsSequence) > 2)
    ds.DimensionOrganizationType = "3D"
    place = ds.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    place.ImagePositionPatient = [round(float(value) + 31.7, 6) for value in place.ImagePositionPatient]


@fault("mask one pixel off", "geometry-segment-extent")
def _(ds: Dataset) -> None:
    masks = _binary(ds)
    masks[0] = np.roll(masks[0], 1, axis=1)
    _paint(ds, masks)


@fault("mask of a frame empty", "geometry-segment-frames")
def _(ds: Dataset) -> None:
    masks = _binary(ds)
    masks[0] = 0
    _paint(ds, masks)


@fault("segmentation of another study", "identity-study")
def _(ds: Dataset) -> None:
    ds.StudyInstanceUID = UNKNOWN_UID


@fault("segmentation of another patient", "identity-attributes")
def _(ds: Dataset) -> None:
    ds.PatientName = "Somebody^Else"


@fault("segmentation in the sources' series", "identity-series")
def _(ds: Dataset) -> None:
    ds.SeriesInstanceUID = ds.ReferencedSeriesSequence[0].SeriesInstanceUID


@fault("segmentation of another build", "air-device-uid", "profile-device")
def _(ds: Dataset) -> None:
    ds.DeviceUID = UNKNOWN_UID
