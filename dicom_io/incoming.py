"""Where an instance is written before it has its name: directories of few files, each in another region of the disk.

ext4 puts a file into its directory's region (block group), and does not use the number of a file again that was deleted
within the last minutes: it looks at each of them before it finds another. Where as much is deleted as comes, as in a
spool that has run for long, that takes two thirds of the time that a synced file takes (ADR 0017). New directories
below one that is marked as top of a hierarchy begin in a region that is chosen by their name. Other file systems do not
know the mark, and do without.

References
----------
chattr(1), attribute ``T``; ioctl_iflags(2)
"""

import fcntl
import os
import secrets
import struct
import threading
from contextlib import suppress
from pathlib import Path

PART = ".part"
_PARTS = 1024
"""How many are written to one directory."""
_FLAGS = struct.Struct("@l")
_TOP_OF_HIERARCHY = 0x20000  # FS_TOPDIR_FL
_GET_FLAGS = 2 << 30 | _FLAGS.size << 16 | ord("f") << 8 | 1  # FS_IOC_GETFLAGS
_SET_FLAGS = 1 << 30 | _FLAGS.size << 16 | ord("f") << 8 | 2  # FS_IOC_SETFLAGS


class Incoming:
    """The files of one process that have no name yet.

    Parameters
    ----------
    directory
        Below which they lie; made when the first is asked for.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._current = self._name = ""
        self._left = 0
        self._earlier: list[str] = []  # of these the last may have been named to somebody who has not opened it yet

    def new_part(self) -> Path:
        """Return the path of a file that is not there, in a directory that is; its name is used once.

        Raises
        ------
        OSError
            If the disk refuses a directory.
        """
        with self._lock:
            if not self._left or not os.path.exists(self._current):  # noqa: PTH110 - asked for every instance
                self._begin()
            self._left -= 1
            return Path(self._current, f"{self._name}-{self._left}{PART}")

    def _begin(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        _spread_below(self._directory)
        name = secrets.token_hex(8)
        directory = self._directory / name
        directory.mkdir(mode=0o700)
        # One from which a file is still to be placed goes another time
        self._earlier = [path for path in self._earlier if not _was_removed(path)]
        if self._current:
            self._earlier.append(self._current)
        self._current, self._name, self._left = os.fspath(directory), name, _PARTS

    def remove_left_behind(self) -> int:
        """Remove what interrupted writes left; return how many files they were."""
        parts = list(self._directory.glob(f"*/*{PART}"))
        for part in parts:
            part.unlink(missing_ok=True)
        for directory in self._directory.glob("*/"):
            _was_removed(os.fspath(directory))
        return len(parts)


def _was_removed(path: str) -> bool:
    try:
        os.rmdir(path)  # noqa: PTH106 - a path as text
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _spread_below(directory: Path) -> None:
    """Let each directory below begin in a region of its own, where the file system has regions."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            (flags,) = _FLAGS.unpack(fcntl.ioctl(descriptor, _GET_FLAGS, bytes(_FLAGS.size)))
            fcntl.ioctl(descriptor, _SET_FLAGS, _FLAGS.pack(flags | _TOP_OF_HIERARCHY))
    finally:
        os.close(descriptor)
