"""The object under check, walked once: its elements, content items, codes and references, each with its place.

Whatever is in the file is taken as it is; nothing here judges. Places are written as a person counts, from 1:
``content item 1.4.2`` in the content tree (PS3.3 C.17.3.2.4 counts the root as 1), ``Sequence[2]/Attribute`` elsewhere.

References
----------
PS3.3 C.17.3 (SR Document Content), section 8 (codes), 10.8 (SOP Instance Reference Macro)
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from conformance.objects.findings import Mark

MOST_ELEMENTS: Final = 500_000
"""More are not walked; the rest of such an object is not checked, and that is said."""
_MOST_DEPTH: Final = 60


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept as it stands there; what is missing is empty (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str

    @property
    def key(self) -> tuple[str, str]:
        """(scheme, value)."""
        return (self.scheme, self.value)

    def __str__(self) -> str:
        return f"({self.value}, {self.scheme}, {self.meaning!r})"


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A content item.

    Parameters
    ----------
    number
        Its place, such as "1.4.2".
    ds
        The item itself.
    relationship, value_type
        Relationship with its parent, and value type; empty where missing.
    name
        Concept name; None where it has none.
    parent
        The item that holds it; None for the root.
    children
        What it holds, in order.
    """

    number: str
    ds: Dataset
    relationship: str
    value_type: str
    name: Code | None
    parent: "Item | None"
    children: "list[Item]" = field(default_factory=list)

    @property
    def part(self) -> str:
        """How findings name it."""
        return f"content item {self.number}"

    def named(self, *keys: tuple[str, str]) -> "list[Item]":
        """Return the children with one of some concept names, each as (scheme, value)."""
        return [child for child in self.children if child.name is not None and child.name.key in keys]

    def walk(self) -> "Iterator[Item]":
        """Yield the item and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def code(self, keyword: str = "ConceptCodeSequence") -> Code | None:
        """Return the item's coded value, or another of its codes; None where it has none."""
        found = sequence(self.ds, keyword)
        return code_of(found[0]) if found else None


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A reference to an instance.

    Parameters
    ----------
    part
        Where it stands.
    sop_class_uid, sop_instance_uid
        What it names.
    frames, segments
        Numbers; empty where it names none.
    is_listing
        Whether it stands in a list of the instances that are referenced elsewhere (evidence, common instance
        reference) rather than being used.
    is_earlier
        Whether it names an earlier or identical document.
    """

    part: str
    sop_class_uid: str
    sop_instance_uid: str
    frames: tuple[int, ...]
    segments: tuple[int, ...]
    is_listing: bool
    is_earlier: bool

    def mark(self, points: tuple[tuple[float, float], ...]) -> Mark:
        """Return a mark on the frame that it names."""
        return Mark(
            sop_instance_uid=self.sop_instance_uid, frame_number=self.frames[0] if self.frames else None, points=points
        )


@dataclass(slots=True, eq=False)
class Subject:
    """An object under check.

    Parameters
    ----------
    ds
        The object.
    elements
        (place, element) of every element that is no sequence, file meta information apart.
    codes, references
        With their places.
    root
        Its content tree; None where it has none.
    is_whole
        Whether all of it was walked.
    """

    ds: Dataset
    elements: list[tuple[str, DataElement]] = field(default_factory=list)
    codes: list[tuple[str, Code, Dataset]] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    root: Item | None = None
    is_whole: bool = True

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID; empty where missing."""
        return text(self.ds, "SOPClassUID")

    def items(self) -> Iterator[Item]:
        """Yield every content item, parents first."""
        return iter(()) if self.root is None else self.root.walk()


def subject_of(ds: Dataset) -> Subject:
    """Walk an object."""
    subject = Subject(ds)
    if "ContentSequence" in ds or "ValueType" in ds:
        subject.root = _item("1", ds, None, subject)
    _walk(ds, "", subject, 0)
    return subject


def _item(number: str, ds: Dataset, parent: Item | None, subject: Subject) -> Item:
    found = sequence(ds, "ConceptNameCodeSequence")
    item = Item(
        number=number,
        ds=ds,
        relationship=text(ds, "RelationshipType"),
        value_type=text(ds, "ValueType"),
        name=code_of(found[0]) if found else None,
        parent=parent,
    )
    if number.count(".") >= _MOST_DEPTH:
        subject.is_whole = False
        return item
    for index, child in enumerate(sequence(ds, "ContentSequence"), start=1):
        item.children.append(_item(f"{number}.{index}", child, item, subject))
    return item


_LISTS: Final = frozenset(
    {
        "CurrentRequestedProcedureEvidenceSequence",
        "PertinentOtherEvidenceSequence",
        "ReferencedSeriesSequence",
        "StudiesContainingOtherReferencedInstancesSequence",
    }
)
_EARLIER: Final = frozenset({"PredecessorDocumentsSequence", "IdenticalDocumentsSequence"})


def _walk(ds: Dataset, place: str, subject: Subject, depth: int) -> None:
    if depth > _MOST_DEPTH:
        subject.is_whole = False
        return
    _note(ds, place, subject)
    for element in ds:
        if len(subject.elements) >= MOST_ELEMENTS:
            subject.is_whole = False
            return
        name = element.keyword or str(element.tag)
        if element.VR != "SQ":
            subject.elements.append((f"{place}{name}", element))
            continue
        for index, child in enumerate(element.value or (), start=1):
            if name == "ContentSequence":
                number = f"{place.removeprefix('content item ').rstrip('/') or '1'}.{index}"
                _walk(child, f"content item {number}/", subject, depth + 1)
            else:
                _walk(child, f"{place}{name}[{index}]/", subject, depth + 1)


def _note(ds: Dataset, place: str, subject: Subject) -> None:
    if any(keyword in ds for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning")):
        subject.codes.append((place.rstrip("/"), code_of(ds), ds))
    if "ReferencedSOPInstanceUID" in ds:
        above = {step.partition("[")[0] for step in place.split("/")}
        subject.references.append(
            Reference(
                part=place.rstrip("/"),
                sop_class_uid=text(ds, "ReferencedSOPClassUID"),
                sop_instance_uid=text(ds, "ReferencedSOPInstanceUID"),
                frames=integers(ds, "ReferencedFrameNumber"),
                segments=integers(ds, "ReferencedSegmentNumber"),
                is_listing=bool(above & _LISTS),
                is_earlier=bool(above & _EARLIER),
            )
        )


def sequence(ds: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; none where it is absent, empty or no sequence."""
    value = ds.get(keyword)
    return [item for item in value if isinstance(item, Dataset)] if value and not isinstance(value, str | bytes) else []


def text(ds: Dataset, keyword: str) -> str:
    """Return a value as text without padding; empty where it is absent."""
    value = ds.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def integers(ds: Dataset, keyword: str) -> tuple[int, ...]:
    """Return the values of an attribute as integers; those that are none are left out."""
    return tuple(int(value) for value in numbers(ds, keyword) if value == int(value))


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of an attribute as finite numbers; none at all where one of them is none."""
    value: Any = ds.get(keyword)
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)
    try:
        found = tuple(float(one) for one in values)
    except (TypeError, ValueError):
        return ()
    return found if all(abs(one) < float("inf") for one in found) else ()


def code_of(ds: Dataset) -> Code:
    """Return the code of an item of a code sequence."""
    value = next(
        (found for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue") if (found := text(ds, keyword))), ""
    )
    return Code(value=value, scheme=text(ds, "CodingSchemeDesignator"), meaning=text(ds, "CodeMeaning"))
