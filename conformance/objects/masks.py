"""What a segmentation paints: the extent of each segment on each source frame, and whether reports agree with it.

Frames are unpacked one at a time.

References
----------
PS3.3 C.8.20.2 (Segmentation Image), C.7.6.16.2.6 (Derivation Image); PS3.5 8.1.1 (bits packed without padding)
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from conformance.objects.corpus import LABEL_MAP, SEGMENTATION
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.regions import Extent, Region, regions_of, tracking_id, tracking_uid
from conformance.objects.subject import Item, Subject, integers, sequence, text


def _check(name: str, says: str, source: str, severity: Severity = Severity.ERROR) -> Check:
    return Check(name=name, group=Group.GEOMETRY, says=says, source=source, severity=severity)


EXTENT: Final = _check(
    "geometry-segment-extent", "a region around what its segment paints, a box equal to it", "PS3.3 C.18.6, C.8.20.2"
)
COVERED: Final = _check(
    "geometry-segment-frames", "a region for each frame of its segment, and the reverse", "PS3.16 TID 1410, 1411"
)
SEGMENT: Final = Check(
    name="reference-segment", group=Group.REFERENCE, says="a segment of the segmentation", source="PS3.3 C.18.4"
)
TRACKING: Final = Check(name="reference-tracking", group=Group.REFERENCE, source="PS3.3 C.8.20.4, PS3.16 TID 1411",
                        says="the tracking identifiers of the segment that is referred to")  # fmt: skip
CHECKS: Final = (EXTENT, COVERED, SEGMENT, TRACKING)

Frame = tuple[str, int | None]
_LESION_IDENTIFIER: Final = ("DCM", "121151")


@dataclass(frozen=True, slots=True)
class Painted:
    """What one segment paints on one source frame.

    Parameters
    ----------
    extent
        Half-open, in pixels; None where the frame is empty.
    is_solid
        Whether it fills its extent.
    """

    extent: Extent | None
    is_solid: bool


def frame_sources(ds: Dataset) -> Iterator[list[Frame]]:
    """Yield the source frames of each frame: UID, and frame number where one is named."""
    shared = sequence(ds, "SharedFunctionalGroupsSequence")[:1]
    for frame in sequence(ds, "PerFrameFunctionalGroupsSequence"):
        yield [
            (text(source, "ReferencedSOPInstanceUID"), next(iter(integers(source, "ReferencedFrameNumber")), None))
            for place in (frame, *shared)
            for derivation in sequence(place, "DerivationImageSequence")
            for source in sequence(derivation, "SourceImageSequence")
        ]


def painted_by(ds: Dataset, segment: int) -> Mapping[Frame, Painted]:
    """Return what a segment paints, by source frame; frames without exactly one source are left out."""
    shared = sequence(ds, "SharedFunctionalGroupsSequence")[:1]
    is_label_map = text(ds, "SOPClassUID") == LABEL_MAP
    found: dict[Frame, Painted] = {}
    frames = sequence(ds, "PerFrameFunctionalGroupsSequence")
    for index, (frame, sources) in enumerate(zip(frames, frame_sources(ds), strict=True)):
        named = [
            number
            for place in (frame, *shared)
            for item in sequence(place, "SegmentIdentificationSequence")
            for number in integers(item, "ReferencedSegmentNumber")
        ]
        if len(sources) != 1 or (not is_label_map and named != [segment]):
            continue
        pixels = _frame(ds, index)
        mask = pixels == segment if is_label_map else pixels > 0
        if mask.any() or not is_label_map:
            found[sources[0]] = _painted(mask)
    return found


def _painted(mask: NDArray[np.bool_]) -> Painted:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return Painted(None, is_solid=False)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Painted((x0, y0, x1, y1), is_solid=bool(mask[y0:y1, x0:x1].all()))


def _frame(ds: Dataset, index: int) -> NDArray[np.uint8]:
    rows, columns, bits = int(ds.Rows), int(ds.Columns), int(ds.BitsAllocated)
    size = rows * columns
    if bits == 1 and not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        first, last = index * size, (index + 1) * size
        packed = np.frombuffer(ds.PixelData, np.uint8)[first // 8 : -(-last // 8)]
        flat = np.unpackbits(packed, bitorder="little")[first % 8 :][:size]
        if flat.size != size:
            return np.zeros((rows, columns), np.uint8)  # Pixel Data is short: a check of its own says so
        return np.asarray(flat.reshape(rows, columns))
    return np.asarray(pixel_array(ds, index=index))


@dataclass(frozen=True, slots=True)
class Link:
    """A report's reference to a segment.

    Parameters
    ----------
    item
        The IMAGE item.
    segmentation_uid, numbers
        What it names; no numbers where it names none.
    uid, identifier
        Tracking identifiers beside it; empty where there are none.
    """

    item: Item
    segmentation_uid: str
    numbers: tuple[int, ...]
    uid: str
    identifier: str


def links_of(subject: Subject) -> Iterator[Link]:
    """Yield the references to segments in a report's content."""
    for item in subject.items():
        found = sequence(item.ds, "ReferencedSOPSequence") if item.value_type == "IMAGE" else []
        if not found or text(found[0], "ReferencedSOPClassUID") not in (SEGMENTATION, LABEL_MAP) or item.parent is None:
            continue
        parent = item.parent
        is_named = parent.name is not None and parent.name.key == _LESION_IDENTIFIER
        yield Link(
            item=item,
            segmentation_uid=text(found[0], "ReferencedSOPInstanceUID"),
            numbers=integers(found[0], "ReferencedSegmentNumber"),
            uid=tracking_uid(parent),
            identifier=tracking_id(parent) or (text(parent.ds, "TextValue") if is_named else ""),
        )


def check_against(subject: Subject, segmentations: Mapping[str, Dataset]) -> Iterator[Finding]:
    """Yield where a report and the segmentations that it refers to disagree.

    Parameters
    ----------
    subject
        The report.
    segmentations
        SOP Instance UID -> segmentation, of those that are among the files.
    """
    regions = [region for region in regions_of(subject) if region.points]
    for link in links_of(subject):
        ds = segmentations.get(link.segmentation_uid)
        if ds is None:
            continue
        segments = {next(iter(integers(one, "SegmentNumber")), -1): one for one in sequence(ds, "SegmentSequence")}
        numbers = link.numbers or tuple(
            number for number, one in segments.items() if link.uid and text(one, "TrackingUID") == link.uid
        )
        if not numbers and link.uid:
            yield TRACKING.found(link.item.part, "a Tracking UID that no segment has")
        for number in numbers:
            if number not in segments:
                yield SEGMENT.found(link.item.part, f"segment {number}")
                continue
            yield from _tracked(link, segments[number])
            yield from _compared(link, regions, segments[number], painted_by(ds, number))


def _tracked(link: Link, segment: Dataset) -> Iterator[Finding]:
    for what, own, theirs in (
        ("Tracking UID", link.uid, text(segment, "TrackingUID")),
        ("Tracking Identifier", link.identifier, text(segment, "TrackingID")),
    ):
        if own and theirs and own != theirs:
            yield TRACKING.found(link.item.part, f"another {what}")


def _compared(
    link: Link, regions: list[Region], segment: Dataset, painted: Mapping[Frame, Painted]
) -> Iterator[Finding]:
    keys = {link.uid, text(segment, "TrackingUID")} - {""}, {link.identifier, text(segment, "TrackingID")} - {""}
    mine: dict[Frame, list[Region]] = {}
    for region in regions:
        if region.tracking_uid in keys[0] or region.tracking_id in keys[1]:
            mine.setdefault(region.frame, []).append(region)
    if not mine:
        return
    has_filled_boxes = all(one.is_solid for one in painted.values())
    for frame, those in mine.items():
        if frame not in painted or painted[frame].extent is None:
            yield COVERED.found(those[0].part, "nothing painted on its frame", mark=those[0].mark)
        elif not _agree(those, painted[frame], must_equal=has_filled_boxes):
            yield EXTENT.found(those[0].part, f"segment {text(segment, 'SegmentNumber')} elsewhere", mark=those[0].mark)
    for frame in painted.keys() - mine.keys():
        if painted[frame].extent is not None:
            yield COVERED.found(link.item.part, "a painted frame without a region")
            return


def _agree(regions: list[Region], painted: Painted, *, must_equal: bool) -> bool:
    assert painted.extent is not None
    extents = [region.extent for region in regions]
    # Whole pixels that the regions touch
    around = (
        math.floor(min(extent[0] for extent in extents)),
        math.floor(min(extent[1] for extent in extents)),
        math.ceil(max(extent[2] for extent in extents)),
        math.ceil(max(extent[3] for extent in extents)),
    )
    if must_equal and all(region.kind == "POLYLINE" for region in regions):
        return around == painted.extent
    x0, y0, x1, y1 = painted.extent
    return around[0] <= x0 and around[1] <= y0 and x1 <= around[2] and y1 <= around[3]
