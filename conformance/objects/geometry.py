"""Geometry: regions lie inside their frames, enclose something, and on the side of the patient that is stated.

A region is half-open in pixels, from 0 to Columns and 0 to Rows (PS3.3 C.18.6: the origin is the outer corner of the
top-left pixel).

References
----------
PS3.3 C.18.6 (SCOORD), C.18.9 (SCOORD3D), C.10.5 (graphics), C.7.6.2.1.1 (x grows to the patient's left)
"""

from collections.abc import Iterator, Sequence
from typing import Final

from conformance.objects.corpus import Corpus, Instance, Plane
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.regions import Region, is_closed, is_upright_rectangle, regions_of
from conformance.objects.subject import Item, Subject, numbers, sequence, text


def _check(name: str, says: str, source: str, severity: Severity = Severity.ERROR) -> Check:
    return Check(name=f"geometry-{name}", group=Group.GEOMETRY, says=says, source=source, severity=severity)


INSIDE: Final = _check("inside", "a region inside its frame", "PS3.3 C.18.6, C.10.5")
CLOSED: Final = _check("closed", "a closed line around a region", "PS3.16 TID 1410", Severity.WARNING)
BOX: Final = _check(
    "box", "a closed upright rectangle of some size where the region is Bounded by it", "PS3.16 CID 219"
)
FRAME_OF_REFERENCE: Final = _check("frame-of-reference", "the Frame of Reference of the source images", "PS3.3 C.7.4.1")
LATERALITY: Final = _check(
    "laterality", "the side of the patient on which the region lies", "PS3.3 C.7.6.2.1.1, CID 244"
)
AGREE: Final = _check("same-region", "the same region for one Tracking UID in every object", "PS3.3 C.10.5, C.18.6")
LAYER: Final = _check("layer", "a graphic layer that is defined", "PS3.3 C.10.7")
CHECKS: Final = (INSIDE, CLOSED, BOX, FRAME_OF_REFERENCE, LATERALITY, AGREE, LAYER)

_SITE, _SIDE = ("SCT", "363698007"), ("SCT", "272741003")
_PURPOSE, _BOUNDED_BY = ("DCM", "130400"), ("SCT", "75958009")
_IMAGE_REGION: Final = ("DCM", "111030")
_SIDES: Final = {("SCT", "7771000"): "L", ("SCT", "24028007"): "R"}
_PAIRED: Final = frozenset(
    [
        "KNEE",
        "HIP",
        "SHOULDER",
        "ELBOW",
        "WRIST",
        "HAND",
        "FOOT",
        "ANKLE",
        "BREAST",
        "EYE",
        "EAR",
        "LEG",
        "ARM",
        "THIGH",
        "CALF",
    ]
)
"""Body parts of which one is imaged; without Laterality nobody can tell which."""
_MARGIN_MM: Final = 5.0
"""Nearer to the middle a region may be called by either side."""
_ROUNDING_PX: Final = 1e-3


def check(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    """Yield what is wrong with the places that an object marks."""
    regions = list(regions_of(subject))
    for region in regions:
        if region.points:
            yield from _inside(region, corpus.image(region.sop_instance_uid))
            yield from _shape(region)
            yield from _side_of_region(region, corpus)
    yield from _stated_sides(subject, corpus)
    yield from _frames_of_reference(subject, corpus)
    yield from _annotations(subject, corpus)


def _inside(region: Region, image: Instance | None) -> Iterator[Finding]:
    x0, y0, x1, y1 = region.extent
    columns, rows = (image.columns, image.rows) if image is not None else (float("inf"), float("inf"))
    if x0 < -_ROUNDING_PX or y0 < -_ROUNDING_PX or x1 > columns + _ROUNDING_PX or y1 > rows + _ROUNDING_PX:
        size = "" if image is None else f"columns 0 to {columns}, rows 0 to {rows}"
        yield INSIDE.found(
            region.part, f"columns {x0:g} to {x1:g}, rows {y0:g} to {y1:g}", expected=size, mark=region.mark
        )


def _shape(region: Region) -> Iterator[Finding]:
    if region.item is None or region.kind != "POLYLINE":
        return
    if _is_bounding(region.group):
        if not is_upright_rectangle(region.points):
            yield BOX.found(region.part, f"{len(region.points)} points around another shape", mark=region.mark)
    elif region.item.name is not None and region.item.name.key == _IMAGE_REGION and not is_closed(region.points):
        yield CLOSED.found(region.part, f"an open line of {len(region.points)} points", mark=region.mark)


def _is_bounding(group: Item | None) -> bool:
    purposes = [] if group is None else group.named(_PURPOSE)
    return any(code.key == _BOUNDED_BY for purpose in purposes if (code := purpose.code()) is not None)


def _side_of_region(region: Region, corpus: Corpus) -> Iterator[Finding]:
    image = corpus.image(region.sop_instance_uid)
    if image is None or region.group is None or image.laterality or image.body_part in _PAIRED:
        return
    side = _actual_side(region, image, corpus)
    for item, stated in _sides_below(region.group):
        if side and stated and stated != side:
            words = {"L": "left", "R": "right"}
            yield LATERALITY.found(item.part, f"{words[stated]}", expected=f"{words[side]}", mark=region.mark)


def _actual_side(region: Region, image: Instance, corpus: Corpus) -> str:
    """Return L or R where a region clearly lies there, else nothing."""
    number = (region.frames or (1,))[0]
    plane = image.planes[number - 1] if 0 < number <= len(image.planes) else None
    if plane is None:
        return ""
    x0, y0, x1, y1 = region.extent
    x = float(plane.place((x0 + x1) / 2, (y0 + y1) / 2)[0])
    # The patient's middle is near the isocentre, and near the centre of what was imaged: doubt spares both
    middles = (0.0, _centre_x(corpus.image_series.get(image.series_instance_uid, (image,))))
    if x > max(middles) + _MARGIN_MM:
        return "L"
    return "R" if x < min(middles) - _MARGIN_MM else ""


def _centre_x(series: Sequence[Instance]) -> float:
    ends = [
        float(plane.place(x, y)[0])
        for image in series
        for plane in _outermost(image.planes)
        for x in (0, image.columns)
        for y in (0, image.rows)
    ]
    return (min(ends) + max(ends)) / 2 if ends else 0.0


def _outermost(planes: Sequence[Plane | None]) -> list[Plane]:
    return [plane for plane in (*planes[:1], *planes[-1:]) if plane is not None]


def _sides_below(group: Item) -> Iterator[tuple[Item, str]]:
    for child in group.children:
        holders = [child] if child.name is not None and child.name.key == _SIDE else child.named(_SIDE)
        for holder in holders:
            code = holder.code()
            yield holder, "" if code is None else _SIDES.get(code.key, "")


def _stated_sides(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    """Yield sides that are not the one that was imaged, where that is one of a pair."""
    sides = {image.laterality for one in subject.references if (image := corpus.image(one.sop_instance_uid))}
    if len(sides) == 1 and (imaged := sides.pop()):
        for item in subject.items():
            code = item.code() if item.name is not None and item.name.key == _SIDE else None
            stated = "" if code is None else _SIDES.get(code.key, "")
            if stated and stated != imaged:
                yield LATERALITY.found(item.part, stated, expected=f"{imaged}, the side that was imaged")
        own = text(subject.ds, "Laterality")
        if own in ("L", "R") and own != imaged:
            yield LATERALITY.found("Laterality", own, expected=f"{imaged}, the side that was imaged")


def _frames_of_reference(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    theirs = {
        image.frame_of_reference_uid for one in subject.references if (image := corpus.image(one.sop_instance_uid))
    }
    if not theirs:
        return
    own = text(subject.ds, "FrameOfReferenceUID")
    if own and own not in theirs:
        yield FRAME_OF_REFERENCE.found("FrameOfReferenceUID", "another UID")
    for item in subject.items():
        if item.value_type == "SCOORD3D" and text(item.ds, "ReferencedFrameOfReferenceUID") not in theirs:
            yield FRAME_OF_REFERENCE.found(item.part, "another UID")


def _annotations(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    layers = {text(layer, "GraphicLayer") for layer in sequence(subject.ds, "GraphicLayerSequence")}
    for number, annotation in enumerate(sequence(subject.ds, "GraphicAnnotationSequence"), start=1):
        place = f"GraphicAnnotationSequence[{number}]"
        if text(annotation, "GraphicLayer") not in layers:
            yield LAYER.found(f"{place}/GraphicLayer", "an undefined one")
        images = [
            image
            for one in sequence(annotation, "ReferencedImageSequence")
            if (image := corpus.image(text(one, "ReferencedSOPInstanceUID"))) is not None
        ]
        for index, words in enumerate(sequence(annotation, "TextObjectSequence"), start=1):
            for keyword, units in (
                ("AnchorPoint", "AnchorPointAnnotationUnits"),
                ("BoundingBoxTopLeftHandCorner", "BoundingBoxAnnotationUnits"),
                ("BoundingBoxBottomRightHandCorner", "BoundingBoxAnnotationUnits"),
            ):
                point = numbers(words, keyword)
                limits = (
                    [(image.columns, image.rows) for image in images] if text(words, units) == "PIXEL" else [(1, 1)]
                )
                if len(point) == 2 and any(not (0 <= point[0] <= x and 0 <= point[1] <= y) for x, y in limits):
                    yield INSIDE.found(f"{place}/TextObjectSequence[{index}]/{keyword}", "a place outside it")


def check_against(subject: Subject, others: Sequence[Subject]) -> Iterator[Finding]:
    """Yield regions that another object of the study places elsewhere, though both bear one Tracking UID."""
    theirs = {region.tracking_uid: region for other in others for region in regions_of(other) if region.tracking_uid}
    for region in regions_of(subject):
        other = theirs.get(region.tracking_uid)
        if other is None or not region.points or not other.points:
            continue
        is_same_frame = region.frame == other.frame
        shift = max(abs(a - b) for a, b in zip(region.extent, other.extent, strict=True))
        if not is_same_frame or shift > _ROUNDING_PX:
            found = f"a shift of {shift:g} pixels" if is_same_frame else "another frame"
            yield AGREE.found(region.part, found, mark=region.mark)
