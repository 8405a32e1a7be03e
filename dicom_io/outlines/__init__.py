"""Result objects of any product as text and marks: structured reports, segmentations, presentation states and more."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset

from dicom_io.objects.sources import leniently
from dicom_io.outlines.outline import Item, Mark, Outline, class_name
from dicom_io.outlines.presentation import outline_capture, outline_document, outline_presentation_state
from dicom_io.outlines.report import outline_report
from dicom_io.outlines.segments import outline_segmentation
from dicom_io.viewer_rules.rule import SEGMENTATION_CLASSES
from sgmri.errors import MalformedInstance, UnsupportedSeries

__all__ = ["Item", "Mark", "Outline", "has_outline", "outline"]

_OUTLINERS: Final[Mapping[str, Callable[[Dataset], Outline]]] = MappingProxyType(
    {
        **dict.fromkeys(SEGMENTATION_CLASSES, outline_segmentation),
        uid.GrayscaleSoftcopyPresentationStateStorage: outline_presentation_state,
        uid.SecondaryCaptureImageStorage: outline_capture,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage: outline_capture,
        uid.EncapsulatedPDFStorage: outline_document,
    }
)


def has_outline(ds: Dataset) -> bool:
    """Tell whether an object is of a kind that has an outline; Modality and SOP Class UID are enough to tell."""
    return _outliner(ds) is not None


def _outliner(ds: Dataset) -> Callable[[Dataset], Outline] | None:
    if ds.get("Modality") in ("SR", "KO"):
        return outline_report
    return _OUTLINERS.get(str(ds.get("SOPClassUID", "")))


def outline(ds: Dataset) -> Outline:
    """Return the outline of a result object.

    Raises
    ------
    UnsupportedSeries
        If it is another kind of object.
    MalformedInstance
        If it lacks what its kind is made of.
    """
    sop_class = str(ds.get("SOPClassUID", ""))
    outliner = _outliner(ds)
    if outliner is None:
        found = class_name(sop_class) if uid.UID(sop_class).type else "another object"
        raise UnsupportedSeries(
            "expected a structured report, segmentation, presentation state, key object selection, secondary capture "
            f"or document, found {found}; hand over the objects that were made of the images"
        )
    try:
        with leniently():
            return outliner(ds)
    except (AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise MalformedInstance(
            f"expected a readable {class_name(sop_class)}, found one that lacks a part or cannot be decoded "
            f"({type(error).__name__}); check it with dciodvfy"
        ) from None
