"""Content items of a structured report: made in one line each, and found again by concept.

Reading walks the plain Dataset, not the writer's classes, so that what is compared is what is in the file.

References
----------
PS3.3 C.17.3 (SR Document Content), PS3.3 A.35.13.3.1.2 (relationships of Comprehensive 3D SR)
"""

from collections.abc import Iterator, Sequence
from typing import Final

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.objects.envelope import clean_text
from sgmri.vocabulary import CodedConcept

CONTAINS: Final = RelationshipTypeValues.CONTAINS
CONTEXT: Final = RelationshipTypeValues.HAS_OBS_CONTEXT
MODIFIER: Final = RelationshipTypeValues.HAS_CONCEPT_MOD
PROPERTY: Final = RelationshipTypeValues.HAS_PROPERTIES
INFERRED: Final = RelationshipTypeValues.INFERRED_FROM


def text(name: CodedConcept, value: str, relationship: RelationshipTypeValues) -> TextContentItem:
    """Return a TEXT item; the value must hold something when cleaned."""
    return TextContentItem(name=codes.written(name), value=clean_text(value), relationship_type=relationship)


def code(name: CodedConcept, value: CodedConcept, relationship: RelationshipTypeValues) -> CodeContentItem:
    """Return a CODE item."""
    return CodeContentItem(name=codes.written(name), value=codes.written(value), relationship_type=relationship)


def number(
    name: CodedConcept, value: float, unit: CodedConcept, relationship: RelationshipTypeValues
) -> NumContentItem:
    """Return a NUM item: Numeric Value for people, six decimals, and where it is no integer the exact double."""
    item = NumContentItem(
        name=codes.written(name), value=round(value, 6), unit=codes.written(unit), relationship_type=relationship
    )
    if isinstance(value, float):
        item.MeasuredValueSequence[0].FloatingPointValue = value
    return item


def uid(name: CodedConcept, value: str, relationship: RelationshipTypeValues) -> UIDRefContentItem:
    """Return a UIDREF item."""
    return UIDRefContentItem(name=codes.written(name), value=value, relationship_type=relationship)


def container(name: CodedConcept, items: Sequence[ContentItem]) -> ContainerContentItem:
    """Return a CONTAINER item within another: each item of it stands for itself, with its heading."""
    item = ContainerContentItem(name=codes.written(name), is_content_continuous=False, relationship_type=CONTAINS)
    item.ContentSequence = ContentSequence(items)
    return item


def with_children(item: ContentItem, children: Sequence[ContentItem]) -> ContentItem:
    """Return the item with children of its own."""
    item.ContentSequence = ContentSequence(children)
    return item


def children(
    item: Dataset, name: CodedConcept | None = None, relationship: RelationshipTypeValues | None = None
) -> Iterator[Dataset]:
    """Yield the children of an item, all of them or those of one concept name and relationship."""
    for child in item.get("ContentSequence") or []:
        if name is not None and not _is_named(child, name):
            continue
        if relationship is not None and child.get("RelationshipType") != relationship.value:
            continue
        yield child


def first(item: Dataset, name: CodedConcept, relationship: RelationshipTypeValues | None = None) -> Dataset | None:
    """Return the first child of one concept name; None where there is none."""
    return next(children(item, name, relationship), None)


def name_of(item: Dataset) -> CodedConcept:
    """Return an item's concept name."""
    return codes.read(item.ConceptNameCodeSequence[0])


def code_of(item: Dataset | None) -> CodedConcept | None:
    """Return the value of a CODE item; None where there is no item."""
    return None if item is None else codes.read(item.ConceptCodeSequence[0])


def text_of(item: Dataset | None) -> str:
    """Return the value of a TEXT item; empty where there is no item."""
    return "" if item is None else str(item.TextValue)


def number_of(item: Dataset | None) -> float | None:
    """Return the value of a NUM item, as exact as it is written (PS3.3 C.18.1); None where there is no item."""
    if item is None:
        return None
    measured = item.MeasuredValueSequence[0]
    return float(measured.get("FloatingPointValue", measured.NumericValue))


def texts(item: Dataset) -> Iterator[str]:
    """Yield every text value in a tree."""
    if "TextValue" in item:
        yield str(item.TextValue)
    for child in children(item):
        yield from texts(child)


def _is_named(item: Dataset, name: CodedConcept) -> bool:
    found = item.get("ConceptNameCodeSequence")
    # Codes of other products may be long or URNs, without Code Value (PS3.3 8.1)
    return bool(found) and (found[0].get("CodingSchemeDesignator"), found[0].get("CodeValue")) == (
        name.scheme,
        name.value,
    )
