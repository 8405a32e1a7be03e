"""Outlines of presentation states, secondary captures and documents.

References
----------
PS3.3 C.10.5 (Graphic Annotation), C.8.6.2 (SC Image), C.24.2 (Encapsulated Document)
"""

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_io.outlines.outline import Item, Mark, Outline, class_name, extent_of, extent_text, shapes
from dicom_io.viewer_rules.rule import code


def outline_presentation_state(ds: Dataset) -> Outline:
    """Return the outline of a presentation state: texts and graphics of each annotation."""
    annotations = list(ds.get("GraphicAnnotationSequence") or [])
    return Outline(
        what=f"{class_name(str(ds.SOPClassUID))}: {ds.get('ContentLabel', '')}, {len(annotations)} annotations",
        items=tuple(_annotation(one) for one in annotations),
        marks=tuple(mark for one in annotations for mark in _marks(one)),
    )


def _annotation(annotation: Dataset) -> Item:
    lines = [Item(text=f"text: {text}") for text in _texts(annotation)]
    for graphic in annotation.get("GraphicObjectSequence") or []:
        extents = [extent_text(extent_of(points)) for points in _shapes(graphic)]
        lines.append(Item(text=", ".join([str(graphic.get("GraphicType", "")), *extents])))
    places = [f"{uid}{'' if number is None else f' frame {number}'}" for uid, number in _places(annotation)]
    return Item(text=f"layer {annotation.get('GraphicLayer', '')} on {', '.join(places) or 'all'}", items=tuple(lines))


def _texts(annotation: Dataset) -> list[str]:
    return [str(text.get("UnformattedTextValue", "")) for text in annotation.get("TextObjectSequence") or []]


def _shapes(graphic: Dataset) -> list[tuple[tuple[float, float], ...]]:
    if graphic.get("GraphicAnnotationUnits") != "PIXEL":
        return []  # parts of the display, not of the image
    return shapes(str(graphic.get("GraphicType")), [float(value) for value in graphic.get("GraphicData") or []])


def _places(annotation: Dataset) -> Iterator[tuple[str, int | None]]:
    for reference in annotation.get("ReferencedImageSequence") or []:
        numbers = reference.get("ReferencedFrameNumber")
        for number in numbers if isinstance(numbers, MultiValue) else [numbers]:
            yield str(reference.get("ReferencedSOPInstanceUID", "")), None if number is None else int(number)


def _marks(annotation: Dataset) -> Iterator[Mark]:
    label = "; ".join(_texts(annotation))
    for uid, number in _places(annotation):
        for graphic in annotation.get("GraphicObjectSequence") or []:
            for points in _shapes(graphic):
                yield Mark(label=label, sop_instance_uid=uid, frame_number=number, points=points)


def outline_capture(ds: Dataset) -> Outline:
    """Return the outline of a secondary capture."""
    return Outline(
        what=f"{class_name(str(ds.SOPClassUID))}: {ds.get('Columns')} x {ds.get('Rows')} pixels, "
        f"{ds.get('NumberOfFrames', 1)} frames",
        items=(
            Item(text=f"burnt in annotation: {ds.get('BurnedInAnnotation', 'not stated')}"),
            *(Item(text=str(ds[name].value)) for name in ("DerivationDescription", "ImageComments") if ds.get(name)),
        ),
    )


def outline_document(ds: Dataset) -> Outline:
    """Return the outline of an encapsulated document."""
    document = ds.get("EncapsulatedDocument") or b""
    return Outline(
        what=f"{class_name(str(ds.SOPClassUID))}: {ds.get('DocumentTitle') or code(ds).meaning}",
        items=(Item(text=f"{ds.get('MIMETypeOfEncapsulatedDocument', '')}, {len(document)} bytes"),),
    )
