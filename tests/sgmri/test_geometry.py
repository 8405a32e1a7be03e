"""Boxes keep their pixels: through SCOORD's float32, through a model's resize, through clipping."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sgmri.errors import InvalidGeometry
from sgmri.geometry import Box, FrameScaling, enclosing, intersection_area, iou

FRAME = 4096
edges = st.floats(0, FRAME, allow_nan=False)
scales = st.floats(0.05, 20)


@st.composite
def boxes(draw: st.DrawFn, smallest: float = 0.05) -> Box:
    """Boxes on a frame of 4096 x 4096 pixels, at least ``smallest`` pixels wide and high."""
    x0, y0 = draw(st.floats(0, FRAME - smallest)), draw(st.floats(0, FRAME - smallest))
    width, height = draw(st.floats(smallest, FRAME)), draw(st.floats(smallest, FRAME))
    x1, y1 = min(FRAME, x0 + width), min(FRAME, y0 + height)
    assume(x1 - x0 >= smallest and y1 - y0 >= smallest)
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


@st.composite
def pixel_boxes(draw: st.DrawFn) -> tuple[Box, int, int]:
    """Boxes of whole pixels, with the rows and columns of the frame that they lie on."""
    rows, columns = draw(st.integers(1, 1024)), draw(st.integers(1, 1024))
    x0, y0 = draw(st.integers(0, columns - 1)), draw(st.integers(0, rows - 1))
    x1, y1 = draw(st.integers(x0 + 1, columns)), draw(st.integers(y0 + 1, rows))
    return Box(x0=x0, y0=y0, x1=x1, y1=y1), rows, columns


def contains(outer: Box, inner: Box, slack: float = 0.0) -> bool:
    """Tell whether ``inner`` lies within ``outer``, give or take ``slack`` pixels."""
    return (
        outer.x0 <= inner.x0 + slack
        and outer.y0 <= inner.y0 + slack
        and outer.x1 >= inner.x1 - slack
        and outer.y1 >= inner.y1 - slack
    )


@pytest.mark.parametrize(
    "bad",
    [
        (2, 0, 2, 5),
        (3, 0, 2, 5),
        (0, 5, 2, 5),
        (-0.1, 0, 2, 5),
        (0, -1, 2, 5),
        (0, 0, math.inf, 5),
        (math.nan, 0, 2, 5),
        (0, 0, 2, math.nan),
    ],
)
def test_a_box_that_cannot_exist_is_refused(bad: tuple[float, float, float, float]) -> None:
    """Empty, inverted, negative, infinite and NaN edges raise instead of travelling on."""
    x0, y0, x1, y1 = bad
    with pytest.raises(InvalidGeometry):
        Box(x0=x0, y0=y0, x1=x1, y1=y1)


def test_the_first_pixel_is_the_unit_box_at_the_origin() -> None:
    """The pixel at column 0, row 0 spans (0, 0) to (1, 1) and has its centre at (0.5, 0.5) (PS3.3 C.18.6)."""
    pixel = Box(x0=0, y0=0, x1=1, y1=1)
    assert pixel.area == 1
    assert pixel.centre == (0.5, 0.5)
    assert pixel.lies_within(rows=1, columns=1)


def test_width_runs_along_columns_and_height_along_rows() -> None:
    """The first axis, x, counts columns and the second, y, counts rows, also where the frame is not square."""
    box = Box(x0=10, y0=2, x1=30, y1=7)
    assert (box.width, box.height, box.area) == (20, 5, 100)
    assert box.lies_within(rows=7, columns=30)
    assert not box.lies_within(rows=30, columns=7)


@given(boxes())
def test_the_polyline_is_a_closed_ring_around_the_box(box: Box) -> None:
    """Five points, first equals last, clockwise on the screen, and their extremes are the box (PS3.3 C.18.6)."""
    points = box.polyline()
    assert len(points) == 5
    assert points[0] == points[-1] == (box.x0, box.y0)
    assert len(set(points)) == 4
    xs, ys = zip(*points, strict=True)
    assert (min(xs), min(ys), max(xs), max(ys)) == box.as_tuple()
    # Shoelace: positive where y points down and the ring runs TL, TR, BR, BL
    twice_area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(points))
    assert twice_area / 2 == pytest.approx(box.area, rel=1e-6, abs=1e-6)


@given(boxes(), st.integers(1, FRAME), st.integers(1, FRAME))
def test_clipping_stays_on_the_frame_or_refuses(box: Box, rows: int, columns: int) -> None:
    """A clipped box is the part on the frame; a box wholly outside raises."""
    if box.x0 >= columns or box.y0 >= rows:
        with pytest.raises(InvalidGeometry):
            box.clipped(rows, columns)
        return
    clipped = box.clipped(rows, columns)
    assert clipped.lies_within(rows, columns)
    assert clipped.area == pytest.approx(intersection_area(box, Box(x0=0, y0=0, x1=columns, y1=rows)))


@given(boxes())
def test_growing_to_pixels_loses_nothing_and_adds_less_than_a_pixel(box: Box) -> None:
    """Every touched pixel is in, each edge moves by less than a pixel, and growing again changes nothing."""
    grown = box.grown_to_pixels()
    assert all(edge == int(edge) for edge in grown.as_tuple())
    assert contains(grown, box, slack=1e-3 + 1e-9)
    assert contains(box, grown, slack=1)
    assert grown.grown_to_pixels() == grown


@given(boxes(), boxes())
def test_overlap_is_symmetric_and_bounded(a: Box, b: Box) -> None:
    """IoU lies in 0 to 1, does not depend on the order, and is 0 exactly where no area is shared."""
    assert iou(a, b) == pytest.approx(iou(b, a))
    assert 0 <= iou(a, b) <= 1 + 1e-9
    assert (iou(a, b) == 0) == (intersection_area(a, b) == 0)


@given(boxes())
def test_a_box_overlaps_itself_wholly(box: Box) -> None:
    """IoU of a box with itself is 1."""
    assert iou(box, box) == pytest.approx(1)


@given(boxes(), boxes())
def test_the_enclosing_box_holds_both_and_no_more(a: Box, b: Box) -> None:
    """Both lie within it, and each of its edges is an edge of one of them."""
    both = enclosing(a, b)
    assert contains(both, a)
    assert contains(both, b)
    assert all(edge in pair for edge, *pair in zip(both.as_tuple(), a.as_tuple(), b.as_tuple(), strict=True))


def test_overlap_of_known_boxes() -> None:
    """Half-open edges: neighbours share nothing; a quarter-shifted pair has the IoU that paper gives."""
    a = Box(x0=0, y0=0, x1=2, y1=2)
    assert iou(a, Box(x0=2, y0=0, x1=4, y1=2)) == 0
    assert intersection_area(a, Box(x0=1, y0=1, x1=3, y1=3)) == 1
    assert iou(a, Box(x0=1, y0=1, x1=3, y1=3)) == pytest.approx(1 / 7)


@given(pixel_boxes(), scales, scales, st.floats(0, 500), st.floats(0, 500))
def test_a_box_comes_back_from_the_model_as_it_went(
    drawn: tuple[Box, int, int], scale_x: float, scale_y: float, offset_x: float, offset_y: float
) -> None:
    """Source pixels -> model pixels -> source pixels is the identity, whatever the resize and the padding."""
    box, rows, columns = drawn
    scaling = FrameScaling(
        scale_x=scale_x,
        scale_y=scale_y,
        offset_x=offset_x,
        offset_y=offset_y,
        source_rows=rows,
        source_columns=columns,
    )
    assert scaling.to_source(scaling.to_model(box)) == box


@given(boxes(), scales, scales, st.integers(1, 1024), st.integers(1, 1024))
def test_a_model_box_touches_source_pixels_or_is_refused(
    box: Box, scale_x: float, scale_y: float, rows: int, columns: int
) -> None:
    """What comes back is whole pixels on the source frame; a box that lies in the padding raises."""
    scaling = FrameScaling(scale_x=scale_x, scale_y=scale_y, source_rows=rows, source_columns=columns)
    assume(box.width / scale_x > 0.01 and box.height / scale_y > 0.01)
    # An edge within rounding of the frame's own may fall on either side
    assume(abs(box.x0 / scale_x - columns) > 0.01 and abs(box.y0 / scale_y - rows) > 0.01)
    if box.x0 / scale_x >= columns or box.y0 / scale_y >= rows:
        with pytest.raises(InvalidGeometry):
            scaling.to_source(box)
        return
    source = scaling.to_source(box)
    assert source.lies_within(rows, columns)
    assert source.grown_to_pixels() == source


def test_a_plain_resize_needs_no_half_pixel() -> None:
    """Twice the size maps the first pixel onto the first two by two: corners are the origin (ADR 0003)."""
    scaling = FrameScaling(scale_x=2, scale_y=2, source_rows=10, source_columns=10)
    assert scaling.to_model(Box(x0=0, y0=0, x1=1, y1=1)) == Box(x0=0, y0=0, x1=2, y1=2)


@pytest.mark.parametrize(("scale_x", "scale_y"), [(0, 1), (1, -2), (math.nan, 1)])
def test_a_scaling_that_cannot_be_undone_is_refused(scale_x: float, scale_y: float) -> None:
    """Zero, negative and NaN scales raise."""
    with pytest.raises(InvalidGeometry):
        FrameScaling(scale_x=scale_x, scale_y=scale_y, source_rows=1, source_columns=1)
