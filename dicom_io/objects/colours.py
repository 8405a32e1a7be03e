"""The colour of each finding: one table for every object that shows it, so that it looks alike in all of them."""

import colorsys

from highdicom.color import CIELabColor

_GOLDEN_RATIO = 0.618033988749895

Rgb = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


def rgb(number: int) -> Rgb:
    """Return a strong colour; steps of the golden ratio keep neighbours far apart.

    Parameters
    ----------
    number
        Of the tracklet in its reading, counted from 1.
    """
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN_RATIO) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def cielab(number: int) -> CIELabColor:
    """Return the same colour as DICOM writes it (PS3.3 C.10.7.1.1)."""
    return CIELabColor.from_rgb(*rgb(number))
