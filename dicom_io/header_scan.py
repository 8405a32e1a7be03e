"""Find an instance's UIDs in its encoded bytes, and see whether it is whole, without decoding it.

Walks from element to element by their lengths, into what has no length, with a counter instead of recursion: neither
nesting nor a length that lies costs memory. Values are looked at only where they identify the instance.

References
----------
PS3.5 7.1 (data elements), 7.5 (nesting), A.5 (deflated data sets), PS3.10 7.1 (file meta information)
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sgmri.errors import MalformedInstance

ReadAt = Callable[[int, int], bytes]
"""Gives up to so many bytes (second) of the data set from an offset (first)."""

WINDOW_BYTES = 1 << 16
"""How much is looked at in one piece; the header of a classic MR image fits."""
PREAMBLE_BYTES = 132  # PS3.10 7.1: preamble and "DICM"
_INFLATED_BYTES = 1 << 20  # a deflate bomb would grow a thousandfold: the header is near the start
_MAX_ELEMENTS = 1 << 17  # more is taken as it is: an Enhanced MR with thousands of frames has about this many
_MAX_TEXT_BYTES = 1 << 10
_LARGEST_IS = (1 << 31) - 1  # PS3.5 6.2; a larger one would fit no database column
_UNDEFINED = 0xFFFFFFFF
_TRANSFER_SYNTAX, _SOP_CLASS, _SOP_INSTANCE = 0x00020010, 0x00080016, 0x00080018
_STUDY, _SERIES, _IMAGES_IN_ACQUISITION = 0x0020000D, 0x0020000E, 0x00201002
_LAST_META_TAG = 0x0002FFFF
_WANTED = frozenset({_TRANSFER_SYNTAX, _SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES, _IMAGES_IN_ACQUISITION})
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_HEADER_BYTES = dict.fromkeys(_LONG, 12) | dict.fromkeys(_SHORT, 8)
_LARGEST_TAG = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifiers:
    """What an instance says it is: texts as they came, empty where missing.

    Parameters
    ----------
    study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid
        The UIDs, not yet checked.
    expected_instances
        Images in Acquisition (0020,1002); None where absent or no positive number that IS allows.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    expected_instances: int | None


def scan(read_at: ReadAt, size_bytes: int, transfer_syntax_uid: str) -> Identifiers:
    """Scan an encoded data set.

    Parameters
    ----------
    read_at
        Gives its bytes.
    size_bytes
        Its size.
    transfer_syntax_uid
        How it is encoded.

    Raises
    ------
    MalformedInstance
        If it ends within an element, item or sequence, or is deflated wrongly. A data set with elements that the
        standard does not know, or a deflated one, is not checked for its end.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        inflated = _inflate(read_at, size_bytes)
        walk = _Walk(
            lambda offset, count: inflated[offset : offset + count], len(inflated), last=_IMAGES_IN_ACQUISITION
        )
    else:
        walk = _Walk(
            read_at,
            size_bytes,
            explicit=transfer_syntax_uid != ImplicitVRLittleEndian,
            order=">" if transfer_syntax_uid == ExplicitVRBigEndian else "<",
        )
    walk.run()
    found = walk.found
    return Identifiers(
        study_instance_uid=found.get(_STUDY, ""),
        series_instance_uid=found.get(_SERIES, ""),
        sop_instance_uid=found.get(_SOP_INSTANCE, ""),
        sop_class_uid=found.get(_SOP_CLASS, ""),
        expected_instances=_count(found.get(_IMAGES_IN_ACQUISITION, "")),
    )


def scan_file(read_at: ReadAt, size_bytes: int) -> Identifiers:
    """Scan an instance in PS3.10 form: preamble, file meta information, data set.

    Raises
    ------
    MalformedInstance
        If it is none, or its data set is not whole (:func:`scan`).
    """
    if read_at(PREAMBLE_BYTES - 4, 4) != b"DICM":
        raise MalformedInstance("expected a PS3.10 file, found no DICOM prefix; have the sender repair it")
    meta = _Walk(_from(read_at, PREAMBLE_BYTES), size_bytes - PREAMBLE_BYTES, last=_LAST_META_TAG)
    meta.run()
    start = PREAMBLE_BYTES + meta.offset
    syntax = meta.found.get(_TRANSFER_SYNTAX, ExplicitVRLittleEndian)
    return scan(_from(read_at, start), size_bytes - start, syntax)


def _from(read_at: ReadAt, start: int) -> ReadAt:
    return lambda offset, count: read_at(start + offset, count)


def _inflate(read_at: ReadAt, size_bytes: int) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = b""
    offset = 0
    try:
        while offset < size_bytes and len(inflated) < _INFLATED_BYTES and not inflate.eof:
            piece = read_at(offset, WINDOW_BYTES)
            offset += len(piece)
            inflated += inflate.decompress(piece, _INFLATED_BYTES)
            if not piece:
                break
    except zlib.error:
        raise MalformedInstance("expected a deflated data set (PS3.5 A.5), found something else") from None
    return inflated


class _Walk:
    """One walk over the elements of a data set.

    Parameters
    ----------
    read_at, size_bytes
        Its bytes.
    explicit
        Whether it has explicit VRs.
    order
        Byte order, ``<`` or ``>``.
    last
        Stop at a tag after this one; None to walk to the end and see whether it is whole.
    """

    def __init__(
        self, read_at: ReadAt, size_bytes: int, *, explicit: bool = True, order: str = "<", last: int | None = None
    ) -> None:
        self.found: dict[int, str] = {}
        self.offset = 0
        self._read_at = read_at
        self._size = size_bytes
        self._last = last
        self._explicit = explicit
        self._element = struct.Struct(order + "HH2sH")
        self._tag = struct.Struct(order + "HH")
        self._short = struct.Struct(order + "H")
        self._long = struct.Struct(order + "L")
        self._window = b""
        self._window_offset = 0
        self._depth = 0  # of sequences and items without a length
        self._implicit_below: int | None = None  # UN without a length holds implicit VRs (PS3.5 6.2.2)
        self._regular = last is None  # whether the end may be judged
        self._previous_tag = 0
        self._elements_left = _MAX_ELEMENTS

    def run(self) -> None:
        while self.offset < self._size:
            if self._elements_left <= 0:
                self._regular = False
                break
            if self._explicit and not self._depth:
                self._skim()
            if not self._step():
                break
        if self._regular and (self.offset > self._size or self._depth):
            raise MalformedInstance(
                "expected a whole data set, found it to end within an element; have the sender send it again"
            )

    def _at(self, offset: int, count: int) -> bytes:
        start = offset - self._window_offset
        if start + count > len(self._window):
            self._window = self._read_at(offset, max(count, WINDOW_BYTES))
            self._window_offset = offset
            start = 0
        return self._window[start : start + count]

    def _skim(self) -> None:
        """Pass what is regular and lies in the window, as most of every header; :meth:`_step` takes what is not."""
        window, size_of, unpack = self._window, _HEADER_BYTES.get, self._element.unpack_from
        at, end = self.offset - self._window_offset, len(window)
        previous = self._previous_tag
        last = min(_ITEM - 1, _LARGEST_TAG if self._last is None else self._last)
        while at + 12 <= end:
            group, element, vr, length = unpack(window, at)
            tag = group << 16 | element
            header = size_of(vr)
            if not previous < tag <= last or header is None:
                break
            if header == 12:
                (length,) = self._long.unpack_from(window, at + 8)
                if length == _UNDEFINED:
                    break
            if tag in _WANTED:
                if at + header + length > end:
                    break
                self._keep(tag, window[at + header : at + header + length])
            previous = tag
            at += header + length
            self._elements_left -= 1
        self.offset, self._previous_tag = at + self._window_offset, previous

    def _keep(self, tag: int, value: bytes) -> None:
        if len(value) <= _MAX_TEXT_BYTES:
            self.found.setdefault(tag, value.rstrip(b"\0 ").decode("ascii", "replace").strip())

    def _step(self) -> bool:
        if self.offset >= self._size:
            return False
        self._elements_left -= 1
        head = self._at(self.offset, min(12, self._size - self.offset))
        if len(head) < 8:
            self._regular = self._regular and any(head)  # trailing zeros are padding
            self.offset += 8
            return False
        group, element = self._tag.unpack_from(head)
        tag = group << 16 | element
        if group == 0xFFFE:
            self._structure(tag, self._long.unpack_from(head, 4)[0])
            return True
        if not self._depth and not self._in_order(tag):
            return False
        vr, value, length = self._header(head)
        if length == _UNDEFINED:
            self._enter(vr)
            self.offset += value
            return True
        if not self._depth and tag in _WANTED and length <= _MAX_TEXT_BYTES:
            self._keep(tag, self._at(self.offset + value, length))
        self.offset += value + length
        return True

    def _in_order(self, tag: int) -> bool:
        if self._last is not None and tag > self._last:
            return False
        if tag <= self._previous_tag:
            self._regular = False
        self._previous_tag = tag
        return True

    def _header(self, head: bytes) -> tuple[bytes, int, int]:
        """Return VR, size of the element's header and length of its value."""
        vr = head[4:6]
        if not self._explicit or self._implicit_below is not None:
            return b"", 8, self._long.unpack_from(head, 4)[0]
        if vr in _LONG:
            if len(head) < 12:
                return vr, 12, 0
            return vr, 12, self._long.unpack_from(head, 8)[0]
        if vr not in _SHORT:
            self._regular = False
        return vr, 8, self._short.unpack_from(head, 6)[0]

    def _enter(self, vr: bytes) -> None:
        self._depth += 1
        if vr == b"UN" and self._implicit_below is None:
            self._implicit_below = self._depth

    def _structure(self, tag: int, length: int) -> None:
        """Pass an item's start, an item's end or a sequence's end."""
        self.offset += 8
        if tag == _ITEM:
            if length == _UNDEFINED:
                self._depth += 1
            else:
                self.offset += length
        elif tag in (_ITEM_END, _SEQUENCE_END) and self._depth:
            if self._depth == self._implicit_below:
                self._implicit_below = None
            self._depth -= 1
        else:
            self._regular = False  # an end of nothing


def _count(text: str) -> int | None:
    try:
        count = int(text)
    except ValueError:
        return None
    return count if 0 < count <= _LARGEST_IS else None
