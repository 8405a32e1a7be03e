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

_MOST_SLICES = 512  # of one pwritev; IOV_MAX is 1024


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
        self._end = start  # of what is written
        self._slices: list[bytes | memoryview] = []

    def append(self, content: bytes | memoryview) -> None:
        """Take a slice; raises OSError if the disk refuses earlier ones."""
        self._slices.append(content)
        self.size_bytes += len(content)
        if len(self._slices) >= _MOST_SLICES:
            self.flush()

    def flush(self) -> None:
        """Write what was taken; raises OSError if the disk refuses."""
        slices, self._slices = self._slices, []
        while slices:
            written = os.pwritev(self.descriptor, slices, self._end)
            self._end += written
            while slices and written >= len(slices[0]):
                written -= len(slices.pop(0))
            if written:
                slices[0] = slices[0][written:]

    def read_at(self, offset: int, count: int) -> bytes:
        """Read back what was written, from an offset within the instance."""
        return os.pread(self.descriptor, min(count, max(0, self.size_bytes - offset)), self.start + offset)

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
        self.flush()
        if self.spool.synced:
            os.fsync(self.descriptor)
        self._close()
        return self.spool.place(self._path, instance)

    def set_aside(self) -> None:
        """Move the file into the quarantine."""
        self.flush()
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
        os.ftruncate(segment.descriptor, segment.end)
        super().__init__(spool, segment.descriptor, segment.end + HEAD.size)

    def append(self, content: bytes | memoryview) -> None:
        """Take a slice."""
        self._crc = zlib.crc32(content, self._crc)
        super().append(content)

    def commit(self, instance: StoredInstance) -> StoredInstance:
        """Append the end mark and sync the segment."""
        self.flush()
        try:
            record = self.spool.segments.seal(self._segment, self.size_bytes, self._crc)
        except OSError:
            self._failed()
            raise
        return self.spool.keep_record(instance, record)

    def set_aside(self) -> None:
        """Copy the instance into the quarantine."""
        self.flush()
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
        """Do nothing: the next record is written over it."""


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
