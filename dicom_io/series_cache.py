"""A bounded cache of whole series on a machine whose spool is elsewhere; the one that was used longest ago goes first.

An entry is a directory that appears when it is whole. Its reader holds a lock of the kernel's (flock) on it, which ends
with the process whatever happens, so that nothing is removed under a reading, and no crash leaves a lock behind.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from dicom_io.syncing import make_directory, sync_file

_PART, _DESK = "part", "desk-"
_LOCK, _DESK_LOCK = "lock", "desks.lock"


class SeriesCache:
    """Entries on disk.

    Parameters
    ----------
    root
        The cache's directory, which nobody else writes to; made when missing.
    limit_bytes
        What the entries may take together; what is in use, and an entry that alone is larger, may exceed it.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root = root
        self._limit_bytes = limit_bytes

    @contextmanager
    def entry(self, name: str, size_bytes: int, fill: Callable[[Path], None]) -> Iterator[Path]:
        """Keep an entry for as long as the context lasts, and make it first where it is not there.

        Parameters
        ----------
        name
            Of the entry.
        size_bytes
            What it will take.
        fill
            Writes its files into the directory that it is given; one call at a time on this machine.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        make_directory(self.root)
        directory = self.root / name
        with _locked(self.root / _LOCK, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX):
            if not directory.exists():
                self._make_room(size_bytes)
                self._make(directory, fill)
            os.utime(directory)
            # Taken before anybody else may look for what can go
            held = _opened(directory, os.O_RDONLY, fcntl.LOCK_SH)
        try:
            yield directory
        finally:
            os.close(held)

    @contextmanager
    def desk(self) -> Iterator[Path]:
        """Have an empty directory for as long as the context lasts; those of processes that were killed go."""
        make_directory(self.root)
        with _locked(self.root / _DESK_LOCK, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX):
            for left in self.root.glob(f"{_DESK}*"):
                with suppress(BlockingIOError), _locked(left, os.O_RDONLY, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(left)
            directory = Path(mkdtemp(prefix=_DESK, dir=self.root))
            held = _opened(directory, os.O_RDONLY, fcntl.LOCK_SH)
        try:
            yield directory
        finally:
            shutil.rmtree(directory)
            os.close(held)

    def _make(self, directory: Path, fill: Callable[[Path], None]) -> None:
        part = self.root / _PART
        if part.exists():  # of a process that was killed
            shutil.rmtree(part)
        part.mkdir(mode=0o700)
        fill(part)
        for path in part.iterdir():
            sync_file(path)  # a power cut must not leave a whole entry with empty files
        part.rename(directory)

    def _make_room(self, size_bytes: int) -> None:
        found = [path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith(_DESK)]
        entries = sorted(found, key=lambda path: path.stat().st_mtime)
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in entries}
        over_bytes = sum(sizes.values()) + size_bytes - self._limit_bytes
        for path in entries:
            if over_bytes <= 0:
                return
            with suppress(BlockingIOError), _locked(path, os.O_RDONLY, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(path)
                over_bytes -= sizes[path]


def _opened(path: Path, flags: int, operation: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _locked(path: Path, flags: int, operation: int) -> Iterator[None]:
    descriptor = _opened(path, flags, operation)
    try:
        yield
    finally:
        os.close(descriptor)
