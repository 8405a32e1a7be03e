"""What a coded frame announces, read before any decoder sees it: its size, and how much memory its structure costs.

A stream of two kilobytes may demand gigabytes: by its size, by 255 components, or by being cut into millions of tiles,
precincts or code blocks of which a decoder keeps a record each.

References
----------
ISO 10918-1 B.2 and K (JPEG), ISO 14495-1 C (JPEG-LS), ISO 15444-1 A (JPEG 2000), ISO 15444-15 (HTJ2K)
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sgmri.errors import MalformedInstance
from sgmri.lifecycle import Reason

_SOI: Final = b"\xff\xd8"
"""Start of a JPEG or JPEG-LS stream."""
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream and of its size segment."""
_EOI: Final = b"\xff\xd9"
"""End of a JPEG or JPEG-LS stream; coded data cannot hold it (ISO 10918-1 B.1.1.5, ISO 14495-1 A.1)."""
_MAX_PADDING_BYTES: Final = 64
"""One byte is due to an even length (PS3.5 A.4); some writers leave more behind the end."""
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""Markers SOF0 to SOF15 (ISO 10918-1 B.1.1.3) and SOF55 (ISO 14495-1)."""
_DHP: Final = 0xDE
"""Start of a hierarchical stream, whose later frames may be larger; DICOM has retired them."""
_SOT, _SOD, _EOC, _COD, _COC = 0xFF90, 0xFF93, 0xFFD9, 0xFF52, 0xFF53
_MAX_TILES: Final = 1024
"""A tile costs a decoder about 9 KB."""
_MAX_PRECINCTS: Final = 1 << 14
"""A precinct costs a decoder about 1.5 KB; 32 x 32 pixels each make 5,500 of the largest frame."""
_MAX_CODE_BLOCKS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class _Grid:
    """The size segment of a JPEG 2000 codestream."""

    columns: int
    rows: int
    components: int
    precision: int
    tiles: int


def truncated(found: str) -> MalformedInstance:
    """Return the error for pixel data that ends too early."""
    return MalformedInstance(
        f"expected pixel data for every frame, found {found}; send the instance again", Reason.TRUNCATED_INSTANCE
    )


def _unlike() -> MalformedInstance:
    return MalformedInstance("expected coded frames of the announced rows and columns in grey, found others")


def check_stream(frame: bytes, rows: int, columns: int) -> int:
    """Refuse a coded frame that is not of one component and the announced size, or that costs too much to decode.

    Truncated JPEG streams are refused here too: decoders fill them up without a word, and CharLS never comes back from
    some JPEG-LS ones. JPEG 2000 decoders find it out themselves.

    Parameters
    ----------
    frame
        A JPEG, JPEG-LS, JPEG 2000 or HTJ2K stream.
    rows, columns
        What the header announces.

    Returns
    -------
    int
        Bits of a sample, as the stream says.

    Raises
    ------
    MalformedInstance
        If it is anything else; TRUNCATED_INSTANCE if a JPEG or JPEG-LS stream does not end.
    struct.error
        If it ends within its own header.
    """
    start = -1 if frame[:2] == _SOI else frame.find(_SOC_SIZ)
    if start < 0:
        return _check_jpeg(frame, rows, columns)
    if start > 0 and frame.count(_SOC_SIZ) > 1:  # wrapped as a JP2 file, which occurs: no decoy before the stream
        raise MalformedInstance("expected one codestream in a coded frame, found several")
    grid = _grid(frame, start)
    if (grid.rows, grid.columns, grid.components) != (rows, columns, 1):
        raise _unlike()
    if grid.tiles > _MAX_TILES or any(_is_costly(style, grid) for style in _coding_styles(frame, start)):
        raise MalformedInstance(
            "expected JPEG 2000 frames of few tiles, precincts and code blocks, found too many to decode in bounded "
            "memory; send the instance uncompressed"
        )
    return grid.precision


def _check_jpeg(frame: bytes, rows: int, columns: int) -> int:
    place = _start_of_frame(frame)
    if place is None:
        raise _unlike()
    precision, *size = struct.unpack_from(">B2HB", frame, place + 4)  # ISO 10918-1 B.2.2
    if size != [rows, columns, 1]:
        raise _unlike()
    if _EOI not in frame[-_MAX_PADDING_BYTES:]:
        raise truncated("no end of a coded frame")
    return int(precision)


def _start_of_frame(frame: bytes) -> int | None:
    """Return where the frame header of a JPEG or JPEG-LS stream lies; None for anything else."""
    position = len(_SOI)
    while frame[:2] == _SOI and position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker in _START_OF_FRAME:
            return position
        if marker == _DHP:
            return None
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        position += 2 + int(struct.unpack_from(">H", frame, position + 2)[0])
    return None


def _grid(frame: bytes, start: int) -> _Grid:
    # ISO 15444-1 A.5.1
    right, bottom, left, top, *tile, components, depth = struct.unpack_from(">8IHB", frame, start + 8)
    tile_width, tile_height, tile_left, tile_top = tile
    across = -(-(right - tile_left) // max(tile_width, 1))
    down = -(-(bottom - tile_top) // max(tile_height, 1))
    return _Grid(right - left, bottom - top, components, (depth & 0x7F) + 1, across * down)


def _coding_styles(frame: bytes, start: int) -> Iterator[bytes]:
    """Yield every coding style, of the main header and of tile-parts: decomposition levels and what follows them."""
    position = next_part = start + 2
    while position + 4 <= len(frame):
        marker, length = struct.unpack_from(">2H", frame, position)
        if marker == _EOC:
            return
        if marker == _SOT:
            (tile_part_bytes,) = struct.unpack_from(">I", frame, position + 6)
            next_part = position + tile_part_bytes if tile_part_bytes else len(frame)
        elif marker == _SOD:
            position = max(next_part, position + 2)
            continue
        elif marker in (_COD, _COC):
            # Scod, SGcod (4 bytes) or Ccoc, Scoc; then SPcod: levels, code block width and height, style, transform
            is_default = marker == _COD
            style = frame[position + (4 if is_default else 5)]
            parameters = frame[position + (9 if is_default else 6) : position + 2 + length]
            yield parameters if style & 1 else parameters[:5]
        position += 2 + length


def _is_costly(style: bytes, grid: _Grid) -> bool:
    levels, width, height = style[0], style[1] & 0xF, style[2] & 0xF
    if levels > 32:
        return True
    precincts = code_blocks = 0
    for resolution in range(levels + 1):
        shrunk = levels - resolution
        columns, rows = (-(-size >> shrunk) or 1 for size in (grid.columns, grid.rows))
        size = style[5 + resolution] if len(style) > 5 + resolution else 0xFF  # ISO 15444-1 table A.21
        across, down = (max(1, -(-length >> (size >> shift & 0xF))) for length, shift in ((columns, 0), (rows, 4)))
        precincts += across * down
        code_blocks += max(across, -(-columns >> (width + 2))) * max(down, -(-rows >> (height + 2)))
    return precincts > _MAX_PRECINCTS or code_blocks > _MAX_CODE_BLOCKS
