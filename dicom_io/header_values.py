"""Header values by keyword for rules: read from every instance of a series, bounded in number and length.

Only what a rule names is read. The values may name a patient: they are compared and forgotten, never logged or shown.

References
----------
PS3.3 C.7.6.16 (functional groups), PS3.5 6.2 (value representations), 7.8.1 (private data elements)
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicom_io.headers import HEADER_BYTES, Header, quietly, read_file

Value = float | str

MAX_VALUES = 64
"""Different values of one attribute that are kept; more, as of positions, are left off."""
MAX_CHARACTERS = 256
"""Longer values are no short texts or numbers, and are left out."""

_NUMBERS = frozenset({"DS", "IS", "FL", "FD", "US", "SS", "UL", "SL", "UV", "SV"})
_NO_VALUES = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})


def is_readable(keyword: str) -> bool:
    """Tell whether a keyword names an attribute of PS3.6 that has values to be compared: no sequence, no binary.

    Parameters
    ----------
    keyword
        Such as ``SeriesDescription``.
    """
    tag = tag_for_keyword(keyword)
    return tag is not None and not set(dictionary_VR(tag).split(" or ")) & _NO_VALUES


def read_values(
    paths: Sequence[Path], keywords: Iterable[str], private: Iterable[tuple[str, int, int]] = ()
) -> Mapping[str, tuple[Value, ...]]:
    """Read some attributes of every instance of a series.

    Parameters
    ----------
    paths
        PS3.10 files.
    keywords
        Those that are wanted; also looked for in the functional groups of Enhanced instances.
    private
        Private elements that are wanted: creator, group, element within the block.

    Returns
    -------
    The different values by keyword, in the order found, each value of a multi-valued attribute by itself; numbers where
    the value representation is one. Private elements are under :func:`private_key`. What no instance has is not there.

    Raises
    ------
    SeriesError
        If a file cannot be parsed any more.
    """
    found: dict[str, dict[Value, None]] = {}
    wanted, elements = sorted(set(keywords)), sorted(set(private))
    for path in paths:
        with quietly():
            header = Header(read_file(path, header_only=True, max_bytes=HEADER_BYTES).dataset)
            for keyword in wanted:
                for part in _parts(header):
                    _keep(found, keyword, _typed(keyword, part.texts(keyword)))
            for creator, group, element in elements:
                texts = header.private_texts(creator, group, element)
                _keep(found, private_key(creator, group, element), [_number(text) for text in texts])
    return {key: tuple(values) for key, values in found.items()}


def private_key(creator: str, group: int, element: int) -> str:
    """Return the key of a private element, as PS3.5 7.8.1 would write it; no keyword looks like it."""
    return f"{creator} ({group:04x},xx{element:02x})"


def _parts(header: Header) -> Iterator[Header]:
    """Yield the data set and the items of its functional groups, shared and of each frame."""
    yield header
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in header.items(sequence):
            yield from groups.nested()


def _keep(found: dict[str, dict[Value, None]], key: str, values: Iterable[Value]) -> None:
    for value in values:
        kept = found.setdefault(key, {})
        if len(kept) < MAX_VALUES and (not isinstance(value, str) or len(value) <= MAX_CHARACTERS):
            kept[value] = None


def _typed(keyword: str, texts: Iterable[str]) -> list[Value]:
    tag = tag_for_keyword(keyword)
    is_number = tag is not None and set(dictionary_VR(tag).split(" or ")) <= _NUMBERS
    return [_number(text) if is_number else text for text in texts]


def _number(text: str) -> Value:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
