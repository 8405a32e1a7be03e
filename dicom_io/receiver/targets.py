"""Where the bytes of an instance go while they come in: a file of their own, or a record of a segment.

References
----------
PS3.10 7.1 (file meta information)
"""

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from dicom_io.blocks import MEMORY_BYTES, RECORD_MEMORY_BYTES, Ahead, BlockWriter, memory
from dicom_io.segments import Segment
from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance

_BEGINNING = bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0, b"UL", 4)


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Encode preamble, prefix and file meta information, as pynetdicom does."""
    before, after = _around(sop_class_uid, transfer_syntax_uid)
    elements = before + _element(0x0003, b"UI", sop_instance_uid) + after
    return _BEGINNING + len(elements).to_bytes(4, "little") + elements


@lru_cache(maxsize=64)
def _around(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """Encode what stands before and after the instance's UID."""
    version = struct.pack("<HH2sxxL2s", 2, 1, b"OB", 2, b"\0\1")
    before = version + _element(0x0002, b"UI", sop_class_uid)
    after = _element(0x0010, b"UI", transfer_syntax_uid) + _element(0x0012, b"UI", PYNETDICOM_IMPLEMENTATION_UID)
    return before, after + _element(0x0013, b"SH", PYNETDICOM_IMPLEMENTATION_VERSION)


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


class Target:
    """An instance that is coming in.

    Parameters
    ----------
    spool
        Where it will be.
    writer
        Through which its bytes go.
    """

    def __init__(self, spool: Spool, writer: BlockWriter) -> None:
        self.spool = spool
        self.writer = writer
        self._begin = writer.size_bytes

    @property
    def size_bytes(self) -> int:
        """How much of it has come."""
        return self.writer.size_bytes - self._begin

    def append(self, content: bytes | memoryview) -> None:
        """Take a piece; raises OSError if the disk refuses earlier ones."""
        self.writer.append(content)

    def read_at(self, offset: int, count: int) -> bytes:
        """Read back what was taken, from an offset within the instance; raises OSError if the disk refuses."""
        return self.writer.read_at(self._begin + offset, count)

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

    def __init__(self, spool: Spool, blocks: memoryview) -> None:
        self._path = spool.new_part()
        flag = spool.uncached_flag() if spool.synced else 0  # before there is a file to be left behind
        # Through the page cache: past it would not be faster here (ADR 0017)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        ahead = Ahead(self._descriptor, flag) if spool.synced else None
        super().__init__(spool, BlockWriter(self._path, self._descriptor, blocks, ahead=ahead))

    def commit(self, instance: StoredInstance) -> StoredInstance:
        """Sync the file, give it its name, sync the directory."""
        self.writer.finish(padded=False)
        if self.spool.synced:
            os.fsync(self._descriptor)
        self._close()
        return self.spool.place(self._path, instance)

    def set_aside(self) -> None:
        """Move the file into the quarantine."""
        self.writer.finish(padded=False)
        self.spool.quarantine.keep(self._path)
        self.discard()

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # a disk that does not even remove it: the next start will
            self._close()
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class RecordTarget(Target):
    """A record at the end of a segment (policy journal)."""

    def __init__(self, spool: Spool, segment: Segment, blocks: memoryview, failed: Callable[[], None]) -> None:
        super().__init__(spool, spool.segments.begin(segment, blocks))
        self._segment = segment
        self._failed = failed
        self._ended = False

    def commit(self, instance: StoredInstance) -> StoredInstance:
        """Append the record and sync it."""
        self._ended = True
        try:
            record = self.spool.segments.seal(self._segment, self.writer)
        except OSError:
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
        """Cut off what was written of it, unless it has become a record or its segment is given up."""
        if self._ended:
            return
        self.spool.segments.end(self._segment)
        if not self.writer.is_in_memory:
            self.spool.segments.cut(self._segment)


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
        self._blocks = memory(RECORD_MEMORY_BYTES if in_segments else MEMORY_BYTES)

    def begin(self) -> Target:
        """Return where the next instance goes; raises OSError if the disk refuses."""
        if not self._in_segments:
            return PartTarget(self._spool, self._blocks)
        if self._segment is not None and self._spool.segments.is_full(self._segment):
            self.close()
        if self._segment is None:
            self._segment = self._spool.segments.lease()
        return RecordTarget(self._spool, self._segment, self._blocks, self._give_up)

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
