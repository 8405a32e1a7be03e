"""The kinds of result object: the words, and the order in which they are made and sent."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class ResultKind(StrEnum):
    """The kinds of result object, in the order of making and sending: what is referred to before what refers."""

    SEG = "SEG"
    """Segmentation, BINARY."""
    LABELMAP = "LABELMAP"
    """Label Map Segmentation."""
    SR = "SR"
    """Structured report of TID 1500: boxes and answers."""
    TEXT_SR = "TEXT_SR"
    """The answers as a text report, for viewers that show TID 1500 as boxes only."""
    PR = "PR"
    """Grayscale Softcopy Presentation State: boxes and labels over the original images."""
    SC = "SC"
    """Secondary Capture: boxes burnt into copies of the images."""
    PDF = "PDF"
    """Encapsulated PDF: a page for people."""
    KO = "KO"
    """Key Object Selection."""


FILE_NAME: Final[Mapping[ResultKind, str]] = MappingProxyType(
    {kind: f"{kind.lower().replace('_', '-')}.dcm" for kind in ResultKind}
)
"""Name of a kind's file, such as ``text-sr.dcm``."""
