"""The segmentation: one segment a tracklet, each of its boxes filled, or refined to what stands out inside it.

BINARY in Explicit VR Little Endian, which every reader tried can show, or a label map; only frames on which a finding
lies are written. highdicom is shown one single-frame stand-in a frame, of one row with a pixel a segment; references,
size and pixels are put right afterwards. So classic and Enhanced sources take one way, frames of several volumes in one
instance cannot be mixed up, and neither time nor memory grow with the matrix or with boxes that overlap.

References
----------
PS3.3 A.51 (Segmentation IOD), C.8.20.2 (Segmentation Image), C.7.6.16.2.6 (Derivation Image)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from highdicom.seg import Segmentation, SegmentationTypeValues
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SegmentationStorage
from pydicom.valuerep import format_number_as_ds

from dicom_io import codes, identity
from dicom_io.kinds import ResultKind
from dicom_io.objects import envelope
from dicom_io.objects.masks import Mask, MaskForm, Masks, label_maps, masks_of, overlaps, packed_bits
from dicom_io.objects.segments import descriptions
from dicom_io.objects.sources import FrameGeometry, by_instance, frame_geometry, leniently, ordered_sources
from sgmri.errors import UnsupportedSeries
from sgmri.geometry import Box
from sgmri.lifecycle import Reason
from sgmri.readings import Reading
from sgmri.vocabulary import CodedConcept
from sgmri.volume import FrameRef, Orientation

CONTENT_LABEL: Final = "AI_FINDINGS"
CONTENT_DESCRIPTION: Final = MappingProxyType(
    {
        MaskForm.BOX: "Boxes around findings, filled; no outlines. Research use",
        MaskForm.REFINED: "Refined inside boxes where plausible, else boxes. Research use",
    }
)
LABEL_MAP_SEGMENTATION_STORAGE: Final = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""pydicom 3.0 has no name for it."""
CONTENT_CREATOR: Final = "sgmri^Engine"


def encode_segmentation(
    reading: Reading,
    sources: Sequence[Dataset],
    *,
    pixels: NDArray[np.float32] | None = None,
    as_label_map: bool = False,
) -> Dataset | None:
    """Write a reading's boxes as a segmentation.

    Parameters
    ----------
    reading
        The reading.
    sources
        Headers of all instances of the reading's frames.
    pixels
        The volume that was read, float32 (frames, rows, columns): what stands out inside a box takes its place where
        that is plausible. None: boxes.
    as_label_map
        Write a Label Map Segmentation, which fewer readers take, instead of a binary one.

    Returns
    -------
    None where the reading holds no box: an empty segmentation says nothing.

    Raises
    ------
    UnsupportedSeries
        If the source's geometry forbids a segmentation, or findings share pixels of a label map; the report can
        still be written.
    IncompleteSeries, MalformedInstance
        If the sources are not those of the reading.
    EngineError
        If the pixels are not of the reading's size.
    """
    if not reading.tracklets:
        return None
    sources = ordered_sources(reading, sources)
    indices = sorted({finding.frame_index for finding in reading.findings})
    shown = _stand_ins(reading, sources, indices)
    masks = masks_of(reading, pixels)
    if as_label_map and overlaps(masks):
        raise UnsupportedSeries(
            "a label map needs findings that share no pixel, these do; the boxes stand in the structured report only, "
            "and a binary segmentation could hold them",
            Reason.NOT_APPLICABLE,
        )
    form = MaskForm.REFINED if any(mask.form is MaskForm.REFINED for mask in masks.values()) else MaskForm.BOX
    series_instance_uid, sop_instance_uid = _uids(reading, form, is_label_map=as_label_map)
    with leniently():
        ds = Segmentation(
            source_images=shown,
            pixel_array=_shown_masks(masks, indices, len(reading.tracklets)),
            segmentation_type=SegmentationTypeValues.LABELMAP if as_label_map else SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions(reading, masks),
            series_instance_uid=series_instance_uid,
            series_number=envelope.SEG_SERIES_NUMBER,
            sop_instance_uid=sop_instance_uid,
            instance_number=1,
            manufacturer=identity.MANUFACTURER,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            content_label=CONTENT_LABEL,
            content_description=CONTENT_DESCRIPTION[form],
            content_creator_name=CONTENT_CREATOR,
            contributing_equipment=[envelope.contributing_equipment(reading)],
            manufacturer_model_name=identity.MODEL_NAME,
            software_versions=identity.SOFTWARE_VERSION,
            device_serial_number=reading.engine.digest,
        )
    _paint(ds, reading, indices, masks)
    _refer_to_sources(ds, reading, indices)
    _settle_dimensions(ds, reading, indices)
    if sources[0].get("BodyPartExamined"):
        ds.BodyPartExamined = sources[0].BodyPartExamined
    texts = [envelope.engine_text(reading), *(str(item.SegmentLabel) for item in ds.SegmentSequence)]
    envelope.seal(ds, reading, sources[0], texts=texts)
    # highdicom's own index is still that of the stand-ins: only what is in the file goes on
    plain = Dataset(ds)
    plain.file_meta = ds.file_meta
    return plain


def _uids(reading: Reading, form: MaskForm, *, is_label_map: bool) -> tuple[str, str]:
    kind = ResultKind.LABELMAP if is_label_map else ResultKind.SEG
    forms = [form.value] if form is MaskForm.REFINED else []
    uids = identity.result_uids(reading)
    return uids.series(kind, *forms), uids.instance(kind, *forms)


def has_uids_of(ds: Dataset, reading: Reading) -> bool:
    """Tell whether a segmentation bears the UIDs of a reading, in the form that it has."""
    is_refined = ds.get("ContentDescription") == CONTENT_DESCRIPTION[MaskForm.REFINED]
    form = MaskForm.REFINED if is_refined else MaskForm.BOX
    expected = _uids(reading, form, is_label_map=ds.get("SegmentationType") == "LABELMAP")
    return (ds.get("SeriesInstanceUID"), ds.get("SOPInstanceUID")) == expected


def _stand_ins(reading: Reading, sources: Sequence[Dataset], indices: Sequence[int]) -> list[Dataset]:
    """Return one single-frame header for each frame that bears a box, named 1, 2, ... under a throw-away root."""
    frame_of_reference_uid = str(sources[0].get("FrameOfReferenceUID") or "")
    if not frame_of_reference_uid:
        raise _refusal("a Frame of Reference UID")
    known = by_instance(sources)
    geometry = [frame_geometry(known[reading.frames[i].sop_instance_uid], reading.frames[i]) for i in indices]
    if not all(geometry[0].lies_like(other) for other in geometry):
        raise _refusal("frames of one orientation and pixel size", Reason.MIXED_GEOMETRY)
    distances_mm = _distances_mm(reading.frames, geometry[0].orientation)
    if len(set(np.round(distances_mm, 3).tolist())) < len(distances_mm):
        raise _refusal("each frame at a place of its own", Reason.MIXED_GEOMETRY)
    spacing_mm = float(np.median(np.diff(np.sort(distances_mm)))) if len(distances_mm) > 1 else None
    images = []
    for number, index in enumerate(indices, start=1):
        image = envelope.stand_in(sources[0])
        image.SOPInstanceUID = f"2.25.{number}"
        image.FrameOfReferenceUID = frame_of_reference_uid
        image.PositionReferenceIndicator = sources[0].get("PositionReferenceIndicator") or ""
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if sources[0].get(keyword):
                setattr(image, keyword, sources[0].get(keyword))
        image.Rows, image.Columns = 1, len(reading.tracklets)
        _place(image, reading.frames[index], geometry[0], spacing_mm)
        images.append(image)
    return images


def _refusal(expected: str, reason: Reason = Reason.NOT_APPLICABLE) -> UnsupportedSeries:
    return UnsupportedSeries(
        f"a segmentation needs {expected}, the source series has none; the boxes stand in the structured report only",
        reason,
    )


def _distances_mm(frames: Sequence[FrameRef], orientation: Orientation) -> NDArray[np.float64]:
    positions = np.asarray([ref.position_mm for ref in frames], dtype=np.float64)
    distances: NDArray[np.float64] = positions @ orientation.normal
    return distances


def _place(image: Dataset, ref: FrameRef, geometry: FrameGeometry, spacing_mm: float | None) -> None:
    orientation = geometry.orientation
    image.PixelSpacing = [format_number_as_ds(value) for value in orientation.pixel_spacing_mm]
    image.ImageOrientationPatient = [
        format_number_as_ds(value) for value in (*orientation.row_cosines, *orientation.column_cosines)
    ]
    image.ImagePositionPatient = [format_number_as_ds(float(value)) for value in ref.position_mm]
    thickness_mm = geometry.thickness_mm or spacing_mm
    if thickness_mm is None:
        raise _refusal("a Slice Thickness above 0 for a single frame")
    image.SliceThickness = format_number_as_ds(thickness_mm)
    if spacing_mm is not None:
        image.SpacingBetweenSlices = format_number_as_ds(spacing_mm)


def _shown_masks(masks: Masks, indices: Sequence[int], segments: int) -> NDArray[np.uint16]:
    """Return which segments are on which frame: uint16 (frames with a box, 1, segments), 0 where one is not."""
    row_of = {index: row for row, index in enumerate(indices)}
    shown = np.zeros((len(indices), 1, segments), dtype=np.uint16)
    for number, index in masks:
        shown[row_of[index], 0, number - 1] = number
    return shown


def _paint(ds: Segmentation, reading: Reading, indices: Sequence[int], masks: Masks) -> None:
    """Put the true size and pixels in the place of those that highdicom was shown."""
    rows, columns = ds.Rows, ds.Columns = reading.rows, reading.columns
    places = [indices[_stand_in_number(group) - 1] for group in ds.PerFrameFunctionalGroupsSequence]
    if ds.SegmentationType == "LABELMAP":
        on_frame: dict[int, dict[int, Mask]] = {index: {} for index in indices}
        for (number, index), mask in masks.items():
            on_frame[index][number] = mask
        octets = int(ds.BitsAllocated) // 8
        ds.PixelData = label_maps([on_frame[index] for index in places], rows, columns, octets=octets)
        return
    numbers = [_segment_number(ds, group) for group in ds.PerFrameFunctionalGroupsSequence]
    frames = [masks[key] for key in zip(numbers, places, strict=True)]
    ds.PixelData = packed_bits(frames, rows, columns)
    ds.SegmentsOverlap = "YES" if overlaps(masks) else "NO"


def _stand_in_number(group: Dataset) -> int:
    uid = str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
    return int(uid.rpartition(".")[2])


def _refer_to_sources(ds: Dataset, reading: Reading, indices: Sequence[int]) -> None:
    """Replace the stand-ins' references by the true instances and frame numbers."""
    true = {f"2.25.{number}": reading.frames[index] for number, index in enumerate(indices, start=1)}
    instances = {}
    for ref in true.values():
        instance = Dataset()
        instance.ReferencedSOPClassUID = ref.sop_class_uid
        instance.ReferencedSOPInstanceUID = ref.sop_instance_uid
        instances[ref.sop_instance_uid] = instance
    ds.SourceImageSequence = list(instances.values())
    ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence = list(instances.values())
    items = {}
    for group in ds.PerFrameFunctionalGroupsSequence:
        derivation = group.DerivationImageSequence[0]
        shown = derivation.SourceImageSequence[0]
        uid = str(shown.ReferencedSOPInstanceUID)
        if uid not in items:
            items[uid] = _source_item(true[uid], shown)
        derivation.SourceImageSequence = [items[uid]]


def _source_item(ref: FrameRef, shown: Dataset) -> Dataset:
    """Return the reference to a source frame, with all else that highdicom says of its stand-in."""
    item = Dataset()
    item.ReferencedSOPClassUID = ref.sop_class_uid
    item.ReferencedSOPInstanceUID = ref.sop_instance_uid
    if ref.frame_number is not None:
        item.ReferencedFrameNumber = ref.frame_number
    for element in shown:
        if element.tag not in item:
            item.add(element)
    return item


def _settle_dimensions(ds: Dataset, reading: Reading, indices: Sequence[int]) -> None:
    """Derive the dimension UID, and take back the claim "3D" where frames are left out in between."""
    dimension_uid = identity.derived_uid("dimensions", identity.reading_key(reading))
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimension_uid
    has_gap = any(after - before > 1 for before, after in pairwise(indices))
    if has_gap and "DimensionOrganizationType" in ds:
        del ds.DimensionOrganizationType


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedMask:
    """One frame of a segment, as read back.

    Parameters
    ----------
    sop_instance_uid, frame_number
        The source frame; frame number None for a single-frame source.
    position_mm
        Centre of the first pixel in patient coordinates (LPS).
    box
        Smallest box around the mask's pixels.
    pixels
        How many pixels are set.
    """

    sop_instance_uid: str
    frame_number: int | None
    position_mm: tuple[float, float, float]
    box: Box
    pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedSegment:
    """One segment, as read back.

    Parameters
    ----------
    tracklet_id, tracking_uid, label
        Tracking ID, Tracking UID and Segment Label.
    form
        Whether its masks are boxes, or refined inside them on some frame.
    finding, site
        Segmented property type and anatomic region.
    masks
        One a frame, in stored order.
    """

    tracklet_id: str
    tracking_uid: str
    label: str
    form: MaskForm
    finding: CodedConcept
    site: CodedConcept
    masks: tuple[DecodedMask, ...]


def decode_segmentation(ds: Dataset) -> tuple[DecodedSegment, ...]:
    """Read the segments of a segmentation of this product, in order of segment number.

    Raises
    ------
    MalformedInstance
        If the object is no Segmentation, or lacks what :func:`encode_segmentation` writes.
    """
    classes = (SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE)
    envelope.require_class(ds, *classes, what="a Segmentation", kind="SEG")
    masks: dict[int, list[DecodedMask]] = {}
    with envelope.as_written("a Segmentation"), leniently():
        frames = np.asarray(ds.pixel_array).reshape(-1, ds.Rows, ds.Columns)
        for values, group in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
            for number, pixels in _segments_on(ds, values, group):
                masks.setdefault(number, []).append(_decoded_mask(pixels, group))
        # Number 0 is the background of a label map
        return tuple(
            _decoded_segment(item, masks.get(int(item.SegmentNumber), []))
            for item in ds.SegmentSequence
            if item.SegmentNumber != 0
        )


def _segments_on(ds: Dataset, values: NDArray[Any], group: Dataset) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield the segments of one frame with their pixels."""
    if ds.SegmentationType == "LABELMAP":
        yield from ((int(number), values == number) for number in np.unique(values) if number)
    else:
        yield _segment_number(ds, group), values.astype(bool)


def _segment_number(ds: Dataset, group: Dataset) -> int:
    shared = ds.SharedFunctionalGroupsSequence[0]
    place = group if "SegmentIdentificationSequence" in group else shared
    return int(place.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _decoded_mask(pixels: NDArray[np.bool_], group: Dataset) -> DecodedMask:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    source = group.DerivationImageSequence[0].SourceImageSequence[0]
    number = source.get("ReferencedFrameNumber")
    x_mm, y_mm, z_mm = (float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient)
    return DecodedMask(
        sop_instance_uid=str(source.ReferencedSOPInstanceUID),
        frame_number=None if number is None else int(number),
        position_mm=(x_mm, y_mm, z_mm),
        box=Box(x0=int(columns[0]), y0=int(rows[0]), x1=int(columns[-1]) + 1, y1=int(rows[-1]) + 1),
        pixels=int(pixels.sum()),
    )


def _decoded_segment(item: Dataset, masks: Sequence[DecodedMask]) -> DecodedSegment:
    return DecodedSegment(
        tracklet_id=str(item.TrackingID),
        tracking_uid=str(item.TrackingUID),
        label=str(item.SegmentLabel),
        form=MaskForm(str(item.SegmentLabel).rpartition(" (")[2].removesuffix(")")),
        finding=codes.read(item.SegmentedPropertyTypeCodeSequence[0]),
        site=codes.read(item.AnatomicRegionSequence[0]),
        masks=tuple(masks),
    )
