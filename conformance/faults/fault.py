"""One fault, and the parts of a good object that faults change."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

UNKNOWN_UID: Final = "2.25.311111111111111111111111111111111111111"
FINDING: Final = ("121071", "DCM")
FINDING_SITE: Final = ("363698007", "SCT")
IMAGE_REGION: Final = ("111030", "DCM")
LATERALITY: Final = ("272741003", "SCT")
MEASUREMENT_GROUP: Final = ("125007", "DCM")
TRACKING_IDENTIFIER: Final = ("112039", "DCM")
TRACKING_UID: Final = ("112040", "DCM")


class NotApplicable(Exception):
    """The object lacks what a fault would break."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A way to break a good object in one place.

    Parameters
    ----------
    name
        What is wrong, in a word or three.
    kind
        Modality of the objects that it is for: SR, SEG, PR, KO.
    checks
        Checks of which at least one must name it.
    apply
        Breaks an object in place; raises :class:`NotApplicable`.
    """

    name: str
    kind: str
    checks: tuple[str, ...]
    apply: Callable[[Dataset], None]


Apply = Callable[[Dataset], None]


def collector(kind: str, into: list[Fault]) -> Callable[..., Callable[[Apply], Apply]]:
    """Return a decorator that adds faults of objects of one modality to a list."""

    def fault(name: str, *checks: str) -> Callable[[Apply], Apply]:
        def add(apply: Apply) -> Apply:
            into.append(Fault(name=name, kind=kind, checks=checks, apply=apply))
            return apply

        return add

    return fault


def items(ds: Dataset) -> Iterator[Dataset]:
    """Yield the content items below an item, parents first."""
    for child in ds.get("ContentSequence") or ():
        yield child
        yield from items(child)


def is_named(item: Dataset, name: tuple[str, str]) -> bool:
    """Tell whether an item has a concept name, given as (value, scheme)."""
    found = item.get("ConceptNameCodeSequence")
    return bool(found) and (found[0].get("CodeValue"), found[0].get("CodingSchemeDesignator")) == name


def first(ds: Dataset, name: tuple[str, str] | None = None, value_type: str = "") -> Dataset:
    """Return the first item below another, with a name, a value type or both."""
    for item in items(ds):
        if (name is None or is_named(item, name)) and value_type in ("", item.get("ValueType")):
            return item
    raise NotApplicable


def parent_of(ds: Dataset, item: Dataset) -> Dataset:
    """Return what holds an item."""
    for above in (ds, *items(ds)):
        if any(child is item for child in above.get("ContentSequence") or ()):
            return above
    raise NotApplicable


def remove(ds: Dataset, item: Dataset) -> None:
    """Take an item out of a tree."""
    above = parent_of(ds, item)
    above.ContentSequence = [child for child in above.ContentSequence if child is not item]


def group(ds: Dataset, number: int = 0) -> Dataset:
    """Return a measurement group of a report."""
    found = [item for item in items(ds) if is_named(item, MEASUREMENT_GROUP)]
    if len(found) <= number:
        raise NotApplicable
    return found[number]


def region(ds: Dataset) -> Dataset:
    """Return the first region of a report."""
    return first(ds, IMAGE_REGION, "SCOORD")


def reference(item: Dataset) -> Dataset:
    """Return what an item's own IMAGE, or the item itself, refers to."""
    holder = item if "ReferencedSOPSequence" in item else first(item, None, "IMAGE")
    found: Dataset = holder.ReferencedSOPSequence[0]
    return found


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def number(name: Dataset, value: str, unit: Dataset | None) -> Dataset:
    """Return a NUM item."""
    item, measured = Dataset(), Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", "NUM", [name]
    measured.NumericValue = value
    if unit is not None:
        measured.MeasurementUnitsCodeSequence = [unit]
    item.MeasuredValueSequence = [measured]
    return item


def copied(item: Dataset) -> Dataset:
    """Return a copy that shares nothing."""
    return deepcopy(item)


def needs(condition: object) -> None:
    """Raise :class:`NotApplicable` where a condition does not hold."""
    if not condition:
        raise NotApplicable
