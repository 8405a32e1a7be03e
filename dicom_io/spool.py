"""The instance spool: received instances as PS3.10 files, durable before anybody is told so.

``<spool>/<series key>/<instance key>.dcm``. File names come from our own keys, never from a data set, so that no
peer chooses a path. A file is written under a temporary name below ``incoming``, synced, renamed, and its directory
synced; what is left of an interrupted write is removed at the next start. What comes again with other bytes is kept
beside the first copy (``<instance key>.<digest>.other``), and what cannot be placed is set aside in ``quarantine``.
"""

import filecmp
import hashlib
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dicom_io.blocks import uncached_flag
from dicom_io.incoming import PART, Incoming
from dicom_io.quarantine import Quarantine
from dicom_io.segments import Record, Segments
from dicom_io.stored import KEY_LENGTH, SUFFIX, StoredInstance, read_file_header
from dicom_io.syncing import make_directory, sync_directory, sync_file
from sgmri.errors import MalformedInstance

_OTHER = ".other"
_ROOM_S = 0.1  # in which no disk takes as much as lies between the watermark and the end of it


class Spool:
    """Received instances on disk.

    Parameters
    ----------
    root
        The spool's directory; made when missing, readable by its owner only.
    min_free_bytes
        Below this much free disk nothing more is accepted.
    synced
        Whether an instance is durable before it counts as stored; without, a power cut may lose it.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 0, synced: bool = True) -> None:
        self.root = root
        self._root = os.fspath(root)  # what is asked for every instance does without Path
        self.synced = synced
        self.segments = Segments(root / "segments")
        self.quarantine = Quarantine(root / "quarantine")
        self._min_free_bytes = min_free_bytes
        self._free_bytes = 0
        self._look_again_at = 0.0
        self._incoming = Incoming(root / "incoming")
        self._without_directory: set[str] = set()  # series that wait in segments; changed by who holds _placing
        self._placing = threading.Lock()
        self._gathering = threading.Lock()
        make_directory(root)

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether an instance of this size fits above the watermark."""
        now = time.monotonic()
        if now >= self._look_again_at:
            disk = os.statvfs(self._root)
            self._free_bytes = disk.f_bavail * disk.f_frsize
            # Where there is no room, it is looked for each time: what is refused meanwhile was refused for nothing
            self._look_again_at = now + _ROOM_S if self._free_bytes >= self._min_free_bytes else 0.0
        return self._free_bytes - size_bytes >= self._min_free_bytes

    def new_part(self) -> Path:
        """Return the path of a file to be written; :meth:`place` it, give it to the quarantine or unlink it.

        Raises
        ------
        OSError
            If the disk refuses a directory for it.
        """
        return self._incoming.new_part()

    def uncached_flag(self) -> int:
        """Return with which flag parts are written so that the page cache does not keep them, 0 where it cannot be.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        return uncached_flag(self.root)

    def write_part(self, encoded: bytes) -> Path:
        """Write an instance to a new part file.

        Raises
        ------
        OSError
            If the disk refuses; nothing partial is left behind.
        """
        part = self.new_part()
        try:
            with part.open("xb") as stream:
                stream.write(encoded)
                stream.flush()
                if self.synced:
                    os.fsync(stream.fileno())
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return part

    def store(self, instance: StoredInstance, encoded: bytes) -> StoredInstance:
        """Store one instance.

        Parameters
        ----------
        instance
            What :func:`read_header` found in ``encoded``.
        encoded
            The instance in PS3.10 form (preamble, file meta information, data set).

        Returns
        -------
        The same, with ``was_there`` and ``differs`` set if an instance of that UID had been stored before.

        Raises
        ------
        OSError
            If the disk refuses; nothing partial is left behind.
        """
        return self.place(self.write_part(encoded), instance)

    def place(self, part: Path, instance: StoredInstance) -> StoredInstance:
        """Give a part file, whose bytes are synced, its name.

        Parameters
        ----------
        part
            The file; it is gone afterwards, whatever happens.
        instance
            What its header says.

        Returns
        -------
        The same, with ``was_there`` and ``differs`` set if an instance of that UID had been stored before: the
        first copy stays, one with other bytes is kept beside it.

        Raises
        ------
        OSError
            If the disk refuses; the instance is not stored then.
        """
        path = self.path(instance.series_key, instance.file_name)
        differs = moved = False
        try:
            with self._placing:
                was_there = path.exists()
                if not was_there:
                    self._rename(part, path)
                    moved = True
            if was_there and not filecmp.cmp(part, path, shallow=False):
                differs = True
                part.rename(path.with_suffix(f".{_digest(part)}{_OTHER}"))
            if self.synced:
                self._sync_placed(path, was_there=was_there)
        finally:
            if not moved:
                part.unlink(missing_ok=True)
        return replace(instance, was_there=True, differs=differs) if was_there else instance

    @staticmethod
    def _sync_placed(path: Path, *, was_there: bool) -> None:
        try:
            if was_there:
                sync_file(path)  # another association may have placed it a moment ago, or one that did not sync
            sync_directory(path.parent)
        except OSError:
            if not was_there:
                # What could not be synced once may be lost although a second try succeeds: the sender sends it again
                path.unlink(missing_ok=True)
            raise

    def _rename(self, part: Path, path: Path) -> None:
        try:
            part.rename(path)
        except FileNotFoundError:  # the first of its series
            # Within the lock: nobody may find a directory whose own entry is not yet durable
            self._make_directory(path.parent)
            part.rename(path)

    def _make_directory(self, directory: Path) -> None:
        self._without_directory.discard(directory.name)
        if not directory.exists():
            directory.mkdir(mode=0o700)
            try:
                if self.synced:
                    sync_directory(self.root)
            except OSError:
                directory.rmdir()  # or the next instance would take it for durable
                raise

    def keep_record(self, instance: StoredInstance, record: Record) -> StoredInstance:
        """Keep an instance in its segment until its series is gathered; a late or repeated one becomes a file at once.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        with self._placing:
            if instance.series_key not in self._without_directory and not (self.root / instance.series_key).exists():
                self._without_directory.add(instance.series_key)
            on_time = instance.series_key in self._without_directory
            if on_time and self.segments.keep(instance.series_key, instance.file_name, record):
                return instance
        self.gather(instance.series_key)
        (part,) = self._copied([record])
        return self.place(part, instance)

    def gather(self, key: str) -> None:
        """Make files of what waits in segments for a series; call it before its files are read.

        Raises
        ------
        OSError
            If the disk refuses; what waits goes on waiting.
        """
        with self._gathering:
            if not self.segments.waiting(key):
                return
            with self._placing:
                # From here on a late instance becomes a file at once (keep_record)
                self._make_directory(self.root / key)
            records = self.segments.waiting(key)
            parts = self._copied(records.values())
            try:
                for name, part in zip(records, parts, strict=True):
                    part.rename(self.path(key, name))
                sync_directory(self.root / key)
            finally:
                for part in parts:
                    part.unlink(missing_ok=True)
            self.segments.done(key, records)

    def _copied(self, records: Iterable[Record]) -> list[Path]:
        parts: list[Path] = []
        try:
            for record in records:
                parts.append(self.new_part())
                record.copy_to(parts[-1])
            for part in parts:  # all written first: the file system syncs them together
                sync_file(part)
        except OSError:
            for part in parts:
                part.unlink(missing_ok=True)
            raise
        return parts

    def path(self, key: str, file_name: str) -> Path:
        """Return where an instance lies."""
        return self.root / key / file_name

    def recover(self) -> int:
        """Remove what interrupted writes left, and make files of what waits in segments.

        Returns
        -------
        How many files were removed.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        parts = list(self.root.glob(f"*/*{PART}"))
        for part in parts:
            part.unlink(missing_ok=True)
        removed = len(parts) + self._incoming.remove_left_behind()
        sync_directory(self.root)  # a killed process may have left a directory's entry unsynced
        for segment, records in self.segments.left_behind():
            for record in records:
                self._recover_record(record)
            self.segments.remove(segment)
        return removed

    def _recover_record(self, record: Record) -> None:
        (part,) = self._copied([record])
        try:
            instance = read_file_header(part)
        except MalformedInstance:
            self.quarantine.keep(part)
            return
        self.place(part, instance)
        # Also where nothing is synced now: it was acknowledged when something was, and the record goes
        sync_directory(self.root / instance.series_key)
        sync_directory(self.root)

    def names(self, *, changed_since: float = 0.0) -> Iterator[tuple[str, str]]:
        """Yield (series key, file name) of every stored instance whose directory changed since (epoch, seconds)."""
        for directory in sorted(self.root.iterdir()):
            if directory.stat().st_mtime >= changed_since:
                for path in sorted(directory.glob(f"*{SUFFIX}")):
                    yield directory.name, path.name

    def instance(self, key: str, file_name: str) -> StoredInstance:
        """Read a stored instance's identity again (for an index that is rebuilt at start).

        Raises
        ------
        MalformedInstance
            If the file is no instance.
        """
        return read_file_header(self.path(key, file_name))

    def remove(self, key: str, file_names: Collection[str]) -> None:
        """Delete instances of a series, and what came with other bytes under their UIDs; harmless a second time.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        self.segments.done(key, {name: one for name, one in self.segments.waiting(key).items() if name in file_names})
        stems = {name.removesuffix(SUFFIX) for name in file_names}
        for path in (self.root / key).glob("*"):
            if path.name.partition(".")[0] in stems:
                path.unlink(missing_ok=True)
        with self._placing, suppress(OSError):  # it is gone already, or another instance has come
            (self.root / key).rmdir()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:KEY_LENGTH]
