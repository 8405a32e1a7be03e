"""Bring bytes, files and directory entries to stable storage.

A rename is durable when the directory is, not when the file is (POSIX ``fsync``).
"""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

MOST_SLICES = 512
"""Of one call of :func:`write_slices`; IOV_MAX is 1024."""
_DSYNC = getattr(os, "RWF_DSYNC", 0)  # Linux
_WRITE = 2  # SYNC_FILE_RANGE_WRITE
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


def write_slices(descriptor: int, slices: Sequence[bytes | memoryview], offset: int, *, synced: bool = False) -> int:
    """Write slices one after another, as few calls as possible.

    Parameters
    ----------
    descriptor, offset
        The open file, and where in it.
    slices
        At most :data:`MOST_SLICES`.
    synced
        Whether these bytes, and the size of the file, are on stable storage on return.

    Returns
    -------
    Where they end.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    left = [*slices]
    while left:
        written = os.pwritev(descriptor, left, offset, _DSYNC if synced else 0)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
    if synced and not _DSYNC:
        os.fdatasync(descriptor)
    return offset


def start_writing(descriptor: int, offset: int, count: int) -> None:
    """Let the disk begin with bytes that will be synced later; a hint, without an answer."""
    if _sync_file_range is not None:
        _sync_file_range(descriptor, offset, count, _WRITE)


def sync_file(path: Path) -> None:
    """Sync a file's bytes; raises OSError if the disk refuses."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Sync a directory's entries; raises OSError if the disk refuses."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def make_directory(path: Path) -> None:
    """Make a directory and what is missing above it, for the owner only; the entries are durable on return."""
    if not path.exists():
        make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync_directory(path.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
