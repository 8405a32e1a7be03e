"""A reading at a glance: all frames as a grid with the boxes in place, and the key frame of every tracklet larger.

Shows pixels, boxes, labels and the engine; no patient, no study, no UID.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.findings import Finding, Tracklet, frames_as_text
from sgmri.interfaces import Frames
from sgmri.readings import Reading

_SHEET_WIDTH = 1920
_COLUMNS = 8
_KEY_COLUMNS = 4
_MAX_KEY_TILES = 12
"""So many tracklets get a large tile; all have their boxes in the grid."""
_GAP = 4
_TEXT_HEIGHT = 22
_BACKGROUND, _INK, _FAINT = (16, 16, 20), (235, 235, 235), (150, 150, 155)
_COLOURS = (
    (255, 82, 82),
    (64, 196, 255),
    (255, 214, 0),
    (105, 240, 174),
    (224, 64, 251),
    (255, 145, 0),
    (178, 255, 89),
    (140, 158, 255),
)
"""A colour for each tracklet, again from the start after the last."""

_Colour = tuple[int, int, int]
_Marked = tuple[Finding, _Colour]
"""A box in source pixels and the colour that it is drawn in."""


def draw(volume_frames: Frames, reading: Reading, path: Path) -> None:
    """Draw the contact sheet of a reading as PNG.

    Parameters
    ----------
    volume_frames
        The frames that were read.
    reading
        What was found; boxes in source pixels.
    path
        Where to write; the file is there only once it is whole.
    """
    grid = _Grid.fitting(volume_frames, len(volume_frames.pixels), _COLUMNS)
    shown = reading.tracklets[:_MAX_KEY_TILES]
    key_grid = _Grid.fitting(volume_frames, len(shown), _KEY_COLUMNS, caption=_TEXT_HEIGHT) if shown else None
    height = _TEXT_HEIGHT + grid.height + (key_grid.height if key_grid else 0) + 2 * _TEXT_HEIGHT
    sheet = Image.new("RGB", (_SHEET_WIDTH, height), _BACKGROUND)
    ink = ImageDraw.Draw(sheet)
    _write(ink, (_GAP, 2), _title(reading), _INK)

    top = _TEXT_HEIGHT
    marked = _by_frame(reading.tracklets)
    for frame_index in range(len(volume_frames.pixels)):
        tile = _tile(volume_frames, frame_index, marked.get(frame_index, ()), grid)
        place = grid.place(frame_index, top)
        sheet.paste(tile, place)
        _write(ink, (place[0] + 3, place[1] + 1), str(frame_index + 1), _INK)
    top += grid.height
    for position, tracklet in enumerate(shown if key_grid else ()):
        assert key_grid is not None
        colour = _COLOURS[position % len(_COLOURS)]
        key = max(tracklet.findings, key=lambda finding: finding.box.area)
        place = key_grid.place(position, top)
        sheet.paste(_tile(volume_frames, key.frame_index, [(key, colour)], key_grid), place)
        _write(ink, (place[0], place[1] + key_grid.tile_height + 2), _caption(tracklet, key), colour)
    _write(ink, (_GAP, height - 2 * _TEXT_HEIGHT + 2), _more(reading, len(shown)), _FAINT)
    _write(ink, (_GAP, height - _TEXT_HEIGHT + 2), RESEARCH_USE_STATEMENT, _INK)
    _save(sheet, path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Tiles of one size, from left to right and top to bottom.

    Parameters
    ----------
    columns, rows
        Number of tiles.
    tile_width, tile_height
        Size of a tile in pixels of the sheet.
    caption
        Room for text below each tile, in pixels.
    """

    columns: int
    rows: int
    tile_width: int
    tile_height: int
    caption: int

    @classmethod
    def fitting(cls, frames: Frames, count: int, columns: int, *, caption: int = 0) -> "_Grid":
        """Return the grid of ``count`` tiles that is as wide as the sheet."""
        tile_width = (_SHEET_WIDTH - _GAP) // columns - _GAP
        rows_px, columns_px = frames.pixels.shape[1:]
        tile_height = max(round(tile_width * rows_px / columns_px), 1)
        return cls(
            columns=columns,
            rows=-(-count // columns),
            tile_width=tile_width,
            tile_height=tile_height,
            caption=caption,
        )

    @property
    def height(self) -> int:
        """Height of the whole grid."""
        return self.rows * (self.tile_height + self.caption + _GAP) + _GAP

    def place(self, position: int, top: int) -> tuple[int, int]:
        """Return the left and top edge of a tile."""
        row, column = divmod(position, self.columns)
        return (
            _GAP + column * (self.tile_width + _GAP),
            top + _GAP + row * (self.tile_height + self.caption + _GAP),
        )


def _tile(frames: Frames, frame_index: int, marked: Sequence[_Marked], grid: _Grid) -> Image.Image:
    """Return a frame at the size of a tile, with its boxes."""
    rows, columns = frames.pixels.shape[1:]
    tile = Image.fromarray(frames.pixels[frame_index]).convert("RGB")
    tile = tile.resize((grid.tile_width, grid.tile_height), Image.Resampling.BILINEAR)
    ink = ImageDraw.Draw(tile)
    scale_x, scale_y = grid.tile_width / columns, grid.tile_height / rows
    for finding, colour in marked:
        box = frames.scaling.to_model(finding.box)
        x0, y0 = round(box.x0 * scale_x), round(box.y0 * scale_y)
        x1, y1 = round(box.x1 * scale_x), round(box.y1 * scale_y)
        # Boxes are half-open, Pillow's rectangles are not; a box is at least a pixel
        ink.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour)
    return tile


def _by_frame(tracklets: Sequence[Tracklet]) -> dict[int, list[_Marked]]:
    """Return the boxes to draw on each frame index."""
    marked: dict[int, list[_Marked]] = {}
    for position, tracklet in enumerate(tracklets):
        for finding in tracklet.findings:
            marked.setdefault(finding.frame_index, []).append((finding, _COLOURS[position % len(_COLOURS)]))
    return marked


def _title(reading: Reading) -> str:
    count = len(reading.tracklets)
    found = "1 finding" if count == 1 else f"{count} findings"
    return (
        f"sgmri: {reading.anatomy} MRI, {len(reading.frames)} frames, {found}, "
        f"engine {reading.engine.name} {reading.engine.version}"
    )


def _caption(tracklet: Tracklet, key: Finding) -> str:
    where = f"frame {key.frame_index + 1} of {frames_as_text(tracklet.frame_indices)}"
    side = f", {tracklet.laterality}" if tracklet.laterality else ""
    return f"{tracklet.tracklet_id}: {tracklet.label}{side} ({where})"


def _more(reading: Reading, shown: int) -> str:
    """Say what has no large tile of its own."""
    left = len(reading.tracklets) - shown
    return f"{left} more in the grid only" if left else ""


def _write(ink: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: _Colour) -> None:
    ink.text(place, text, fill=colour, font=ImageFont.load_default(size=14), stroke_width=1, stroke_fill=(0, 0, 0))


def _save(sheet: Image.Image, path: Path) -> None:
    """Write the PNG under another name first, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".sheet-", suffix=".part", delete=False) as part:
        name = Path(part.name)
        try:
            sheet.save(part, format="PNG", optimize=False)
            part.flush()
            name.replace(path)
        except OSError:
            name.unlink(missing_ok=True)
            raise
