"""Uncompressed pixel data read straight from its place in the file, where all of its description is regular.

The header says where the pixels lie when it is parsed for its facts; parsing it again for the pixels would cost more
than all of the pixels. Anything unusual (byte order, depth, length, VR) is left to pydicom and to its reasoned errors.

References
----------
PS3.5 8.1.1 (pixel cells), 8.2 and A.1, A.2 (native encoding)
"""

import struct
import zlib
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

_MAX_HEADER_BYTES = 1 << 20
_PIXEL_DATA = struct.pack("<HH", 0x7FE0, 0x0010)
_NUMBER_OF_FRAMES = Tag("NumberOfFrames")
_DESCRIPTION = [
    int(Tag(keyword))
    for keyword in (
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
    )
]
_ENCODINGS = {ExplicitVRLittleEndian: (False, True), ImplicitVRLittleEndian: (True, True)}
"""(implicit VR, little endian) of the transfer syntaxes whose pixels can be taken as they lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativePixels:
    """Where the pixels of one instance lie, and what they are.

    Parameters
    ----------
    offset
        Bytes from the start of the file to the first pixel.
    shape
        (frames, rows, columns).
    bits_allocated, bits_stored, is_signed
        PS3.3 C.7.6.3; the stored bits lie at the low end.
    header_crc32
        Of all bytes before the pixels: another header, another description.
    """

    offset: int
    shape: tuple[int, int, int]
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    header_crc32: int


def are_low_bits(allocated: int, stored: int, high: int) -> bool:
    """Tell whether pixel cells are of 8 or 16 bits with the stored ones at the low end, as everything here is read.

    Parameters
    ----------
    allocated, stored, high
        Bits Allocated, Bits Stored and High Bit (PS3.5 8.1.1).
    """
    return allocated in (8, 16) and 1 <= stored <= allocated and high == stored - 1


def without_unused_bits(cells: NDArray[np.integer], bits_stored: int, *, is_signed: bool) -> NDArray[np.integer]:
    """Return the stored values: unused bits dropped, and signs carried up (PS3.5 8.1.1).

    Parameters
    ----------
    cells
        Pixel cells with the stored bits at their low end.
    bits_stored, is_signed
        Bits Stored, and whether Pixel Representation is 1.
    """
    values: NDArray[np.integer] = cells.astype(f"{'i' if is_signed else 'u'}{cells.itemsize}", copy=False)
    unused = 8 * cells.itemsize - bits_stored
    if unused and is_signed:
        return values << unused >> unused
    return values & ((1 << bits_stored) - 1) if unused else values


def locate(stream: BufferedIOBase, dataset: FileDataset) -> NativePixels | None:
    """Return where the pixels lie; None where anything about them is unusual.

    Parameters
    ----------
    stream
        The file, at the element where parsing stopped before the pixels.
    dataset
        What was parsed.
    """
    encoding = _ENCODINGS.get(dataset.file_meta.TransferSyntaxUID)
    start = stream.tell()
    head = stream.read(12)
    if encoding is None or encoding != dataset.original_encoding or start > _MAX_HEADER_BYTES or len(head) < 12:
        return None
    header_bytes = 8 if encoding[0] else 12
    if head[:4] != _PIXEL_DATA or (not encoding[0] and head[4:6] not in (b"OW", b"OB")):
        return None
    (length,) = struct.unpack_from("<L", head, header_bytes - 4)
    numbers = _description(dataset)
    frames = dataset[_NUMBER_OF_FRAMES].value if _NUMBER_OF_FRAMES in dataset else 1
    if len(numbers) < len(_DESCRIPTION) or not isinstance(frames, int):
        return None
    rows, columns, samples, allocated, stored, high, representation = numbers
    expected = frames * rows * columns * allocated // 8
    is_regular = are_low_bits(allocated, stored, high) and representation in (0, 1)
    if not is_regular or samples != 1 or expected <= 0 or length not in (expected, expected + expected % 2):
        return None
    offset = start + header_bytes
    stream.seek(0)
    return NativePixels(
        offset=offset,
        shape=(int(frames), rows, columns),
        bits_allocated=allocated,
        bits_stored=stored,
        is_signed=representation == 1,
        header_crc32=zlib.crc32(stream.read(offset)),
    )


def _description(dataset: FileDataset) -> list[int]:
    """Return the values of the description as they lie in the file, up to the first that is missing or no US."""
    numbers = []
    elements = {int(tag): element for tag, element in dataset.items()}  # not converted by pydicom, which is slow
    for tag in _DESCRIPTION:
        element = elements.get(tag)
        if not isinstance(element, RawDataElement) or element.VR not in (None, "US"):
            break
        if element.value is None or len(element.value) != 2:
            break
        numbers.append(int.from_bytes(element.value, "little"))
    return numbers


def read(path: Path, pixels: NativePixels) -> NDArray[np.integer] | None:
    """Read the stored values, unused bits dropped and signs carried up.

    Returns
    -------
    signed or unsigned integers (frames, rows, columns)
        None if the file is gone, has another header than before or ends early: pydicom shall say which.
    """
    frames, rows, columns = pixels.shape
    count = frames * rows * columns
    end = pixels.offset + count * pixels.bits_allocated // 8
    try:
        with path.open("rb", buffering=0) as stream:
            content = stream.read(end)
    except OSError:
        return None
    if len(content) < end or zlib.crc32(memoryview(content)[: pixels.offset]) != pixels.header_crc32:
        return None
    cells = np.frombuffer(content, f"<u{pixels.bits_allocated // 8}", count, pixels.offset)
    return without_unused_bits(cells, pixels.bits_stored, is_signed=pixels.is_signed).reshape(pixels.shape)
