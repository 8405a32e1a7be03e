"""What an object marks, as regions on source frames: coordinates of reports, graphics of presentation states.

References
----------
PS3.3 C.18.6 (SCOORD), C.10.5 (Graphic Annotation); PS3.16 TID 1410, TID 300
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pydicom.dataset import Dataset

from conformance.objects.findings import Mark
from conformance.objects.subject import Item, Subject, integers, numbers, sequence, text

Extent = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels, half-open, origin at the outer corner of the top-left pixel."""
TRACKING_IDENTIFIER: Final = ("DCM", "112039")
TRACKING_UID: Final = ("DCM", "112040")
_TOOL: Final = "Cornerstone3DTools@"


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A region on a source frame.

    Parameters
    ----------
    part
        Where it stands.
    item, group
        Its SCOORD, and the measurement group or number that it belongs to; None for graphics.
    kind, points
        Graphic type; (column, row) in pixels.
    sop_instance_uid, frames
        What it lies on; no frames where none is named.
    tracking_uid, tracking_id
        Of its group; empty where it has none.
    """

    part: str
    item: Item | None
    group: Item | None
    kind: str
    points: tuple[tuple[float, float], ...]
    sop_instance_uid: str
    frames: tuple[int, ...]
    tracking_uid: str
    tracking_id: str

    @property
    def frame(self) -> tuple[str, int | None]:
        """The frame it lies on: UID, and number where one is named."""
        return (self.sop_instance_uid, self.frames[0] if self.frames else None)

    @property
    def extent(self) -> Extent:
        """The box around it; circles and ellipses by their outermost points."""
        points = list(self.points)
        if self.kind == "CIRCLE" and len(points) == 2:
            (x, y), edge = points
            radius = ((edge[0] - x) ** 2 + (edge[1] - y) ** 2) ** 0.5
            points = [(x - radius, y - radius), (x + radius, y + radius)]
        columns, rows = [point[0] for point in points], [point[1] for point in points]
        return min(columns), min(rows), max(columns), max(rows)

    @property
    def mark(self) -> Mark:
        """The region, to be drawn."""
        return Mark(sop_instance_uid=self.sop_instance_uid, frame_number=self.frame[1], points=self.points)


def regions_of(subject: Subject) -> Iterator[Region]:
    """Yield the regions of a report in the order of its tree, those of a presentation state in that of its layers."""
    for item in subject.items():
        if item.value_type == "SCOORD":
            yield from _scoord(item)
    for number, annotation in enumerate(sequence(subject.ds, "GraphicAnnotationSequence"), start=1):
        yield from _graphics(annotation, f"GraphicAnnotationSequence[{number}]")


def _scoord(item: Item) -> Iterator[Region]:
    values = numbers(item.ds, "GraphicData")
    group = item.parent
    while group is not None and group.value_type != "CONTAINER":
        group = group.parent
    for image in item.children:
        for found in sequence(image.ds, "ReferencedSOPSequence"):
            yield Region(
                part=item.part,
                item=item,
                group=group,
                kind=text(item.ds, "GraphicType"),
                points=tuple(zip(values[::2], values[1::2], strict=False)),
                sop_instance_uid=text(found, "ReferencedSOPInstanceUID"),
                frames=integers(found, "ReferencedFrameNumber"),
                tracking_uid=tracking_uid(group),
                tracking_id=tracking_id(group),
            )


def tracking_uid(group: Item | None) -> str:
    """Return the Tracking Unique Identifier of a group; empty where it has none."""
    found = [] if group is None else group.named(TRACKING_UID)
    return text(found[0].ds, "UID") if found else ""


def tracking_id(group: Item | None) -> str:
    """Return the Tracking Identifier of a group, without the name of a viewer's tool before it."""
    found = [] if group is None else group.named(TRACKING_IDENTIFIER)
    value = text(found[0].ds, "TextValue") if found else ""
    return value.split(":", 2)[-1] if value.startswith(_TOOL) else value


def _graphics(annotation: Dataset, place: str) -> Iterator[Region]:
    images = sequence(annotation, "ReferencedImageSequence")
    for number, graphic in enumerate(sequence(annotation, "GraphicObjectSequence"), start=1):
        values = numbers(graphic, "GraphicData")
        if text(graphic, "GraphicAnnotationUnits") != "PIXEL":
            continue
        for image in images:
            yield Region(
                part=f"{place}/GraphicObjectSequence[{number}]",
                item=None,
                group=None,
                kind=text(graphic, "GraphicType"),
                points=tuple(zip(values[::2], values[1::2], strict=False)),
                sop_instance_uid=text(image, "ReferencedSOPInstanceUID"),
                frames=integers(image, "ReferencedFrameNumber"),
                tracking_uid=text(graphic, "TrackingUID"),
                tracking_id=text(graphic, "TrackingID"),
            )


def is_closed(points: tuple[tuple[float, float], ...]) -> bool:
    """Tell whether a line ends where it began."""
    return len(points) > 3 and points[0] == points[-1]


def is_upright_rectangle(points: tuple[tuple[float, float], ...]) -> bool:
    """Tell whether a closed line goes once around an upright rectangle of some size."""
    if len(points) != 5 or points[0] != points[-1] or len(set(points)) != 4:
        return False
    steps = pairwise(points)
    return all((before[0] == after[0]) != (before[1] == after[1]) for before, after in steps)
