"""Where the bytes of an instance go while they come in: a file of their own, or a record of a segment.

References
----------
PS3.10 7.1 (file meta information)
"""

import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from dicom_io.segments import HEAD, Segment
from dicom_io.spool import Spool, StoredInstance
from dicom_io.syncing import MOST_SLICES, start_writing, write_slices


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Encode preamble, prefix and file meta information, as pynetdicom does."""
    elements = struct.pack("<HH2sxxL2s", 2, 1, b"OB", 2, b"\0\1")
    texts = (
        (0x0002, b"UI", sop_class_uid),
        (0x0003, b"UI", sop_instance_uid),
        (0x0010, b"UI", transfer_syntax_uid),
        (0x0012, b"UI", PYNETDICOM_IMPLEMENTATION_UID),
        (0x0013, b"SH", PYNETDICOM_IMPLEMENTATION_VERSION),
    )
    for element, vr, text in texts:
        value = text.encode("ascii")
        if len(value) % 2:
            value += b"\0" if vr == b"UI" else b" "
        elements += struct.pack("<HH2sH", 2, element, vr, len(value)) + value
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements


class Target:
    """An instance that is coming in; its slices are written before the memory that they point to is used again.

    Parameters
    ----------
    spool
        Where it will be.
    descriptor, start
        The open file, and where the instance begins in it.
    """

    def __init__(self, spool: Spool, descriptor: int, start: int) -> None:
        self.spool = spool
        self.descriptor = descriptor
        self.start = start
        self.size_bytes = 0
        self.slices: list[bytes | memoryview] = []  # of which nothing is written
        self._end = start  # of what is written

    @property
    def is_in_memory(self) -> bool:
        """Whether nothing of it is written."""
        return self._end == self.start

    def append(self, content: bytes | memoryview) -> None:
        """Take a slice; raises OSError if the disk refuses earlier ones."""
        self.slices.append(content)
        self.size_bytes += len(content)
        if len(self.slices) >= MOST_SLICES - 2:
            self.flush()

    def flush(self) -> None:
        """Write what was taken, and let the disk begin with it; raises OSError if the disk refuses."""
        begin = self._end
        self.write()
        if self.spool.synced and self._end > begin:
            start_writing(self.descriptor, begin, self._end - begin)

    def write(self) -> None:
        """Write what was taken; raises OSError if the disk refuses."""
        slices, self.slices = self.slices, []
        self._end = write_slices(self.descriptor, slices, self._end)

    def read_at(self, offset: int, count: int) -> bytes:
        """Read back what was taken, from an offset within the instance."""
        count = min(count, max(0, self.size_bytes - offset))
        if not self.is_in_memory:
            self.write()
            return os.pread(self.descriptor, count, self.start + offset)
        pieces = []
        for content in self.slices:
            if count and offset < len(content):
                pieces.append(content[offset : offset + count])
                count -= len(pieces[-1])
            offset = max(0, offset - len(content))
        return b"".join(pieces)

    def commit(self, instance: StoredInstance) -> StoredInstance:
        """Make it safe; raises OSError if the disk refuses."""
        raise NotImplementedError

    def set_aside(self) -> None:
        """Put it into the quarantine; raises OSError if the disk refuses."""
        raise NotImplementedError

    def discard(self) -> None:
        """Leave nothing of it."""
        raise NotImplementedError


class PartTarget(Target):
    """A part file of its own: synced and renamed (policies strict and none)."""

    def __init__(self, spool: Spool) -> None:
        self._path = spool.new_part()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        super().__init__(spool, descriptor, 0)

    def commit(self, instance: StoredInstance) -> StoredInstance:
        """Sync the file, give it its name, sync the directory."""
        self.write()
        if self.spool.synced:
            os.fsync(self.descriptor)
        self._close()
        return self.spool.place(self._path, instance)

    def set_aside(self) -> None:
        """Move the file into the quarantine."""
        self.write()
        self.spool.quarantine.keep(self._path)
        self.discard()

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # a disk that does not even remove it: the next start will
            self._close()
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class RecordTarget(Target):
    """A record at the end of a segment (policy journal)."""

    def __init__(self, spool: Spool, segment: Segment, failed: Callable[[], None]) -> None:
        self._segment = segment
        self._failed = failed
        self._crc = 0
        super().__init__(spool, segment.descriptor, segment.end + HEAD.size)

    def append(self, content: bytes | memoryview) -> None:
        """Take a slice."""
        self._crc = zlib.crc32(content, self._crc)
        super().append(content)

    def commit(self, instance: StoredInstance) -> StoredInstance:
        """Append the record and sync it: in one call, unless a part of it had to be written before."""
        segments = self.spool.segments
        try:
            if self.is_in_memory:
                record = segments.append(self._segment, self.slices, self.size_bytes, self._crc)
            else:
                self.write()
                record = segments.seal(self._segment, self.size_bytes, self._crc)
        except OSError:
            self._end = self.start  # nothing to cut off any more: the segment may be closed now
            self._failed()
            raise
        return self.spool.keep_record(instance, record)

    def set_aside(self) -> None:
        """Copy the instance into the quarantine."""
        part = self.spool.new_part()
        try:
            with part.open("xb") as stream:
                offset = 0
                while piece := self.read_at(offset, 1 << 20):
                    offset += stream.write(piece)
            self.spool.quarantine.keep(part)
        finally:
            part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Cut off what was written of it, unless it has become a record."""
        if not self.is_in_memory and self.start > self._segment.end:
            with suppress(OSError):  # it has no head, so it is no record
                os.ftruncate(self.descriptor, self._segment.end)


class Intake:
    """Where one association's instances go, by policy.

    Parameters
    ----------
    spool
        The spool.
    in_segments
        Whether instances are appended to segments (policy journal).
    """

    def __init__(self, spool: Spool, *, in_segments: bool) -> None:
        self._spool = spool
        self._in_segments = in_segments
        self._segment: Segment | None = None

    def begin(self) -> Target:
        """Return where the next instance goes; raises OSError if the disk refuses."""
        if not self._in_segments:
            return PartTarget(self._spool)
        if self._segment is not None and self._spool.segments.is_full(self._segment):
            self.close()
        if self._segment is None:
            self._segment = self._spool.segments.lease()
        return RecordTarget(self._spool, self._segment, self._give_up)

    def has_room(self) -> bool:
        """Tell whether the disk is above its watermark."""
        return self._spool.has_room(0)

    def close(self) -> None:
        """End the association's use of its segment."""
        if self._segment is not None:
            self._spool.segments.give_back(self._segment)
            self._segment = None

    def _give_up(self) -> None:
        # After a failed sync nobody knows what of the segment is on disk: nothing more is appended to it
        if self._segment is not None:
            self._spool.segments.give_back(self._segment, usable=False)
            self._segment = None
