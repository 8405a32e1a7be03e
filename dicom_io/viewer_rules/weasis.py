"""Weasis 4.7.2, read in weasis-dicom-sr (SRReader.java) and its presentation states; not run.

A report is a page of text in which each region is a link; a click opens the image with the region drawn on it.
"""

from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, KeyObjectSelectionDocumentStorage

from dicom_io.objects import tree
from dicom_io.viewer_rules.rule import Rule, descendants, is_report, of_type, referenced

_DRAWN: Final = ("POINT", "MULTIPOINT", "POLYLINE", "CIRCLE", "ELLIPSE")


def _has_no_3d(ds: Dataset) -> bool:
    return all(item.get("ValueType") != "SCOORD3D" for item in descendants(ds))


def _has_known_shapes(ds: Dataset) -> bool:
    return all(item.get("GraphicType") in _DRAWN for item in _regions(ds))


def _has_image_children(ds: Dataset) -> bool:
    # By value as an IMAGE below it, or by reference to one elsewhere
    return all(
        any(referenced(child) or child.get("ReferencedContentItemIdentifier") for child in tree.children(item))
        for item in _regions(ds)
    )


def _regions(ds: Dataset) -> list[Dataset]:
    return [item for item in descendants(ds) if item.get("ValueType") == "SCOORD"]


def _has_words_beside_links(ds: Dataset) -> bool:
    parents = [item for item in descendants(ds) if of_type(item, "SCOORD")]
    return all(of_type(item, "TEXT") or of_type(item, "CODE") or item.get("ValueType") == "NUM" for item in parents)


def is_presentation_state(ds: Dataset) -> bool:
    """Tell whether an object is a Grayscale Softcopy Presentation State."""
    return bool(ds.get("SOPClassUID") == GrayscaleSoftcopyPresentationStateStorage)


def _has_no_window(ds: Dataset) -> bool:
    return "SoftcopyVOILUTSequence" not in ds


def _is_key_object_selection(ds: Dataset) -> bool:
    return bool(ds.get("SOPClassUID") == KeyObjectSelectionDocumentStorage)


def _selects_images(ds: Dataset) -> bool:
    return any(referenced(item) for item in of_type(ds, "IMAGE"))


RULES: Final = (
    Rule(
        name="weasis-scoord-not-3d",
        why="SCOORD3D is shown as an unsupported item",
        applies_to=is_report,
        holds=_has_no_3d,
    ),
    Rule(
        name="weasis-graphic-type",
        why="PrGraphicUtil.buildGraphic draws POINT, MULTIPOINT, POLYLINE, CIRCLE and ELLIPSE",
        applies_to=is_report,
        holds=_has_known_shapes,
    ),
    Rule(
        name="weasis-image-child",
        why="SRReader.convertContentToHTML: only an SCOORD with an image beneath becomes a link",
        applies_to=is_report,
        holds=_has_image_children,
    ),
    Rule(
        name="weasis-words-beside-link",
        why="the link is named by its graphic type, so that the text or code beside it is what is read",
        applies_to=is_report,
        holds=_has_words_beside_links,
    ),
    Rule(
        name="weasis-no-window-in-presentation-state",
        why="a window in a presentation state overrides the reader's own (Weasis issue 746)",
        applies_to=is_presentation_state,
        holds=_has_no_window,
    ),
    Rule(
        name="weasis-key-images",
        why='the IMAGE items of a key object selection are its "show image" links',
        applies_to=_is_key_object_selection,
        holds=_selects_images,
    ),
)
