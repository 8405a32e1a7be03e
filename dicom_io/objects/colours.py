"""The colours of findings: one table, so that a finding has one colour in every object and every viewer that takes it.

References
----------
PS3.3 C.10.7.1.1 (CIELab values), C.8.20.4 (Recommended Display CIELab Value)
"""

import colorsys
from typing import Final

from highdicom.color import CIELabColor

_GOLDEN: Final = 0.618033988749895
"""Steps of the golden ratio around the colour circle keep neighbours far apart."""


def rgb(number: int) -> tuple[int, int, int]:
    """Return the colour of the n-th tracklet of a reading, counted from 1: strong, 0 to 255 each."""
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def cielab(number: int) -> CIELabColor:
    """Return the same colour as segments and graphic layers bear it."""
    return CIELabColor.from_rgb(*rgb(number))
