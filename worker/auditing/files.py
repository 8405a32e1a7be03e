"""The audit log of one host: files of lines that are only added to, by any number of processes at a time.

Files are named by the number of their first line; a new one goes on with the chain. A line is written by one call under
a lock that all processes of the host share, and cut off again if the disk took only a part of it.
"""

import errno
import fcntl
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_io.syncing import make_directory, sync_directory
from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.audit_chain import NO_LINES, AuditLine, Head, decode
from sgmri.settings import Settings

_log = logging.getLogger(__name__)

_TAIL_BYTES = 1 << 16
_DIRECTORY = "audit"
_LOCK = "lock"


def audit_dir(settings: Settings) -> Path:
    """Return where the logs of all hosts lie, a directory each."""
    return Path(settings.storage.state_dir) / _DIRECTORY


def this_host() -> str:
    """Return the name of this host's log: that of the machine, as far as it can name a directory."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname()).lstrip(".")[:200] or "host"


def files_of(directory: Path) -> list[Path]:
    """Return the files of a host's log, in the order of their lines."""
    return sorted(path for path in directory.glob("*.jsonl") if path.stem.isdecimal())


@contextmanager
def locked(directory: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock of a host's log; raises OSError if it cannot be opened."""
    flags = os.O_RDWR | os.O_CREAT if exclusive else os.O_RDONLY
    descriptor = os.open(directory / _LOCK, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@dataclass(slots=True, kw_only=True)
class AuditFiles:
    """Adds lines to a host's log.

    Parameters
    ----------
    directory
        Of the host's files; its name is the host's.
    process
        The kind of this process.
    clock
        The time, UTC.
    max_file_bytes
        A file that has as many is followed by another one.
    synced
        Whether a line is on stable storage on return.
    head
        The end of the log as far as it is known.
    """

    directory: Path
    process: str
    clock: Callable[[], datetime]
    max_file_bytes: int
    synced: bool
    head: Head = NO_LINES
    _path: Path | None = None
    _size_bytes: int = -1

    def expect(self, head: Head) -> None:
        """Take up how far the log is known from elsewhere: the next line compares it with what is there."""
        if head.seq > self.head.seq:
            self.head, self._path = head, None

    def append(self, event: AuditEvent) -> Head:
        """Add an event, behind lines about what is found wrong with the end of the log.

        Raises
        ------
        OSError
            If the disk refuses; then nothing of the line is left.
        """
        make_directory(self.directory)
        with locked(self.directory, exclusive=True):
            for notice in self._take_up():
                self._write(notice)
            self._write(event)
        return self.head

    def _take_up(self) -> Iterator[AuditEvent]:
        """Find the end of the log, and yield what is wrong with it."""
        files = files_of(self.directory)
        newest = files[-1] if files else None
        if newest is not None and newest == self._path and newest.stat().st_size == self._size_bytes:
            return  # nobody else has written meanwhile
        self._path, known = newest, self.head
        cut_bytes = _cut_half_line(newest) if newest is not None else 0
        self._size_bytes = newest.stat().st_size if newest is not None else 0
        self.head = _last_line(files)
        if cut_bytes:
            _log.error("the audit log ended in half a line of %d bytes, which was cut off", cut_bytes)
            yield self._notice(f"the log ended in half a line of {cut_bytes} bytes; it was cut off")
        if self.head.seq < known.seq or (self.head.seq == known.seq and self.head != known):
            found, self.head = self.head, known
            _log.error("the audit log ends with line %d, expected line %d as it was known", found.seq, known.seq)
            yield self._notice(f"expected line {known.seq} as it was known, found line {found.seq} to be the last")

    def _notice(self, detail: str) -> AuditEvent:
        return AuditEvent(action=Action.AUDIT, who=self.process, outcome=Outcome.FAILURE, detail=detail)

    def _write(self, event: AuditEvent) -> None:
        line = AuditLine(
            seq=self.head.seq + 1,
            at=self.clock().isoformat(timespec="microseconds"),
            host=self.directory.name,
            process=self.process,
            event=event,
            previous=self.head.digest,
        )
        is_new = self._path is None or self._size_bytes >= self.max_file_bytes
        path = self.directory / f"{line.seq:012d}.jsonl" if is_new or self._path is None else self._path
        size_bytes = 0 if is_new else self._size_bytes
        self._path, self._size_bytes = None, -1  # unless all goes well, the next one looks again
        size_bytes = _add(path, line.encode(), size_bytes, synced=self.synced)
        if is_new and self.synced:
            sync_directory(self.directory)
        self._path, self._size_bytes, self.head = path, size_bytes, line.head


def _add(path: Path, content: bytes, start: int, *, synced: bool) -> int:
    """Add a whole line at the end of a file, or nothing; return where it ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        try:
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, "expected room for a line of the audit log")
            if synced:
                os.fdatasync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, start)
            raise
    finally:
        os.close(descriptor)
    return start + len(content)


def _cut_half_line(path: Path) -> int:
    """Cut off what stands behind the last line end, of a process that died while it wrote; return how many bytes."""
    size_bytes = path.stat().st_size
    tail = _tail(path, size_bytes)
    half = len(tail) - (tail.rfind(b"\n") + 1)
    if half:
        os.truncate(path, size_bytes - half)
    return half


def _last_line(files: list[Path]) -> Head:
    """Return the end of the log: that of the last line that can be read."""
    for path in reversed(files):
        for encoded in reversed(_tail(path, path.stat().st_size).splitlines(keepends=True)):
            try:
                return decode(encoded).head
            except ValueError:
                continue
    return NO_LINES


def _tail(path: Path, size_bytes: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(max(0, size_bytes - _TAIL_BYTES))
        return stream.read()


def lines_of(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every line of a host's log as it stands there, with its place: ``FILE:LINE``."""
    for path in files_of(directory):
        with path.open("rb") as stream:
            for number, encoded in enumerate(stream, 1):
                yield f"{path.name}:{number}", encoded


def events_of(directory: Path) -> Iterator[AuditLine]:
    """Yield the lines of a host's log that can be read."""
    for _, encoded in lines_of(directory):
        try:
            yield decode(encoded)
        except ValueError:
            continue
