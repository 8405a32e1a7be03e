"""Pictures for people: frames in grey with square pixels, and over them what is drawn for a reading's boxes.

What is drawn is opaque and coloured, the frame below is grey: so a picture that comes back can be held against its
reading without the source's pixels.
"""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Final

import numpy as np
from fontTools.ttLib import TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_io.objects.marks import Mark, label_place
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import MalformedInstance
from sgmri.geometry import Box, FrameScaling
from sgmri.readings import Reading
from sgmri.volume import Orientation

_BLACK_PERCENT: Final = 0.5
_WHITE_PERCENT: Final = 99.8
"""Percentiles of the modality values of all frames that are shown together which become black and white."""
_SHORTEST_SIDE: Final = 384
"""Pictures whose shorter side has fewer pixels are enlarged by a whole number: letters need room."""
_LETTER_HEIGHT: Final = 16
_MARGIN: Final = 3
_BOLD: Final = 3
"""Width of the outline of a box without a label, in pixels: such pictures are made smaller."""
_INK: Final = (255, 214, 0)
"""Of the banner: no grey, as everything that is drawn."""


def font_file() -> str:
    """Return the path of the font of all pictures and pages: it comes with the product, and never changes.

    Source Sans Pro has Latin, Greek and Cyrillic letters; what a machine has installed differs from place to place.
    """
    return str(resources.files("font_source_sans_pro") / "files" / "SourceSansPro-Regular.ttf")


@cache
def letters() -> frozenset[int]:
    """Return the code points that the font has."""
    with TTFont(font_file(), lazy=True) as font:
        return frozenset(font.getBestCmap())


@cache
def _font() -> ImageFont.FreeTypeFont:
    # the basic layout: the other one shapes letters with a library that not every machine has
    return ImageFont.truetype(font_file(), _LETTER_HEIGHT, layout_engine=ImageFont.Layout.BASIC)


def scaling_of(reading: Reading, orientation: Orientation) -> FrameScaling:
    """Return how frames become pictures with square pixels, of the smaller of the two pixel spacings or finer."""
    row_mm, column_mm = orientation.pixel_spacing_mm
    height_mm, width_mm = reading.rows * row_mm, reading.columns * column_mm
    size_mm = min(row_mm, column_mm)
    size_mm /= max(1, -(-_SHORTEST_SIDE // round(min(height_mm, width_mm) / size_mm)))
    return FrameScaling(
        scale_x=round(width_mm / size_mm) / reading.columns,
        scale_y=round(height_mm / size_mm) / reading.rows,
        source_rows=reading.rows,
        source_columns=reading.columns,
    )


def windowed(voxels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return frames in grey, one window for all: percentiles 0.5 to 99.8 of their modality values.

    Parameters
    ----------
    voxels
        float32 (frames, rows, columns), more is brighter.

    Raises
    ------
    MalformedInstance
        If a value is not a finite number.
    """
    if not np.isfinite(voxels).all():
        raise MalformedInstance("expected finite modality values, found others; check the rescale of the source")
    black, white = np.percentile(voxels, (_BLACK_PERCENT, _WHITE_PERCENT))
    grey = (voxels.astype(np.float64) - black) * (255.0 / ((white - black) or 1.0))
    shown: NDArray[np.uint8] = np.rint(np.clip(grey, 0.0, 255.0)).astype(np.uint8)
    return shown


def marked_frame(
    grey: NDArray[np.uint8], scaling: FrameScaling, marks: Sequence[Mark], *, labelled: bool = True
) -> Image.Image:
    """Return one frame as RGB picture with its boxes.

    Parameters
    ----------
    grey
        uint8 (rows, columns).
    scaling
        Of :func:`scaling_of`.
    marks
        What to draw.
    labelled
        Whether the labels are drawn, too.
    """
    over = drawn(scaling, marks, labelled=labelled)
    picture = Image.fromarray(grey).resize(over.size, Image.Resampling.BILINEAR).convert("RGB")
    picture.paste(over, mask=over.getchannel("A"))
    return picture


def drawn(scaling: FrameScaling, marks: Sequence[Mark], *, labelled: bool = True) -> Image.Image:
    """Return what is drawn over a frame: RGBA, opaque where something is drawn, else transparent."""
    rows, columns = round(scaling.source_rows * scaling.scale_y), round(scaling.source_columns * scaling.scale_x)
    over = Image.new("RGBA", (columns, rows))
    ink = ImageDraw.Draw(over)
    places = [edges(scaling.to_model(mark.finding.box)) for mark in marks]
    for mark, (x0, y0, x1, y1) in zip(marks, places, strict=True):
        # boxes are half-open, Pillow's rectangles are not
        ink.rectangle((x0, y0, x1 - 1, y1 - 1), outline=(*mark.colour, 255), width=1 if labelled else _BOLD)
    for mark, (x0, y0, x1, y1) in zip(marks, places, strict=True) if labelled else ():
        size = (_font().getlength(mark.text) + 2, float(_LETTER_HEIGHT + _MARGIN))
        place = label_place(Box(x0=x0, y0=y0, x1=x1, y1=y1), size, rows, columns)
        at = (round(place.x0) + 1, round(place.y0))
        ink.text(at, mark.text, fill=(*mark.colour, 255), font=_font(), stroke_width=1, stroke_fill=(0, 0, 0, 255))
    return _opaque(over)


def edges(box: Box) -> tuple[int, int, int, int]:
    """Return a box in whole pixels of a picture, x0, y0, x1, y1, half-open; at least a pixel wide and high."""
    x0, y0 = round(box.x0), round(box.y0)
    return x0, y0, max(round(box.x1), x0 + 1), max(round(box.y1), y0 + 1)


def banner(width: int, line: str) -> Image.Image:
    """Return the strip below a picture: the statement of use, and a line of the picture's own."""
    lines = [*_wrapped(RESEARCH_USE_STATEMENT, width), *_wrapped(line, width)]
    strip = Image.new("RGB", (width, len(lines) * (_LETTER_HEIGHT + _MARGIN) + 2 * _MARGIN))
    ink = ImageDraw.Draw(strip)
    for number, text in enumerate(lines):
        ink.text((_MARGIN, _MARGIN + number * (_LETTER_HEIGHT + _MARGIN)), text, fill=_INK, font=_font())
    return strip


def _opaque(over: Image.Image) -> Image.Image:
    """Darken what is half transparent, the rims of letters, instead of letting it mix with the frame below."""
    flat = Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over)
    flat.putalpha(over.getchannel("A").point(lambda alpha: 255 if alpha else 0))
    return flat


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _font().getlength(longer) > width - 2 * _MARGIN:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
