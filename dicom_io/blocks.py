"""Bytes on their way to disk in whole blocks, past the page cache where the file system can.

An append that is synced at once is written from memory to disk without a copy in between: that takes half the time of
one through the page cache, and a fifth of the processor's (ADR 0017). Where the file system cannot, the same blocks go
through the page cache.

References
----------
open(2), ``O_DIRECT``: memory, place in the file and length are multiples of a block
"""

import errno
import mmap
import os
import secrets
import threading
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import imagecodecs

from dicom_io.syncing import start_writing

BLOCK_BYTES = 4096
MEMORY_BYTES = 1 << 18
"""For a file: the disk begins with the first piece while the next one comes."""
RECORD_MEMORY_BYTES = 1 << 22
"""For a record of a segment: an instance of nearly this size is written, and synced, in one call."""
_FIRST_BYTES = 1 << 17  # the header of nearly every instance: it is looked at after the rest has come
_LARGE_BYTES = 1 << 20
_TURNS = threading.BoundedSemaphore(2)
_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux
_DSYNC = getattr(os, "RWF_DSYNC", 0)  # Linux
_DONTCACHE = 0x80  # RWF_DONTCACHE of Linux 6.14, which Python does not name


def memory(size_bytes: int = MEMORY_BYTES) -> memoryview:
    """Return memory that begins at a block, for one :class:`BlockWriter` at a time; it takes none until it is used."""
    return memoryview(mmap.mmap(-1, size_bytes))


def whole_blocks(size_bytes: int) -> int:
    """Return the size of the blocks that so many bytes take."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _turn(size_bytes: int) -> AbstractContextManager[object]:
    """Return what to hold while so many bytes are synced: of large ones two at a time.

    Several that are synced at once share the disk and end together, and their senders wait together: neither disk nor
    network is then busy while the other is. Small ones gain from a common commit of the file system's journal instead.
    """
    return _TURNS if size_bytes >= _LARGE_BYTES else nullcontext()


class Ahead(NamedTuple):
    """How the disk begins with what has come of an instance while the rest comes.

    Parameters
    ----------
    descriptor
        The file, open for writing through the page cache.
    flag
        What :func:`uncached_flag` said of its directory; 0: the disk is told piece by piece.
    """

    descriptor: int
    flag: int


@lru_cache(maxsize=64)
def direct_flag(directory: Path) -> int:
    """Return ``O_DIRECT`` if files of a directory can be written past the page cache, else 0; tried once.

    Raises
    ------
    OSError
        If the disk refuses for another reason.
    """
    return _DIRECT if _takes(directory, opened=_DIRECT) else 0


@lru_cache(maxsize=64)
def uncached_flag(directory: Path) -> int:
    """Return ``RWF_DONTCACHE`` if files of a directory can be written so, else 0; tried once.

    The disk begins at once with what is written so, and its memory is free for the next bytes when it is done: an
    instance costs no memory that the machine has not used for long, which is dear on virtual machines (ADR 0017).

    Raises
    ------
    OSError
        If the disk refuses for another reason.
    """
    return _DONTCACHE if _takes(directory, written=_DONTCACHE) else 0


def _takes(directory: Path, *, opened: int = 0, written: int = 0) -> bool:
    path = directory / f"{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | opened, 0o600)
        try:
            os.pwritev(descriptor, [memory()[:BLOCK_BYTES]], 0, written)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return False
    finally:
        path.unlink(missing_ok=True)
    return True


class BlockWriter:
    """Writes bytes one after another, from a place of a file on.

    Parameters
    ----------
    path, descriptor
        The file, and where it is open for writing.
    blocks
        Memory of whole blocks; nobody else may use it meanwhile.
    start
        Where in the file, at a block.
    ahead
        Through which pieces go that are not synced by themselves; None where the disk need not begin with them.
    sums_from
        From which byte on :meth:`crc32` counts; None if it is not asked for.
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        blocks: memoryview,
        start: int = 0,
        *,
        ahead: Ahead | None = None,
        sums_from: int | None = None,
    ) -> None:
        self._path = path
        self._descriptor = descriptor
        self._blocks = blocks
        self._start = start
        self._ahead = ahead
        self._written = 0
        self._first = b""
        self._summed = sums_from
        self._crc = 0
        self.size_bytes = 0

    @property
    def is_in_memory(self) -> bool:
        """Whether nothing of it has reached the file."""
        return not self._written

    def append(self, content: bytes | memoryview) -> None:
        """Take bytes; raises OSError if the disk refuses earlier ones."""
        while True:
            place = self.size_bytes - self._written
            count = min(len(content), len(self._blocks) - place)
            self._blocks[place : place + count] = content[:count]
            self.size_bytes += count
            if count == len(content):
                return
            content = content[count:]
            self._spill()

    def crc32(self) -> int:
        """Return the CRC-32 of what was taken so far, but for what comes before ``sums_from``."""
        if self._summed is not None:
            # In one piece: each call gives up the interpreter's lock, which other associations take. zlib's own takes
            # twelve times as long
            new = self._blocks[self._summed - self._written : self.size_bytes - self._written]
            self._crc = imagecodecs.deflate_crc32(new, self._crc)  # type: ignore[arg-type]  # any buffer
            self._summed = self.size_bytes
        return self._crc

    def _spill(self) -> None:
        self.crc32()
        if not self._written:
            self._first = bytes(self._blocks[:_FIRST_BYTES])
        self._write(self._blocks, self._written)
        if self._ahead is not None and not self._ahead.flag:
            start_writing(self._ahead.descriptor, self._start + self._written, len(self._blocks))
        self._written = self.size_bytes

    def read_at(self, offset: int, count: int) -> bytes:
        """Read back what was taken; raises OSError if the disk refuses."""
        end = min(offset + count, self.size_bytes)
        if offset >= self._written:
            return bytes(self._blocks[offset - self._written : max(offset, end) - self._written])
        if end <= len(self._first):
            return self._first[offset:end]
        with self._path.open("rb") as stream:
            piece = os.pread(stream.fileno(), min(end, self._written) - offset, self._start + offset)
        return piece + bytes(self._blocks[: max(0, end - self._written)])

    def finish(self, head: bytes = b"", *, padded: bool = True, synced: bool = False) -> int:
        """Write what is left.

        Parameters
        ----------
        head
            What to write over the first bytes; these reach the disk last.
        padded
            Whether zeros follow to the end of the block, as a file needs that is open for writing past the page cache.
        synced
            Whether all of it, and the size of the file, are on stable storage on return.

        Returns
        -------
        Where it ends in the file.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        left = self.size_bytes - self._written
        end = whole_blocks(left) if padded else left
        self._blocks[left:end] = bytes(end - left)
        if self.is_in_memory:
            self._blocks[: len(head)] = head
            with _turn(end if synced else 0):
                self._write(self._blocks[:end], 0, synced=synced)
        else:
            self._write(self._blocks[:end], self._written)
            if head:
                self._blocks[:BLOCK_BYTES] = head + self._first[len(head) : BLOCK_BYTES]
                self._write(self._blocks[:BLOCK_BYTES], 0)
        if synced and not (self.is_in_memory and _DSYNC):
            with _turn(self.size_bytes):
                os.fdatasync(self._descriptor)
        return self._start + self._written + end

    def _write(self, blocks: memoryview, offset: int, *, synced: bool = False) -> None:
        descriptor, flags = self._descriptor, _DSYNC if synced else 0
        if self._ahead is not None and not synced:
            descriptor, flags = self._ahead
        while blocks:
            written = os.pwritev(descriptor, [blocks], self._start + offset, flags)
            offset += written
            blocks = blocks[written:]
