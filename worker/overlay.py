"""What objects mark, drawn over the images that they mark it on: lines, spots and masks, a tile a frame.

Shows pixels and the labels of the marks; no patient, no study, no UID.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_io.decode import Limits, decode_frames
from dicom_io.frames import FrameFacts
from dicom_io.instances import InstanceFacts
from dicom_io.outlines import Mark
from dicom_io.source_pixels import Place, frames_by_place
from sgmri.errors import IncompleteSeries
from worker.sheet import BACKGROUND, COLOURS, FAINT, GAP, TEXT_HEIGHT, WIDTH, Colour, Grid, save, write

_COLUMNS: Final = 4
_MAX_TILES: Final = 48
_MAX_LABELS: Final = 6
"""Labels below a tile, a line each."""
_MAX_LABEL: Final = 60
"""Characters of a label."""
_DARKEST_PERCENT, _BRIGHTEST_PERCENT = 0.5, 99.5
_TINT: Final = 0.45
"""Part of the colour in a masked pixel."""

_Frame = tuple[InstanceFacts, FrameFacts]


def draw_marks(marks: Sequence[Mark], sources: Iterable[Path], path: Path) -> tuple[int, int]:
    """Draw marks over their source frames as PNG.

    Parameters
    ----------
    marks
        What is drawn; marks of one label have one colour.
    sources
        Files among which the images are looked for; others are passed over.
    path
        Where to write; the file is there only once it is whole.

    Returns
    -------
    How many frames were drawn, and how many marks lie on images that are not there or did not fit on the sheet.

    Raises
    ------
    IncompleteSeries
        If none of the images is there.
    SeriesError
        If an image cannot be decoded.
    """
    frames = frames_by_place(sources)
    by_place: dict[Place, list[Mark]] = {}
    for mark in marks:
        place = _found(mark, frames)
        if place is not None:
            by_place.setdefault(place, []).append(mark)
    if not by_place:
        raise IncompleteSeries(
            f"expected the images of {len(marks)} marks, found none of them; name their folder with --source"
        )
    shown = dict(list(by_place.items())[:_MAX_TILES])
    labels = dict.fromkeys(mark.label for mark in marks)
    colours = {label: COLOURS[position % len(COLOURS)] for position, label in enumerate(labels)}
    left = len(marks) - sum(map(len, shown.values()))
    _draw([(frames[place], on_it) for place, on_it in shown.items()], colours, left, path)
    return len(shown), left


def _found(mark: Mark, frames: Mapping[Place, _Frame]) -> Place | None:
    # Frame 1 of a single-frame image may be named or not; so may the only frame of a multi-frame one
    numbers = (mark.frame_number, None, 1) if mark.frame_number in (None, 1) else (mark.frame_number,)
    places = ((mark.sop_instance_uid, number) for number in numbers)
    return next((place for place in places if place in frames), None)


def _draw(tiles: Sequence[tuple[_Frame, Sequence[Mark]]], colours: Mapping[str, Colour], left: int, path: Path) -> None:
    labels = [list(dict.fromkeys(mark.label for mark in marks))[:_MAX_LABELS] for _, marks in tiles]
    grid = Grid.fitting((1, 1), len(tiles), _COLUMNS, caption=TEXT_HEIGHT * max(map(len, labels)))
    sheet = Image.new("RGB", (WIDTH, grid.height + TEXT_HEIGHT), BACKGROUND)
    ink = ImageDraw.Draw(sheet)
    for position, (frame, marks) in enumerate(tiles):
        x, y = grid.place(position, 0)
        sheet.paste(_tile(frame, marks, colours, grid), (x, y))
        for line, label in enumerate(labels[position]):
            write(ink, (x, y + grid.tile_height + 2 + line * TEXT_HEIGHT), label[:_MAX_LABEL], colours[label])
    write(ink, (GAP, grid.height), f"{left} marks are not drawn" if left else "", FAINT)
    save(sheet, path)


def _tile(frame: _Frame, marks: Sequence[Mark], colours: Mapping[str, Colour], grid: Grid) -> Image.Image:
    """Return a frame with its marks, square pixels, as large as fits a tile."""
    grey = _grey(decode_frames([frame], Limits())[0])
    picture = np.repeat(grey[..., np.newaxis], 3, axis=2).astype(np.float32)
    for mark in marks:
        if mark.mask is not None and mark.mask.shape == grey.shape:
            tint = np.asarray(colours[mark.label], dtype=np.float32)
            picture[mark.mask] = (1 - _TINT) * picture[mark.mask] + _TINT * tint
    row_mm, column_mm = frame[1].pixel_spacing_mm or (1.0, 1.0)
    height, width = grey.shape[0] * row_mm, grey.shape[1] * column_mm
    scale = min(grid.tile_width / width, grid.tile_height / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    tile = Image.fromarray(np.rint(picture).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    ink = ImageDraw.Draw(tile)
    for mark in marks:
        _line(ink, mark, (size[0] / grey.shape[1], size[1] / grey.shape[0]), colours[mark.label])
    return tile


def _line(ink: ImageDraw.ImageDraw, mark: Mark, scale: tuple[float, float], colour: Colour) -> None:
    points = [(x * scale[0], y * scale[1]) for x, y in mark.points]
    if len(points) == 1:
        ink.circle(points[0], 4, outline=colour, width=2)
    elif points:
        ink.line(points, fill=colour, width=2)


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(values, (_DARKEST_PERCENT, _BRIGHTEST_PERCENT))
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    grey: NDArray[np.uint8] = np.rint(np.clip((values - low) * (255.0 / (high - low)), 0.0, 255.0)).astype(np.uint8)
    return grey
