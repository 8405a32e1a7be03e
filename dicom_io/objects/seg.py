"""The segmentation: one segment a tracklet, each of its boxes painted as a filled rectangle.

BINARY in Explicit VR Little Endian, which every reader tried can show; only frames on which the finding lies are
written. highdicom is shown one single-frame stand-in a frame, and the references are put right afterwards: so classic
and Enhanced sources take one way, and frames of several volumes in one instance cannot be mixed up.

References
----------
PS3.3 A.51 (Segmentation IOD), C.8.20.2 (Segmentation Image), C.7.6.16.2.6 (Derivation Image)
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage
from pydicom.valuerep import format_number_as_ds

from dicom_io import codes, identity
from dicom_io.kinds import ResultKind
from dicom_io.objects import colours, envelope
from dicom_io.objects.sources import FrameGeometry, by_instance, frame_geometry, leniently, ordered_sources
from sgmri.errors import MalformedInstance, UnsupportedSeries
from sgmri.findings import Tracklet
from sgmri.geometry import Box
from sgmri.lifecycle import Reason
from sgmri.readings import Reading
from sgmri.vocabulary import CodedConcept
from sgmri.volume import FrameRef, Orientation

CONTENT_LABEL: Final = "AI_FINDINGS"
CONTENT_DESCRIPTION: Final = "Boxes around findings, filled; no outlines. Research use"
CONTENT_CREATOR: Final = "sgmri^Engine"
_LABEL_LENGTH: Final = 64
"""Most characters of Segment Label (0062,0005), VR LO."""


def segment_label(tracklet: Tracklet) -> str:
    """Return the label of a tracklet's segment, such as "Mass lesion-1 (box)", at most 64 characters."""
    tail = f" {tracklet.tracklet_id} (box)"
    return f"{codes.finding_concept(tracklet.label).label[: _LABEL_LENGTH - len(tail)].rstrip()}{tail}"


def encode_segmentation(reading: Reading, sources: Sequence[Dataset]) -> Segmentation | None:
    """Write a reading's boxes as a segmentation.

    Parameters
    ----------
    reading
        The reading.
    sources
        Headers of all instances of the reading's frames.

    Returns
    -------
    None where the reading holds no box: an empty segmentation says nothing.

    Raises
    ------
    UnsupportedSeries
        If the source's geometry forbids a segmentation; the report can still be written.
    IncompleteSeries, MalformedInstance
        If the sources are not those of the reading.
    """
    if not reading.tracklets:
        return None
    sources = ordered_sources(reading, sources)
    indices = sorted({finding.frame_index for finding in reading.findings})
    shown = _stand_ins(reading, sources, indices)
    with leniently():
        ds = Segmentation(
            source_images=shown,
            pixel_array=_masks(reading, indices),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=_descriptions(reading),
            series_instance_uid=identity.result_uids(reading).series(ResultKind.SEG),
            series_number=envelope.SEG_SERIES_NUMBER,
            sop_instance_uid=identity.result_uids(reading).instance(ResultKind.SEG),
            instance_number=1,
            manufacturer=identity.MANUFACTURER,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            content_label=CONTENT_LABEL,
            content_description=CONTENT_DESCRIPTION,
            content_creator_name=CONTENT_CREATOR,
            contributing_equipment=[envelope.contributing_equipment(reading)],
            manufacturer_model_name=identity.MODEL_NAME,
            software_versions=identity.SOFTWARE_VERSION,
            device_serial_number=reading.engine.digest,
        )
    _refer_to_sources(ds, reading, indices)
    _settle_dimensions(ds, reading, indices)
    if sources[0].get("BodyPartExamined"):
        ds.BodyPartExamined = sources[0].BodyPartExamined
    texts = [envelope.engine_text(reading), *map(segment_label, reading.tracklets)]
    envelope.seal(ds, reading, sources[0], texts=texts)
    with leniently():
        return Segmentation.from_dataset(ds, copy=False)


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
        image.Rows, image.Columns = reading.rows, reading.columns
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


def _masks(reading: Reading, indices: Sequence[int]) -> NDArray[np.uint8]:
    """Return the filled boxes: uint8 (frames with a box, rows, columns), or with a segment axis where boxes overlap."""
    row_of = {index: row for row, index in enumerate(indices)}
    shape = (len(indices), reading.rows, reading.columns)
    label_map = np.zeros(shape, dtype=np.uint8 if len(reading.tracklets) < 256 else np.uint16)
    for number, tracklet in enumerate(reading.tracklets, start=1):
        for finding in tracklet.findings:
            patch = label_map[(row_of[finding.frame_index], *painted(finding.box))]
            if patch.any():
                return _overlapping_masks(reading, row_of, shape)
            patch[...] = number
    return label_map


def _overlapping_masks(reading: Reading, row_of: dict[int, int], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    masks = np.zeros((*shape, len(reading.tracklets)), dtype=np.uint8)
    for place, tracklet in enumerate(reading.tracklets):
        for finding in tracklet.findings:
            masks[(row_of[finding.frame_index], *painted(finding.box), place)] = 1
    return masks


def painted(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of the whole pixels that a box touches."""
    x0, y0, x1, y1 = (int(edge) for edge in box.grown_to_pixels().as_tuple())
    return slice(y0, y1), slice(x0, x1)


def _descriptions(reading: Reading) -> list[SegmentDescription]:
    engine = reading.engine
    algorithm = AlgorithmIdentificationSequence(
        name=engine.name,
        family=codes.written(codes.algorithm_family(engine.name)),
        version=engine.version,
        parameters={"sha256": engine.digest},
    )
    uids = identity.result_uids(reading)
    descriptions = []
    for number, tracklet in enumerate(reading.tracklets, start=1):
        concept = codes.finding_concept(tracklet.label)
        descriptions.append(
            SegmentDescription(
                segment_number=number,
                segment_label=segment_label(tracklet),
                segmented_property_category=codes.written(codes.category(concept.written)),
                segmented_property_type=codes.written(concept.written),
                algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
                tracking_uid=uids.segment_uid(tracklet),
                tracking_id=tracklet.tracklet_id,
                anatomic_regions=[codes.written(concept.site)],
                display_color=colours.cielab(number),
            )
        )
    return descriptions


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
    for group in ds.PerFrameFunctionalGroupsSequence:
        derivation = group.DerivationImageSequence[0]
        # Segments on one frame share this item in memory: each gets its own
        item = deepcopy(derivation.SourceImageSequence[0])
        ref = true[str(item.ReferencedSOPInstanceUID)]
        item.ReferencedSOPClassUID = ref.sop_class_uid
        item.ReferencedSOPInstanceUID = ref.sop_instance_uid
        if ref.frame_number is not None:
            item.ReferencedFrameNumber = ref.frame_number
        derivation.SourceImageSequence = [item]


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
    finding, site
        Segmented property type and anatomic region.
    masks
        One a frame, in stored order.
    """

    tracklet_id: str
    tracking_uid: str
    label: str
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
    if ds.get("SOPClassUID") != SegmentationStorage:
        raise MalformedInstance("expected a Segmentation, found another SOP class; hand over the SEG object")
    masks: dict[int, list[DecodedMask]] = {}
    try:
        with leniently():
            frames = np.asarray(ds.pixel_array, dtype=bool).reshape(-1, ds.Rows, ds.Columns)
            for pixels, group in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
                masks.setdefault(_segment_number(ds, group), []).append(_decoded_mask(pixels, group))
            return tuple(_decoded_segment(item, masks.get(int(item.SegmentNumber), [])) for item in ds.SegmentSequence)
    except (AttributeError, IndexError, ValueError) as error:
        raise MalformedInstance(
            f"expected a Segmentation as sgmri writes it, found one that lacks a part ({type(error).__name__}); it was "
            "changed on its way or written by another product"
        ) from None


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
        finding=codes.read(item.SegmentedPropertyTypeCodeSequence[0]),
        site=codes.read(item.AnatomicRegionSequence[0]),
        masks=tuple(masks),
    )
