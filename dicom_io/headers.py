"""PS3.10 files parsed within bounds and without noise; attributes read one by one, so that one bad one hides no other.

Received headers may lie, lack or garble anything: a length field alone must not claim memory, a deflated data set
must not explode, one unreadable attribute must not hide the others, and no header value may reach a log.

References
----------
PS3.10 7.1, PS3.5 A.5 (deflated data sets)
"""

import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_io.native import NativePixels, locate
from sgmri.errors import IncompleteSeries, MalformedInstance
from sgmri.lifecycle import Reason

LIBRARY_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises for bytes that it cannot make sense of (found by feeding it damaged files)."""

HEADER_BYTES = 1 << 26
"""How much of a deflated data set is inflated in search of its header."""
_DEFER_BYTES = 1 << 20
"""Values longer than this are skipped until asked for."""
_PRIVATE_BYTES = 1 << 12
"""What is looked at of a private value of unknown representation; texts and numbers are shorter, blobs longer."""
_TEXTS = frozenset({"CS", "DS", "DT", "LO", "SH", "TM", "UI"})
"""Representations of texts that need no check and may have several values (PS3.5 6.2)."""
_ESCAPE = b"\x1b"
"""Without it, ASCII is ASCII in every character set (PS3.5 6.1.2.3)."""
_UID = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)+", re.ASCII)
_MOST_UID = 64
_NOISY_LOGGERS = [*map(logging.getLogger, ("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils"))]


def is_uid(text: str) -> bool:
    """Tell whether a text is a UID (PS3.5 9.1); a leading zero in a component, which occurs, is tolerated."""
    return len(text) <= _MOST_UID and _is_uid(text)


@lru_cache(maxsize=1024)  # a series' UIDs come again with each of its instances
def _is_uid(text: str) -> bool:
    return _UID.fullmatch(text) is not None


@contextmanager
def quietly() -> Iterator[None]:
    """Silence pydicom within the block: its warnings and log lines quote header values."""

    def drop(record: logging.LogRecord) -> bool:
        return False

    for logger in _NOISY_LOGGERS:
        logger.addFilter(drop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in _NOISY_LOGGERS:
            logger.removeFilter(drop)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parsed:
    """A PS3.10 file, parsed.

    Parameters
    ----------
    dataset
        Its data set; a deflated one is handed over as Explicit VR Little Endian.
    syntax
        Transfer Syntax UID of the file.
    pixels
        Where uncompressed pixels lie, if only the header was parsed and nothing about them is unusual.
    """

    dataset: FileDataset
    syntax: str
    pixels: NativePixels | None = None


def read_file(path: Path, *, header_only: bool, max_bytes: int) -> Parsed:
    """Parse a PS3.10 file; call it within :func:`quietly`.

    Parameters
    ----------
    path
        The file.
    header_only
        Stop before the pixel data.
    max_bytes
        How large the data set may be, inflated where it is deflated (PS3.5 A.5).

    Raises
    ------
    MalformedInstance
        If the file is no PS3.10 file, cannot be parsed, or is too large (then with reason TOO_LARGE).
    IncompleteSeries
        If there is no such file.
    """
    try:
        # as text: pydicom can read skipped values later only from a file whose name is a text
        with BufferedReader(_NeverWhole(str(path))) as stream:
            try:
                dataset = dcmread(stream, stop_before_pixels=header_only, defer_size=_DEFER_BYTES)
            except _IsDeflated:
                return _read_deflated(path, header_only, max_bytes)
            pixels = locate(stream, dataset) if header_only else None
        syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
        if not is_uid(syntax):
            raise MalformedInstance("expected a Transfer Syntax UID in the file meta information, found none")
        return Parsed(dataset=dataset, syntax=syntax, pixels=pixels)
    except FileNotFoundError:
        raise IncompleteSeries("expected a file of the series, found it gone; send the series again") from None
    except InvalidDicomError:
        raise MalformedInstance("expected a DICOM PS3.10 file, found something else") from None
    except RecursionError:
        raise MalformedInstance("expected a parsable data set, found sequences nested too deeply") from None
    except LIBRARY_ERRORS as error:
        raise MalformedInstance(f"expected a parsable data set, pydicom gave up with {type(error).__name__}") from None


class _IsDeflated(Exception):
    """Raised instead of inflating a data set without a bound."""


class _NeverWhole(FileIO):
    """A file that is never read to its end at once: what pydicom does only to inflate a data set."""

    def readall(self) -> bytes:
        raise _IsDeflated


def _read_deflated(path: Path, header_only: bool, max_bytes: int) -> Parsed:
    meta = read_file_meta_info(path)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if syntax != DeflatedExplicitVRLittleEndian:
        raise MalformedInstance("expected a data set with a bound, found one without; send it without deflation")
    start = 144 + int(meta["FileMetaInformationGroupLength"].value)
    limit = min(max_bytes, HEADER_BYTES) if header_only else max_bytes
    with path.open("rb") as stream:
        stream.seek(start)
        deflated = stream.read(max_bytes)
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, limit + 1)
    # the same data set without the deflation: preamble, prefix, and a meta group of the transfer syntax alone
    value = ExplicitVRLittleEndian.encode("ascii") + b"\0"
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(value)) + value
    group_length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(element))
    head = bytes(128) + b"DICM" + group_length + element
    file = BytesIO(head + inflated)
    dataset = dcmread(file, stop_before_pixels=header_only)
    ends_early = header_only and file.tell() < len(head) + len(inflated)
    if len(inflated) > limit and not ends_early:
        raise MalformedInstance(
            f"expected a deflated data set of at most {limit} bytes, found more; send it without deflation",
            Reason.TOO_LARGE,
        )
    return Parsed(dataset=dataset, syntax=syntax)


_MULTIPLE = (list, MultiValue)
"""What several values come as; a tuple, because a union would be made anew with each of many thousand questions."""


@cache
def _tag(keyword: str) -> int:
    return int(Tag(keyword))


def _each(value: object) -> Iterable[object]:
    return value if isinstance(value, _MULTIPLE) else (value,)


def _stripped(values: Iterable[object]) -> tuple[str, ...]:
    texts = [str(single).strip(" \0") for single in values]
    return tuple([text for text in texts if text])


class Header:
    """Tolerant access to the attributes of one data set or item: what cannot be read counts as missing.

    Parameters
    ----------
    dataset
        A parsed data set or sequence item; use it within :func:`quietly`.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        # by plain numbers: pydicom's tags are compared by a function in Python, and what is missing is looked for long
        self._elements = {int(tag): element for tag, element in dataset.items()}

    def _value(self, keyword: str) -> object:
        tag = _tag(keyword)
        element = self._elements.get(tag)
        if element is None:
            return None
        try:
            # converting an element is slow; pydicom leaves the value of one that it skipped away
            if isinstance(element, RawDataElement) and element.value is not None:
                if element.VR in _TEXTS and element.value.isascii() and _ESCAPE not in element.value:
                    return element.value.decode("ascii").split("\\")
                if element.VR == "IS" and (digits := element.value.strip(b" \0")).isdigit():
                    return int(digits)
                if element.VR == "US" and len(element.value) == 2:
                    return int.from_bytes(element.value, "little" if element.is_little_endian else "big")
            return self._dataset[tag].value
        except LIBRARY_ERRORS:
            return None

    @cached_property
    def _groups(self) -> frozenset[int]:
        return frozenset([tag >> 16 for tag in self._elements])

    def has(self, keyword: str) -> bool:
        """Tell whether the attribute is present, readable or not."""
        return _tag(keyword) in self._elements

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the non-empty values as stripped texts."""
        value = self._value(keyword)
        return () if value is None else _stripped(single for single in _each(value) if single is not None)

    def codes(self, keyword: str) -> tuple[str, ...]:
        """Return the non-empty values in capitals, as a code string has to be written (PS3.5 6.2)."""
        return tuple([text.upper() for text in self.texts(keyword)])

    def text(self, keyword: str) -> str:
        """Return the first value, or an empty text."""
        texts = self.texts(keyword)
        return texts[0] if texts else ""

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return the values as finite numbers; empty if any of them is none."""
        value = self._value(keyword)
        if value is None:
            return ()
        if isinstance(value, float | int):  # as pydicom gives a single number
            return (float(value),) if math.isfinite(value) else ()
        try:
            numbers = tuple(map(float, self.texts(keyword)))
        except ValueError:
            return ()
        return numbers if all(map(math.isfinite, numbers)) else ()

    def number(self, keyword: str) -> float | None:
        """Return the first value as a finite number, or None."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers else None

    def private_number(self, creator: str, group: int, element: int) -> float | None:
        """Return the first value of a private element as a finite number, or None.

        Parameters
        ----------
        creator
            Who reserved the block (PS3.5 7.8.1).
        group, element
            The group, and the element within the block.
        """
        try:
            number = float(next(iter(self.private_texts(creator, group, element)), ""))
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    def private_texts(self, creator: str, group: int, element: int) -> tuple[str, ...]:
        """Return the values of a private element as stripped texts; empty where it is missing or binary.

        Parameters
        ----------
        creator
            Who reserved the block (PS3.5 7.8.1).
        group, element
            The group, and the element within the block.
        """
        if group not in self._groups:  # asked first: pydicom sorts all tags to look for a block
            return ()
        try:
            value: object = self._dataset.private_block(group, creator)[element].value
            # bytes where the transfer syntax is implicit and the element is not in pydicom's private dictionary
            value = value[:_PRIVATE_BYTES].decode("ascii").split("\\") if isinstance(value, bytes) else value
        except LIBRARY_ERRORS:
            return ()
        return _stripped(single for single in _each(value) if isinstance(single, str | int | float))

    def count(self, keyword: str) -> int:
        """Return the value as a positive integer, or 0."""
        number = self.number(keyword)
        return int(number) if number is not None and number >= 1 else 0

    def items(self, keyword: str) -> list["Header"]:
        """Return the items of a sequence."""
        value = self._value(keyword)
        if value is None or not isinstance(value, Sequence):  # asked first for None: most sequences are not there
            return []
        return [Header(item) for item in value if isinstance(item, Dataset)]

    def nested(self) -> list["Header"]:
        """Return the items of all sequences, one level down."""
        keywords = [keyword_for_tag(tag) for tag in tuple(self._dataset.keys())]
        return [item for keyword in keywords if keyword.endswith("Sequence") for item in self.items(keyword)]

    def item(self, keyword: str) -> "Header":
        """Return the first item of a sequence; one without attributes where there is none."""
        return next(iter(self.items(keyword)), _NOTHING)


_NOTHING = Header(Dataset())
