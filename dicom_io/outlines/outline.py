"""An outline: what an object says as lines beneath lines, and what it marks on images."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

Point = tuple[float, float]
"""(column, row) in pixels, origin at the outer corner of the top-left pixel (PS3.3 C.18.6)."""

_YOUNG_CLASSES: Final = MappingProxyType({"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"})
"""Younger than pydicom's dictionary."""
_STEPS: Final = 64
"""Corners of a polygon that stands for a circle or an ellipse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line, and the lines beneath it."""

    text: str
    items: tuple["Item", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mark:
    """What an object marks on one source frame.

    Parameters
    ----------
    label
        What a person reads beside it.
    sop_instance_uid, frame_number
        The source; frame number None where the object names none.
    points
        A line in pixels of the frame, closed where it ends as it begins; one point for a spot, none for a mask.
    mask
        bool (rows, columns) of a segment's frame; None for a line.
    """

    label: str
    sop_instance_uid: str
    frame_number: int | None
    points: tuple[Point, ...] = ()
    mask: NDArray[np.bool_] | None = None

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The half-open box (x0, y0, x1, y1) around it, in pixels."""
        if self.mask is not None:
            rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
            return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
        return extent_of(self.points)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """What an object says and marks; no patient.

    Parameters
    ----------
    what
        Kind of object, in words.
    items
        Its content.
    marks
        What it marks, in the order of its content.
    """

    what: str
    items: tuple[Item, ...]
    marks: tuple[Mark, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield the outline as text, two blanks a level."""
        yield self.what
        for item in self.items:
            yield from _lines(item, 1)

    def as_json(self) -> dict[str, Any]:
        """Return the outline as what JSON knows; marks as their extents in pixels."""
        return {
            "what": self.what,
            "items": [_mapping(item) for item in self.items],
            "marks": [
                {
                    "label": mark.label,
                    "sop_instance_uid": mark.sop_instance_uid,
                    "frame_number": mark.frame_number,
                    "extent": list(mark.extent),
                }
                for mark in self.marks
            ],
        }


def _lines(item: Item, level: int) -> Iterator[str]:
    for line in item.text.splitlines() or [""]:
        yield "  " * level + line
    for child in item.items:
        yield from _lines(child, level + 1)


def _mapping(item: Item) -> dict[str, Any]:
    return {"text": item.text, "items": [_mapping(child) for child in item.items]}


def class_name(sop_class_uid: str) -> str:
    """Return the name of a SOP class; the UID where it is no standard one, "unknown class" where there is none."""
    return _YOUNG_CLASSES.get(sop_class_uid) or UID(sop_class_uid).name or "unknown class"


def shapes(graphic_type: str, values: Sequence[float]) -> list[tuple[Point, ...]]:
    """Return what Graphic Data draws: one line for most types, one spot for each point of a MULTIPOINT.

    Parameters
    ----------
    graphic_type
        Of an SCOORD (PS3.3 C.18.6) or of a graphic annotation (C.10.5): both have the origin of :data:`Point`.
    values
        Columns and rows in turn.
    """
    points = list(zip(values[::2], values[1::2], strict=False))
    match graphic_type:
        case "MULTIPOINT":
            return [(point,) for point in points]
        case "CIRCLE" if len(points) == 2:
            radius = math.dist(*points)
            return [_ellipse(points[0], (radius, 0.0), (0.0, radius))]
        case "ELLIPSE" if len(points) == 4:
            # The ends of the major axis, then those of the minor one
            x, y = (points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2
            return [_ellipse((x, y), *((end[0] - x, end[1] - y) for end in points[::2]))]
    return [tuple(points)] if points else []


def _ellipse(centre: Point, first: Point, second: Point) -> tuple[Point, ...]:
    angles = [2 * math.pi * step / _STEPS for step in range(_STEPS)]
    corners = [
        (
            centre[0] + first[0] * math.cos(angle) + second[0] * math.sin(angle),
            centre[1] + first[1] * math.cos(angle) + second[1] * math.sin(angle),
        )
        for angle in angles
    ]
    return (*corners, corners[0])


def extent_of(points: Sequence[Point]) -> tuple[float, float, float, float]:
    """Return the box (x0, y0, x1, y1) around some points."""
    x, y = [point[0] for point in points], [point[1] for point in points]
    return min(x), min(y), max(x), max(y)


def extent_text(extent: tuple[float, float, float, float]) -> str:
    """Return an extent as text, such as "columns 10 to 20, rows 3.5 to 8"."""
    x0, y0, x1, y1 = extent
    return f"columns {x0:g} to {x1:g}, rows {y0:g} to {y1:g}"
