"""A sheet of pictures: tiles in a grid, text with an outline, and a PNG that is there only once it is whole."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

WIDTH: Final = 1920
GAP: Final = 4
TEXT_HEIGHT: Final = 22
BACKGROUND, INK, FAINT = (16, 16, 20), (235, 235, 235), (150, 150, 155)
COLOURS = (
    (255, 82, 82),
    (64, 196, 255),
    (255, 214, 0),
    (105, 240, 174),
    (224, 64, 251),
    (255, 145, 0),
    (178, 255, 89),
    (140, 158, 255),
)
"""A colour for each finding, again from the start after the last."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
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
    def fitting(cls, shape: tuple[int, int], count: int, columns: int, *, caption: int = 0) -> "Grid":
        """Return the grid of ``count`` tiles, each like ``shape`` (rows, columns), that is as wide as the sheet."""
        tile_width = (WIDTH - GAP) // columns - GAP
        rows_px, columns_px = shape
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
        return self.rows * (self.tile_height + self.caption + GAP) + GAP

    def place(self, position: int, top: int) -> tuple[int, int]:
        """Return the left and top edge of a tile."""
        row, column = divmod(position, self.columns)
        return (
            GAP + column * (self.tile_width + GAP),
            top + GAP + row * (self.tile_height + self.caption + GAP),
        )


def write(ink: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: Colour) -> None:
    """Write a line of text that can be read on any ground."""
    ink.text(place, text, fill=colour, font=ImageFont.load_default(size=14), stroke_width=1, stroke_fill=(0, 0, 0))


def save(sheet: Image.Image, path: Path) -> None:
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
