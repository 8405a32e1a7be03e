"""What the content trees of written documents hold, and every code of written objects with its places.

References
----------
PS3.2 Annex N, A.B (SR content encoding) and A.E (code sets), PS3.3 C.17.3 (content items)
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset

from dicom_io import codes
from sgmri import vocabulary
from sgmri.vocabulary import CodedConcept

_MOST_VALUES: Final = 8
_FINDINGS: Final = frozenset(row.written for row in vocabulary.FINDINGS.values())
_ANY_FINDING: Final = "(code of a finding)"


@dataclass(slots=True)
class Item:
    """What was counted of a content item at one place.

    Parameters
    ----------
    count, parents
        How often, and how many items (or documents) have one.
    templates
        Template Identifiers of the containers there.
    values
        Codes, units, graphic types or SOP classes; those of text and UIDs are not kept.
    """

    count: int = 0
    parents: int = 0
    templates: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)


_Place = tuple[tuple[str, str, str], ...]
"""Relationship, value type and concept name of each item from the root down."""


@dataclass(slots=True)
class Tree:
    """The content items of all documents of one kind, in the order in which they first came."""

    documents: int = 0
    items: dict[_Place, Item] = field(default_factory=dict)

    def add(self, ds: Dataset) -> None:
        """Count the content of one document."""
        self.documents += 1
        self.items[self._walk(ds, ())].parents += 1

    def _walk(self, item: Dataset, parent: _Place) -> _Place:
        place = (*parent, (str(item.get("RelationshipType", "")), str(item.ValueType), _concept_name(item)))
        row = self.items.setdefault(place, Item())
        row.count += 1
        row.templates |= {f"TID {one.TemplateIdentifier}" for one in item.get("ContentTemplateSequence") or []}
        row.values |= set(_values(item))
        for below in {self._walk(child, place): None for child in item.get("ContentSequence") or []}:
            self.items[below].parents += 1
        return place

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates of the root."""
        return tuple(sorted({name for place, row in self.items.items() if len(place) == 1 for name in row.templates}))

    def rows(self, place: _Place = ()) -> Iterator[tuple[str, ...]]:
        """Yield depth, relationship, value type, concept name, template, presence and values, parents first."""
        for below, row in list(self.items.items()):
            if below[:-1] == place:
                relationship, value_type, name = below[-1]
                in_all = row.parents == (self.items[place].count if place else self.documents)
                shown = sorted(row.values)
                yield (
                    ">" * len(place),
                    relationship,
                    value_type,
                    name,
                    ", ".join(sorted(row.templates)),
                    "ALWAYS" if in_all else "ANAP",
                    "; ".join(shown) if len(shown) <= _MOST_VALUES else f"{len(shown)} different ones",
                )
                yield from self.rows(below)


def _concept_name(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return ""
    concept = codes.read(names[0])
    # A yes/no answer is named by what was asked for: one row for all of these
    return _ANY_FINDING if concept in _FINDINGS and item.ValueType == "CODE" else written(concept)


def written(concept: CodedConcept) -> str:
    """Return a concept as the standard writes it."""
    return f'({concept.value}, {concept.scheme}, "{concept.meaning}")'


def _values(item: Dataset) -> Iterator[str]:
    for code in item.get("ConceptCodeSequence") or []:
        yield written(codes.read(code))
    for measured in item.get("MeasuredValueSequence") or []:
        yield from (f"unit {written(codes.read(unit))}" for unit in measured.MeasurementUnitsCodeSequence)
    if "GraphicType" in item:
        yield str(item.GraphicType)
    for reference in item.get("ReferencedSOPSequence") or []:
        yield reference.ReferencedSOPClassUID.name


@dataclass(slots=True)
class CodesUsed:
    """Every code of written objects: in which kinds, and in which attributes."""

    places: dict[CodedConcept, set[tuple[str, str]]] = field(default_factory=dict)

    def add(self, ds: Dataset, kind: str) -> None:
        """Note the codes of one object."""
        waiting = [ds]
        while waiting:
            for element in waiting.pop():
                if element.VR != "SQ":
                    continue
                for item in element.value:
                    if "CodeMeaning" in item:
                        self.places.setdefault(codes.read(item), set()).add((kind, element.keyword))
                    waiting.append(item)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield scheme, value, meaning, kinds and attributes of every code that may be written, in order."""
        for concept in sorted(codes.CODES.values(), key=lambda one: (one.scheme, one.value)):
            places = self.places.get(concept, set())
            yield (
                concept.scheme,
                concept.value,
                concept.meaning,
                ", ".join(sorted({kind for kind, _ in places})),
                ", ".join(sorted({keyword for _, keyword in places})),
            )
