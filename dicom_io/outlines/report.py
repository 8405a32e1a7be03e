"""Outlines of structured reports and key object selections: the content tree, whatever its template and writer.

References
----------
PS3.3 C.17.3 (SR Document Content), C.18.1 to C.18.9 (value types); PS3.16 TID 1500, 1501, 1410, 1411, 2010
"""

from collections.abc import Iterator, Sequence
from typing import Final

from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.objects import tree
from dicom_io.outlines.outline import Item, Mark, Outline, class_name, extent_of, extent_text, shapes
from dicom_io.viewer_rules.rule import code, of_type, referenced, template_of

_VALUES: Final = {
    "TEXT": "TextValue",
    "UIDREF": "UID",
    "PNAME": "PersonName",
    "DATE": "Date",
    "TIME": "Time",
    "DATETIME": "DateTime",
}


def outline_report(ds: Dataset) -> Outline:
    """Return the outline of an SR document or key object selection."""
    template = template_of(ds)
    status = [ds.get("CompletionFlag"), ds.get("VerificationFlag")]
    head = [code(ds).meaning or "Document", f"template {template}" if template else "", *map(str, filter(None, status))]
    return Outline(
        what=f"{class_name(str(ds.get('SOPClassUID', '')))}: {', '.join(filter(None, head))}",
        items=tuple(_item(child) for child in tree.children(ds)),
        marks=tuple(_marks(ds, "")),
    )


def _item(item: Dataset) -> Item:
    name, value = code(item).meaning, _value(item)
    text = f"{name}: {value}" if name and value else name or value or "item"
    # The image that a region lies on stands in the region's own line
    hidden = of_type(item, "IMAGE") if str(item.get("ValueType")).startswith("SCOORD") else ()
    children = (child for child in tree.children(item) if not any(child is one for one in hidden))
    return Item(text=text, items=tuple(_item(child) for child in children))


def _value(item: Dataset) -> str:
    value_type = str(item.get("ValueType", ""))
    if value_type in _VALUES:
        return str(item.get(_VALUES[value_type], ""))
    match value_type:
        case "CODE":
            value = code(item, "ConceptCodeSequence")
            return f"{value.meaning} ({value.scheme} {value.value})"
        case "NUM":
            return _number(item)
        case "IMAGE" | "COMPOSITE" | "WAVEFORM":
            return _reference(referenced(item))
        case "SCOORD" | "SCOORD3D" | "TCOORD":
            return _coordinates(item)
        case "":
            place = item.get("ReferencedContentItemIdentifier")
            return f"see item {'.'.join(map(str, place))}" if place else ""
    return ""


def _number(item: Dataset) -> str:
    measured = item.get("MeasuredValueSequence")
    if not measured:
        qualifier = code(item, "NumericValueQualifierCodeSequence").meaning
        return qualifier or "no value"
    unit = code(measured[0], "MeasurementUnitsCodeSequence")
    return f"{measured[0].get('NumericValue', '')} {unit.value if unit.value != '1' else ''}".rstrip()


def _reference(reference: Dataset | None) -> str:
    if reference is None:
        return "no instance"
    sop_class = class_name(str(reference.get("ReferencedSOPClassUID", "")))
    numbers = [(word, _numbers(reference, f"Referenced{word.capitalize()}Number")) for word in ("frame", "segment")]
    places = [f"{word} {', '.join(map(str, found))}" for word, found in numbers if found]
    return ", ".join([f"{sop_class} {reference.get('ReferencedSOPInstanceUID') or 'without UID'}", *places])


def _numbers(reference: Dataset, keyword: str) -> list[int]:
    value = reference.get(keyword)
    if value is None:
        return []
    return [int(one) for one in (value if isinstance(value, Sequence) else [value])]


def _coordinates(item: Dataset) -> str:
    kind = f"{item.get('GraphicType') or item.get('TemporalRangeType', '')}"
    if item.get("ValueType") != "SCOORD":
        return f"{kind} in {'space' if item.get('ValueType') == 'SCOORD3D' else 'time'}"
    drawn = [point for shape in _shapes(item) for point in shape]
    where = extent_text(extent_of(drawn)) if drawn else ""
    on = [_reference(referenced(image)) for image in of_type(item, "IMAGE")]
    return ", ".join(filter(None, [kind, where, *(f"on {one}" for one in on)]))


def _shapes(item: Dataset) -> list[tuple[tuple[float, float], ...]]:
    return shapes(str(item.get("GraphicType")), [float(value) for value in item.get("GraphicData") or []])


def _marks(item: Dataset, label: str) -> Iterator[Mark]:
    """Yield what the regions below an item mark; a region is named by the nearest group or number above it."""
    for child in tree.children(item):
        value_type = child.get("ValueType")
        if value_type == "SCOORD":
            yield from _marks_of(child, label or code(child).meaning)
        elif value_type == "CONTAINER":
            yield from _marks(child, _label(child) or label)
        else:
            # A group's own name says more than that of a number in it
            own = f"{code(child).meaning} {_number(child)}" if value_type == "NUM" else ""
            yield from _marks(child, label or own)


def _label(group: Dataset) -> str:
    comment = tree.text_of(tree.first(group, codes.COMMENT))
    identifier = tree.text_of(tree.first(group, codes.TRACKING_IDENTIFIER))
    finding = tree.first(group, codes.FINDING)
    meaning = "" if finding is None else code(finding, "ConceptCodeSequence").meaning
    return comment or " ".join(filter(None, [meaning, identifier]))


def _marks_of(region: Dataset, label: str) -> Iterator[Mark]:
    for image in of_type(region, "IMAGE"):
        reference = referenced(image)
        if reference is None:
            continue
        uid = str(reference.get("ReferencedSOPInstanceUID", ""))
        numbers: list[int | None] = [*_numbers(reference, "ReferencedFrameNumber")]
        for number in numbers or [None]:
            for points in _shapes(region):
                yield Mark(label=label, sop_instance_uid=uid, frame_number=number, points=points)
