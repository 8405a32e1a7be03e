"""The segment journal: instances appended to synced files, made spool files when their series completes.

One synced append makes an instance durable, where a file of its own needs two syncs. A segment belongs to one
association at a time. A record is its mark and size, the instance's bytes, an end mark with size and CRC-32, by which
one that was cut off is none::

    SGR2 size(8) | bytes | END1 size(8) crc(4) | zeros to the end of the block          (little-endian)

Records of SGR1, as an earlier version wrote them, follow each other without the zeros.
"""

import errno
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dicom_io.blocks import MEMORY_BYTES, Ahead, BlockWriter, direct_flag, uncached_flag, whole_blocks
from dicom_io.syncing import sync_directory

HEAD = struct.Struct("<4sQ")
END = struct.Struct("<4sQL")
_MARK, _EARLIER_MARK, _END_MARK = b"SGR2", b"SGR1", b"END1"
_FULL_BYTES = 1 << 26
_PIECE_BYTES = 1 << 20
_SUFFIX = ".segment"


@dataclass(slots=True, kw_only=True, eq=False)
class Segment:
    """An open segment file.

    Parameters
    ----------
    path, descriptor
        The file, open for reading, and for writing through the page cache.
    appender
        The file, open for writing whole blocks; -1 for a segment of an earlier process.
    end
        Where the next record begins, in bytes: at a block.
    waiting
        How many of its records are not yet files of the spool.
    leased
        Whether an association appends to it.
    """

    path: Path
    descriptor: int
    appender: int = -1
    end: int = 0
    waiting: int = 0
    leased: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An instance within a segment: where its bytes begin, and how many they are."""

    segment: Segment
    offset: int
    size_bytes: int

    def copy_to(self, path: Path) -> None:
        """Write the instance to a new file."""
        with path.open("xb") as stream:
            copied = 0
            while copied < self.size_bytes:
                count = min(_PIECE_BYTES, self.size_bytes - copied)
                piece = os.pread(self.segment.descriptor, count, self.offset + copied)
                if not piece:
                    raise OSError(errno.EIO, "expected a whole record in the segment, found its end")
                stream.write(piece)
                copied += len(piece)


@dataclass(slots=True)
class Segments:
    """The segments of one spool.

    Parameters
    ----------
    directory
        Where they lie; made when the first is opened.
    """

    directory: Path
    _coming: set[Segment] = field(default_factory=set)
    _waiting: dict[str, dict[str, Record]] = field(default_factory=dict)
    _free: list[Segment] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def lease(self) -> Segment:
        """Take a segment for one association, a free one or a new one; its name is durable on return.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        with self._lock:
            if self._free:
                segment = self._free.pop()
                segment.leased = True
                return segment
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.directory.parent)
        direct = direct_flag(self.directory)
        path = self.directory / f"{secrets.token_hex(8)}{_SUFFIX}"
        appender = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | direct, 0o600)
        segment = Segment(path=path, descriptor=os.open(path, os.O_RDWR | os.O_CLOEXEC), appender=appender)
        try:
            sync_directory(self.directory)
        except OSError:
            self.give_back(segment, usable=False)
            raise
        return segment

    def give_back(self, segment: Segment, *, usable: bool = True) -> None:
        """End an association's use of a segment: it is removed when nothing in it waits, else free for the next.

        Parameters
        ----------
        segment
            What was leased.
        usable
            False after an append to it failed.
        """
        with self._lock:
            segment.leased = False
            if segment.waiting and usable and not self.is_full(segment):
                self._free.append(segment)
            self._remove_if_done(segment)

    @staticmethod
    def is_full(segment: Segment) -> bool:
        """Tell whether the next record should go to another segment."""
        return segment.end >= _FULL_BYTES

    def begin(self, segment: Segment, blocks: memoryview) -> BlockWriter:
        """Return what the next record of a leased segment is written with, until :meth:`seal` or :meth:`end`.

        While no other record comes in, the disk begins with a long one piece by piece: it would have nothing to do.
        While others do, the processor has no time to spare for the page cache, and a record is written past it at its
        end; so it is where the page cache would keep it, which costs more than the disk's wait. Its head is left empty.
        """
        uncached = uncached_flag(self.directory)
        with self._lock:
            is_early = uncached and not self._coming
            self._coming.add(segment)
        ahead = Ahead(segment.descriptor, uncached) if is_early else None
        room = blocks if ahead is None else blocks[:MEMORY_BYTES]
        writer = BlockWriter(segment.path, segment.appender, room, segment.end, ahead=ahead, sums_from=HEAD.size)
        writer.append(bytes(HEAD.size))
        return writer

    def end(self, segment: Segment) -> None:
        """Note that the record which was begun comes no more."""
        with self._lock:
            self._coming.discard(segment)

    def seal(self, segment: Segment, writer: BlockWriter) -> Record:
        """Make a durable record of what was written: in one call, unless it was too long for the memory.

        Parameters
        ----------
        segment, writer
            What :meth:`begin` was called with and gave.

        Raises
        ------
        OSError
            If the disk refuses; the segment must then not be used again.
        """
        size_bytes = writer.size_bytes - HEAD.size
        record = Record(segment=segment, offset=segment.end + HEAD.size, size_bytes=size_bytes)
        try:
            writer.append(END.pack(_END_MARK, size_bytes, writer.crc32()))
            segment.end = writer.finish(HEAD.pack(_MARK, size_bytes), synced=True)
        except OSError:
            Segments.cut(segment)
            raise
        finally:
            self.end(segment)
        return record

    @staticmethod
    def cut(segment: Segment) -> None:
        """Cut off what is no record; what cannot be cut off has no head, so it is none all the same."""
        with suppress(OSError):
            os.ftruncate(segment.appender, segment.end)

    def keep(self, series_key: str, file_name: str, record: Record) -> bool:
        """Remember that a record waits to become a file; False if one of that name waits already."""
        with self._lock:
            names = self._waiting.setdefault(series_key, {})
            if file_name in names:
                return False
            names[file_name] = record
            record.segment.waiting += 1
            return True

    def waiting(self, series_key: str) -> dict[str, Record]:
        """Return the records of a series that wait, by file name."""
        with self._lock:
            return dict(self._waiting.get(series_key, {}))

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the series that have records waiting."""
        with self._lock:
            return tuple(self._waiting)

    def done(self, series_key: str, records: dict[str, Record]) -> None:
        """Forget records that are durable files now; a segment without any is removed."""
        with self._lock:
            names = self._waiting.get(series_key, {})
            for name, record in records.items():
                if names.get(name) is record:
                    del names[name]
                    record.segment.waiting -= 1
                    self._remove_if_done(record.segment)
            if not names:
                self._waiting.pop(series_key, None)

    def left_behind(self) -> Iterator[tuple[Segment, list[Record]]]:
        """Yield each segment of an earlier process with its whole records; call it before any lease."""
        for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            segment = Segment(path=path, descriptor=descriptor, leased=False)
            yield segment, list(_records(segment))

    @staticmethod
    def remove(segment: Segment) -> None:
        """Delete a segment whose records are durable files."""
        segment.path.unlink(missing_ok=True)
        os.close(segment.descriptor)
        if segment.appender >= 0:
            os.close(segment.appender)

    def _remove_if_done(self, segment: Segment) -> None:
        if not segment.leased and not segment.waiting:
            if segment in self._free:
                self._free.remove(segment)
            self.remove(segment)


def _records(segment: Segment) -> Iterator[Record]:
    size = os.fstat(segment.descriptor).st_size
    offset = 0
    while offset + HEAD.size + END.size <= size:
        mark, length = HEAD.unpack(os.pread(segment.descriptor, HEAD.size, offset))
        start = offset + HEAD.size
        # A record that was cut off has no whole frame; nothing after it was ever acknowledged
        if mark not in (_MARK, _EARLIER_MARK) or start + length + END.size > size:
            return
        end = END.unpack(os.pread(segment.descriptor, END.size, start + length))
        if end != (_END_MARK, length, _crc(segment.descriptor, start, length)):
            return
        yield Record(segment=segment, offset=start, size_bytes=length)
        offset = start + length + END.size
        if mark == _MARK:
            offset = whole_blocks(offset)


def _crc(descriptor: int, offset: int, count: int) -> int:
    crc = 0
    while count:
        piece = os.pread(descriptor, min(count, _PIECE_BYTES), offset)
        if not piece:
            return -1
        crc = zlib.crc32(piece, crc)
        offset += len(piece)
        count -= len(piece)
    return crc
