"""Segmentations: segments, frames, bits, dimensions, and planes that lie on the source's.

References
----------
PS3.3 A.51 (Segmentation IOD), C.8.20 (Segmentation modules), C.7.6.16 (functional groups), C.7.6.17 (dimensions)
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from conformance.objects.corpus import LABEL_MAP, SEGMENTATION, Corpus, Instance, Plane, planes_of
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.masks import frame_sources
from conformance.objects.subject import Subject, integers, numbers, sequence, text


def _check(name: str, says: str, source: str, severity: Severity = Severity.ERROR) -> Check:
    return Check(name=f"segmentation-{name}", group=Group.SEGMENTATION, says=says, source=source, severity=severity)


BITS: Final = _check("bits", "the bits of its Segmentation Type", "PS3.3 C.8.20.2.1")
FRAMES: Final = _check("frames", "as many frames as Number of Frames says", "PS3.3 C.7.6.6, C.7.6.16")
LENGTH: Final = _check("pixel-length", "Pixel Data of the length of all frames", "PS3.5 8.1.1, A.4")
NUMBERS: Final = _check("segment-numbers", "segments numbered from 1, by 1", "PS3.3 C.8.20.2.2")
NAMED: Final = _check("segment-of-frame", "a segment that is described", "PS3.3 C.8.20.3.1")
EMPTY: Final = _check("segment-used", "a frame for every segment", "PS3.3 C.8.20.2.2", Severity.WARNING)
DESCRIBED: Final = _check("segment-description", "the attributes that describe a segment", "PS3.3 C.8.20.2, C.8.20.4")
TRACKED: Final = _check("tracking", "Tracking ID and Tracking UID together, each UID once", "PS3.3 C.8.20.4")
DIMENSIONS: Final = _check("dimensions", "dimension indices that fit the dimension module", "PS3.3 C.7.6.17")
GROUPS: Final = _check("functional-groups", "the functional groups that place a frame", "PS3.3 A.51.5, C.7.6.16.2")
DERIVED: Final = _check("source", "the source image of every frame", "PS3.3 C.7.6.16.2.6", Severity.WARNING)
PLANE: Final = _check(
    "plane", "position, orientation and pixel size of the source frame", "PS3.3 C.7.6.16.2.3, C.7.6.2.1.1"
)
MATRIX: Final = _check("matrix", "rows and columns of the source frame", "PS3.3 C.8.20.2.3.1")
THICKNESS: Final = _check("thickness", "a Slice Thickness above 0", "PS3.3 C.7.6.16.2.1")
ORGANISED: Final = _check("organisation", "evenly spaced planes where it is organised as 3D", "PS3.3 C.7.6.17.3")
CHECKS: Final = (BITS, FRAMES, LENGTH, NUMBERS, NAMED, EMPTY, DESCRIBED, TRACKED, DIMENSIONS, GROUPS, DERIVED, PLANE,
                 MATRIX, THICKNESS, ORGANISED)  # fmt: skip

CLASSES: Final = (SEGMENTATION, LABEL_MAP)
_BITS: Final = {"BINARY": ((1, 1, 0),), "FRACTIONAL": ((8, 8, 7),), "LABELMAP": ((8, 8, 7), (16, 16, 15))}
_POSITION_MM: Final = 1e-2
_COSINES: Final = 1e-4
_MOST_LISTED: Final = 10
"""Findings of one kind about frames; more say nothing new."""


def check(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    """Yield what is wrong with a segmentation; nothing for other objects."""
    if subject.sop_class_uid not in CLASSES:
        return
    ds = subject.ds
    frames = sequence(ds, "PerFrameFunctionalGroupsSequence")
    yield from _bits(ds)
    yield from _lengths(ds, frames)
    yield from _segments(ds)
    yield from _segments_of_frames(ds, frames)
    yield from _dimensions(ds, frames)
    yield from _groups(ds, frames)
    yield from _planes(ds, corpus)
    yield from _organisation(ds)


def _bits(ds: Dataset) -> Iterator[Finding]:
    kind = text(ds, "SegmentationType")
    found = tuple(next(iter(integers(ds, keyword)), -1) for keyword in ("BitsAllocated", "BitsStored", "HighBit"))
    if kind not in _BITS:
        yield BITS.found("SegmentationType", kind or "none", expected="BINARY, FRACTIONAL or LABELMAP")
    elif found not in _BITS[kind]:
        yield BITS.found("BitsStored", f"{found[0]} allocated, {found[1]} stored, high bit {found[2]}")
    if text(ds, "SamplesPerPixel") != "1" or text(ds, "PixelRepresentation") != "0":
        yield BITS.found("SamplesPerPixel", "other samples", expected="one unsigned sample a pixel")
    if (text(ds, "SOPClassUID") == LABEL_MAP) != (kind == "LABELMAP"):
        yield BITS.found("SegmentationType", kind, expected="LABELMAP in a Label Map Segmentation, and nowhere else")


def _lengths(ds: Dataset, frames: list[Dataset]) -> Iterator[Finding]:
    count = next(iter(integers(ds, "NumberOfFrames")), 0)
    if count != len(frames) or count < 1:
        yield FRAMES.found("NumberOfFrames", f"{count}, and {len(frames)} functional groups")
    rows, columns, bits = (next(iter(integers(ds, k)), 0) for k in ("Rows", "Columns", "BitsAllocated"))
    syntax = getattr(ds, "file_meta", Dataset()).get("TransferSyntaxUID")
    pixels = ds.get("PixelData")
    if not isinstance(pixels, bytes) or syntax is None:
        yield LENGTH.found("PixelData", "none")
    elif not getattr(syntax, "is_encapsulated", False):
        bytes_needed = -(-rows * columns * count * bits // 8)
        if len(pixels) not in (bytes_needed, bytes_needed + bytes_needed % 2):
            yield LENGTH.found("PixelData", f"{len(pixels)} bytes", expected=f"{bytes_needed} bytes")


def _segments(ds: Dataset) -> Iterator[Finding]:
    segments = sequence(ds, "SegmentSequence")
    found = [next(iter(integers(segment, "SegmentNumber")), -1) for segment in segments]
    is_label_map = text(ds, "SOPClassUID") == LABEL_MAP
    wrong = len(set(found)) != len(found) or min(found, default=0) < 0 if is_label_map else (
        not found or found != list(range(1, len(found) + 1)))  # fmt: skip
    if wrong:
        yield NUMBERS.found("SegmentSequence", ", ".join(map(str, found[:_MOST_LISTED])) or "none")
    uids: set[str] = set()
    for number, segment in enumerate(segments, start=1):
        place = f"SegmentSequence[{number}]"
        yield from _described(segment, place)
        uid, identifier = text(segment, "TrackingUID"), text(segment, "TrackingID")
        if bool(uid) != bool(identifier):
            yield TRACKED.found(place, "one without the other")
        if uid and uid in uids:
            yield TRACKED.found(f"{place}/TrackingUID", "the one of another segment")
        uids.add(uid)


def _described(segment: Dataset, place: str) -> Iterator[Finding]:
    kind = text(segment, "SegmentAlgorithmType")
    if not text(segment, "SegmentLabel"):
        yield DESCRIBED.found(f"{place}/SegmentLabel", "none")
    if kind not in ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"):
        yield DESCRIBED.found(f"{place}/SegmentAlgorithmType", kind or "none")
    elif kind != "MANUAL" and not text(segment, "SegmentAlgorithmName"):
        yield DESCRIBED.found(f"{place}/SegmentAlgorithmName", "none", expected=f"a name, as the segment is {kind}")
    for keyword in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"):
        if len(sequence(segment, keyword)) != 1:
            yield DESCRIBED.found(f"{place}/{keyword}", f"{len(sequence(segment, keyword))} codes", expected="one code")


def _segments_of_frames(ds: Dataset, frames: list[Dataset]) -> Iterator[Finding]:
    if text(ds, "SOPClassUID") == LABEL_MAP:
        return
    described = {number for segment in sequence(ds, "SegmentSequence") for number in integers(segment, "SegmentNumber")}
    shared = sequence(ds, "SharedFunctionalGroupsSequence")[:1]
    used: set[int] = set()
    for index, frame in enumerate(frames, start=1):
        named = [
            number
            for place in (frame, *shared)
            for item in sequence(place, "SegmentIdentificationSequence")
            for number in integers(item, "ReferencedSegmentNumber")
        ]
        if len(named) != 1 or named[0] not in described:
            yield NAMED.found(f"PerFrameFunctionalGroupsSequence[{index}]", ", ".join(map(str, named)) or "none")
        used.update(named)
    if frames and described - used:
        yield EMPTY.found("SegmentSequence", f"none for segment {min(described - used)}")


def _dimensions(ds: Dataset, frames: list[Dataset]) -> Iterator[Finding]:
    pointers = sequence(ds, "DimensionIndexSequence")
    organisations = {text(item, "DimensionOrganizationUID") for item in sequence(ds, "DimensionOrganizationSequence")}
    for number, pointer in enumerate(pointers, start=1):
        place = f"DimensionIndexSequence[{number}]"
        if text(pointer, "DimensionOrganizationUID") not in organisations:
            yield DIMENSIONS.found(f"{place}/DimensionOrganizationUID", "an undefined one")
        if not _is_there(pointer, frames, ds):
            yield DIMENSIONS.found(f"{place}/DimensionIndexPointer", "an attribute that no frame has")
    seen: dict[tuple[int, ...], int] = {}
    for index, frame in enumerate(frames, start=1):
        place = f"PerFrameFunctionalGroupsSequence[{index}]/FrameContentSequence[1]/DimensionIndexValues"
        values = next((integers(item, "DimensionIndexValues") for item in sequence(frame, "FrameContentSequence")), ())
        if pointers and (len(values) != len(pointers) or min(values, default=0) < 1):
            yield DIMENSIONS.found(place, f"{len(values)} values", expected=f"{len(pointers)} values from 1")
        elif values and values in seen:
            yield DIMENSIONS.found(place, f"those of frame {seen[values]}", expected="values of its own")
        seen.setdefault(values, index)


def _is_there(pointer: Dataset, frames: list[Dataset], ds: Dataset) -> bool:
    try:
        tag = Tag(pointer.DimensionIndexPointer)
        group = Tag(pointer.FunctionalGroupPointer) if "FunctionalGroupPointer" in pointer else None
    except (AttributeError, TypeError, ValueError, OverflowError):
        return False
    places = [*frames[:1], *sequence(ds, "SharedFunctionalGroupsSequence")]
    if group is None:
        return any(tag in place for place in (*places, ds))
    return any(tag in item for place in places if group in place for item in place[group].value)


def _groups(ds: Dataset, frames: list[Dataset]) -> Iterator[Finding]:
    shared = sequence(ds, "SharedFunctionalGroupsSequence")[:1]
    wanted = ["FrameContentSequence"]
    if "FrameOfReferenceUID" in ds:
        wanted += ["PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"]
        if text(ds, "DimensionOrganizationType").startswith("TILED"):
            wanted = ["PixelMeasuresSequence"]
    for keyword in wanted:
        bare = [index for index, frame in enumerate(frames, start=1) if not any(
            sequence(place, keyword) for place in (frame, *shared))]  # fmt: skip
        if bare:
            yield GROUPS.found(f"PerFrameFunctionalGroupsSequence[{bare[0]}]/{keyword}", f"none in {len(bare)} frames")
    bare = [index for index, sources in enumerate(frame_sources(ds), start=1) if not sources]
    if bare:
        yield DERIVED.found(
            f"PerFrameFunctionalGroupsSequence[{bare[0]}]/DerivationImageSequence", f"none in {len(bare)} frames"
        )
    for place in (*shared, *frames):
        for measures in sequence(place, "PixelMeasuresSequence"):
            thickness = numbers(measures, "SliceThickness")
            if "SliceThickness" in measures and not (thickness and thickness[0] > 0):
                yield THICKNESS.found("PixelMeasuresSequence/SliceThickness", "0 or no number")
                return


def _planes(ds: Dataset, corpus: Corpus) -> Iterator[Finding]:
    own = list(planes_of(ds))
    told = 0
    for index, (plane, sources) in enumerate(zip(own, frame_sources(ds), strict=False), start=1):
        place = f"PerFrameFunctionalGroupsSequence[{index}]"
        known = [(image, number) for uid, number in sources if (image := corpus.image(uid)) is not None]
        if plane is None or not known or told >= _MOST_LISTED:
            continue
        problem = _departs(plane, known)
        if problem:
            told += 1
            yield PLANE.found(f"{place}/{problem[0]}", problem[1])
        image = known[0][0]
        if (image.rows, image.columns) != (
            next(iter(integers(ds, "Rows")), 0), next(iter(integers(ds, "Columns")), 0)
        ):  # fmt: skip
            yield MATRIX.found("Rows", "another matrix", expected=f"{image.rows} rows, {image.columns} columns")
            return


def _departs(plane: Plane, known: list[tuple[Instance, int | None]]) -> tuple[str, str] | None:
    """Return in what a frame differs from each of its source frames; None where it lies on one of them."""
    problems = []
    for image, number in known:
        source = image.planes[(number or 1) - 1] if 0 < (number or 1) <= len(image.planes) else None
        if source is None:
            return None
        problem = _difference(plane, source)
        if problem is None:
            return None
        problems.append(problem)
    return problems[0]


def _difference(plane: Plane, source: Plane) -> tuple[str, str] | None:
    def apart(one: tuple[float, ...], other: tuple[float, ...]) -> float:
        return max(abs(a - b) for a, b in zip(one, other, strict=True))

    if apart(plane.cosines, source.cosines) > _COSINES:
        return "PlaneOrientationSequence", "another orientation"
    if apart(plane.spacing_mm, source.spacing_mm) > 1e-4 * max(source.spacing_mm):
        return "PixelMeasuresSequence", "another pixel size"
    shift_mm = apart(plane.position_mm, source.position_mm)
    return ("PlanePositionSequence", f"a shift of {shift_mm:.3g} mm") if shift_mm > _POSITION_MM else None


def _organisation(ds: Dataset) -> Iterator[Finding]:
    if text(ds, "DimensionOrganizationType") != "3D":
        return
    planes = [plane for plane in planes_of(ds) if plane is not None]
    if not planes:
        return
    normal = np.cross(planes[0].cosines[:3], planes[0].cosines[3:])
    depths = sorted({round(float(normal @ np.asarray(plane.position_mm)), 2) for plane in planes})
    gaps = np.diff(depths)
    if len(gaps) > 1 and float(gaps.max() - gaps.min()) > 0.05 * float(gaps.min()):
        yield ORGANISED.found("DimensionOrganizationType", "gaps between planes")
