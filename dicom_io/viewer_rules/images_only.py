"""Displays that show images and nothing else.

References
----------
PS3.3 C.8.6.1 (SC Equipment), C.7.6.1.1.3 (Burned In Annotation); PS3.4 B.5
"""

from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from dicom_io.viewer_rules.rule import Rule

_CAPTURES: Final = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)


def _is_capture(ds: Dataset) -> bool:
    return ds.get("SOPClassUID") in _CAPTURES


def _declares_what_is_burnt_in(ds: Dataset) -> bool:
    return bool(ds.get("BurnedInAnnotation") == "YES")


def _has_plain_pixels(ds: Dataset) -> bool:
    meta = getattr(ds, "file_meta", Dataset())
    plain = meta.get("TransferSyntaxUID", ExplicitVRLittleEndian) in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    return plain and ds.get("BitsAllocated") == 8 and ds.get("PhotometricInterpretation") in ("RGB", "MONOCHROME2")


RULES: Final = (
    Rule(
        name="images-only-burnt-in-annotation",
        why="boxes in the pixels cannot be switched off: whoever shows or trains on the image has to be told",
        applies_to=_is_capture,
        holds=_declares_what_is_burnt_in,
    ),
    Rule(
        name="images-only-plain-pixels",
        why="plain displays show uncompressed 8-bit RGB or MONOCHROME2",
        applies_to=_is_capture,
        holds=_has_plain_pixels,
    ),
)
