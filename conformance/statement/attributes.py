"""Which attributes written objects have, how often, and where their values come from: counted, not claimed.

References
----------
PS3.2 Annex N, A.A (presence and source of attributes), PS3.5 7.4 (types), PS3.3 (modules)
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Final

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_io.objects.sources import PATIENT_AND_STUDY

_MOST_VALUES: Final = 8
_LONGEST_VALUE: Final = 80
_TREE: Final = "ContentSequence"
"""Not followed: the content of documents has an annex of its own."""
_BULK: Final = frozenset({"OB", "OW", "OD", "OF", "OL", "UN"})
_COPIED: Final = frozenset(
    (
        *PATIENT_AND_STUDY,
        "Laterality",
        "TimezoneOffsetFromUTC",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    )
)
"""Copied, though few specimens have them and these may agree."""
_FILE_META_GROUP: Final = 0x0002


class Source(StrEnum):
    """Where a value comes from."""

    COPY = "COPY"
    """From the images that were read."""
    FIXED = "FIXED"
    """The same in all objects of the kind."""
    AUTO = "AUTO"
    """Made for the object."""


@dataclass(slots=True)
class Attribute:
    """What was counted of an attribute at one place of one kind of object.

    Parameters
    ----------
    path
        Keywords of the sequences around it, and its own.
    vr
        Value representation.
    """

    path: tuple[str, ...]
    vr: str
    count: int = 0
    empty: int = 0
    copied: int = 0
    values: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)
    is_private: bool = False

    def add(self, element: DataElement, known: Mapping[str, frozenset[str]]) -> None:
        """Count one occurrence; ``known`` are the values of the images by keyword."""
        self.count += 1
        if element.is_empty:
            self.empty += 1
        elif element.VR == "SQ":
            self.codes |= {_code(item) for item in element.value if "CodeMeaning" in item}
        elif not self.is_bulk:
            text = _text(element.value)
            self.values.add(text)
            self.copied += text in known.get("UI" if element.VR == "UI" else element.keyword, ())

    @property
    def is_bulk(self) -> bool:
        """Whether its values are bytes that nobody reads as text."""
        return self.vr in _BULK and self.path[-1] != "FileMetaInformationVersion"

    def source(self) -> str:
        """Return where the values come from; empty for a sequence, and where there never was a value."""
        if self.is_bulk or self.path[-1] == "FileMetaInformationGroupLength":
            return Source.AUTO
        if not self.values:
            return ""
        varies = len(self.values) > 1 or self.empty > 0 or self.path[-1] in _COPIED
        if self.copied == self.count - self.empty and varies:
            return Source.COPY
        return Source.FIXED if len(self.values) == 1 else Source.AUTO

    def shown(self) -> str:
        """Return codes, or the values where they are fixed or terms of a short list."""
        if self.codes:
            shown = self.codes
        elif self.source() is Source.FIXED or (self.vr == "CS" and self.source() is Source.AUTO):
            shown = self.values
        else:
            return ""
        if len(shown) > _MOST_VALUES:
            return f"{len(shown)} different ones"
        return "; ".join(sorted(value[:_LONGEST_VALUE] for value in shown))


@dataclass(slots=True)
class Census:
    """The attributes of all objects of one kind.

    Parameters
    ----------
    sop_class_uid
        Of the kind.
    """

    sop_class_uid: str
    objects: int = 0
    attributes: dict[tuple[str, ...], Attribute] = field(default_factory=dict)
    items: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add(self, ds: Dataset, known: Mapping[str, frozenset[str]]) -> None:
        """Count one object that was made of images with these :func:`values`."""
        self.objects += 1
        self._walk(ds.file_meta, (), known)
        self._walk(ds, (), known)

    def _walk(self, ds: Dataset, place: tuple[str, ...], known: Mapping[str, frozenset[str]]) -> None:
        self.items[place] = self.items.get(place, 0) + 1
        for element in ds:
            path = (*place, element.keyword or str(element.tag))
            row = self.attributes.setdefault(path, Attribute(path=path, vr=str(element.VR)))
            row.is_private |= element.tag.is_private
            row.add(element, known)
            if element.VR == "SQ" and not row.codes and element.keyword != _TREE:
                for item in element.value:
                    self._walk(item, path, known)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield module, attribute, tag, VR, presence of attribute and of value, source and values, in order."""
        modules = _modules(self.sop_class_uid)
        order = {name: place for place, name in enumerate(modules.values())}
        for row in sorted(self.attributes.values(), key=lambda row: self._order(row, modules, order)):
            tags = [tag_for_keyword(keyword) or 0 for keyword in row.path]
            name = dictionary_description(tags[-1]) if tags[-1] else row.path[-1]
            yield (
                _module(row.path[0], modules),
                "> " * (len(row.path) - 1) + name,
                f"({tags[-1] >> 16:04X},{tags[-1] & 0xFFFF:04X})",
                row.vr,
                # the data set and its file meta information are the two items without a path
                "ALWAYS" if row.count == (self.items[row.path[:-1]] if row.path[:-1] else self.objects) else "ANAP",
                "EMPTY" if row.empty == row.count else "VNAP" if row.empty else "ALWAYS",
                row.source(),
                row.shown(),
            )

    def _order(
        self, row: Attribute, modules: Mapping[str, str], order: Mapping[str, int]
    ) -> tuple[int, tuple[int, ...]]:
        tags = tuple(tag_for_keyword(keyword) or 0 for keyword in row.path)
        in_meta = tags[0] >> 16 == _FILE_META_GROUP
        return (-1 if in_meta else order.get(modules.get(row.path[0], ""), len(order))), tags

    def private(self) -> tuple[str, ...]:
        """Return the private attributes."""
        return tuple("/".join(row.path) for row in self.attributes.values() if row.is_private)


def _module(keyword: str, modules: Mapping[str, str]) -> str:
    if (tag_for_keyword(keyword) or 0) >> 16 == _FILE_META_GROUP:
        return "File Meta Information"
    return modules.get(keyword, "(Standard Extended)")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex(" ")
    return "\\".join(map(str, value)) if isinstance(value, (list, tuple, MultiValue)) else str(value)


def _code(item: Dataset) -> str:
    return f'({item.CodeValue}, {item.CodingSchemeDesignator}, "{item.CodeMeaning}")'


def values(sources: Iterable[Dataset]) -> Mapping[str, frozenset[str]]:
    """Return every value of the images by keyword, at any depth; all UIDs together under UI."""
    found: dict[str, set[str]] = {}
    waiting = list(sources)
    while waiting:
        for element in waiting.pop():
            if element.VR == "SQ":
                waiting += element.value
            elif element.VR not in _BULK and not element.is_empty:
                found.setdefault("UI" if element.VR == "UI" else element.keyword, set()).add(_text(element.value))
    return {keyword: frozenset(values) for keyword, values in found.items()}


@cache
def _modules(sop_class_uid: str) -> Mapping[str, str]:
    """Return the module of each attribute at the top level of an IOD, in the order of its modules.

    From the tables of PS3.3 that highdicom carries.
    """
    iod = _standard("sop_class_iod_map")[sop_class_uid]
    attributes = _standard("module_attribute_map")
    found: dict[str, str] = {}
    for module in _standard("iod_module_map")[iod]:
        name = module["key"].replace("-", " ").title()
        for attribute in attributes[module["key"]]:
            if not attribute["path"]:
                found.setdefault(attribute["keyword"], name)
    return found


@cache
def _standard(name: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((files("highdicom") / "_standard" / f"{name}.json").read_text(encoding="utf-8"))
    return table
