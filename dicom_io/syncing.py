"""Bring bytes, files and directory entries to stable storage.

A rename is durable when the directory is, not when the file is (POSIX ``fsync``).
"""

import ctypes
import os
from pathlib import Path

_WRITE = 2  # SYNC_FILE_RANGE_WRITE
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


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
