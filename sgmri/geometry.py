r"""Boxes on frames: half-open, in pixels, origin at the outer corner of the top-left pixel.

The same coordinates as a DICOM SCOORD (PS3.3 C.18.6: column\row, 0\0 is the top-left corner of the top-left
pixel), so that a box is written and read back without any shift. The pixel at column ``c``, row ``r`` is the box
``(c, r, c + 1, r + 1)``; its centre is ``(c + 0.5, r + 0.5)``. See ADR 0003.
"""

import math
from dataclasses import dataclass

from sgmri.errors import InvalidGeometry

_NEAR = 1e-3
"""How far from a whole pixel (in pixels) a mapped edge may lie and still be that pixel's edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A half-open rectangle on one frame.

    Parameters
    ----------
    x0, y0
        Left and top edge, in pixels (inclusive).
    x1, y1
        Right and bottom edge, in pixels (exclusive); ``x0 < x1`` and ``y0 < y1``.

    Raises
    ------
    InvalidGeometry
        If an edge is not finite, negative, or the box is empty.

    References
    ----------
    PS3.3 C.18.6
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        edges = (self.x0, self.y0, self.x1, self.y1)
        if not all(math.isfinite(edge) for edge in edges):
            raise InvalidGeometry(f"a box needs four finite edges, found {edges}")
        if self.x0 < 0 or self.y0 < 0:
            raise InvalidGeometry(f"a box starts at 0 or more, found {edges}; clip it to its frame first")
        if self.x0 >= self.x1 or self.y0 >= self.y1:
            raise InvalidGeometry(f"a box needs x0 < x1 and y0 < y1, found {edges}")

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y) in pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Return ``(x0, y0, x1, y1)``."""
        return self.x0, self.y0, self.x1, self.y1

    def polyline(self) -> tuple[tuple[float, float], ...]:
        """Return the closed ring TL, TR, BR, BL, TL as five (column, row) points (PS3.3 C.18.6)."""
        return (
            (self.x0, self.y0),
            (self.x1, self.y0),
            (self.x1, self.y1),
            (self.x0, self.y1),
            (self.x0, self.y0),
        )

    def lies_within(self, rows: int, columns: int) -> bool:
        """Tell whether the box lies wholly on a frame of ``rows`` x ``columns`` pixels."""
        return self.x1 <= columns and self.y1 <= rows

    def clipped(self, rows: int, columns: int) -> "Box":
        """Return the part on a frame of ``rows`` x ``columns`` pixels.

        Raises
        ------
        InvalidGeometry
            If nothing of the box lies on the frame.
        """
        return Box(x0=self.x0, y0=self.y0, x1=min(self.x1, columns), y1=min(self.y1, rows))

    def grown_to_pixels(self) -> "Box":
        """Return the smallest box of whole pixels around this one.

        An edge within 1/1000 pixel of a whole number is that number, so that a box mapped there and back
        (with rounding errors) does not grow by a pixel.
        """
        return Box(
            x0=math.floor(self.x0 + _NEAR),
            y0=math.floor(self.y0 + _NEAR),
            x1=math.ceil(self.x1 - _NEAR),
            y1=math.ceil(self.y1 - _NEAR),
        )


def intersection_area(a: Box, b: Box) -> float:
    """Return the area that two boxes of the same frame share, in square pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return width * height if width > 0 and height > 0 else 0.0


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes of the same frame, 0 to 1."""
    shared = intersection_area(a, b)
    return shared / (a.area + b.area - shared)


def cover(a: Box, b: Box) -> float:
    """Return how much of the smaller of two boxes of the same frame the other covers, 0 to 1."""
    return intersection_area(a, b) / min(a.area, b.area)


def enclosing(a: Box, b: Box) -> Box:
    """Return the smallest box that holds both."""
    return Box(x0=min(a.x0, b.x0), y0=min(a.y0, b.y0), x1=max(a.x1, b.x1), y1=max(a.y1, b.y1))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScaling:
    """How a frame was resized for a model, so that boxes come back.

    ``model = source * scale + offset`` along each axis, both in pixels with the origin at the outer corner of the
    top-left pixel; a pure resize therefore needs no half-pixel term.

    Parameters
    ----------
    scale_x, scale_y
        Model pixels per source pixel along columns and rows.
    offset_x, offset_y
        Where the source's origin lies in model pixels (padding).
    source_rows, source_columns
        Matrix of the source frame.
    """

    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0
    source_rows: int
    source_columns: int

    def __post_init__(self) -> None:
        if not (self.scale_x > 0 and self.scale_y > 0):
            raise InvalidGeometry(f"a scaling needs positive scales, found {self.scale_x}, {self.scale_y}")

    def to_model(self, box: Box) -> Box:
        """Map a box from source pixels to model pixels."""
        return Box(
            x0=box.x0 * self.scale_x + self.offset_x,
            y0=box.y0 * self.scale_y + self.offset_y,
            x1=box.x1 * self.scale_x + self.offset_x,
            y1=box.y1 * self.scale_y + self.offset_y,
        )

    def to_source(self, box: Box) -> Box:
        """Map a box from model pixels to the whole source pixels that it touches.

        Raises
        ------
        InvalidGeometry
            If nothing of the box lies on the source frame.
        """
        x0 = max(0.0, (box.x0 - self.offset_x) / self.scale_x)
        y0 = max(0.0, (box.y0 - self.offset_y) / self.scale_y)
        x1 = (box.x1 - self.offset_x) / self.scale_x
        y1 = (box.y1 - self.offset_y) / self.scale_y
        touched = Box(x0=x0, y0=y0, x1=x1, y1=y1).clipped(self.source_rows, self.source_columns)
        return touched.grown_to_pixels()
