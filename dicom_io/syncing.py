"""Bring bytes, files and directory entries to stable storage.

A rename is durable when the directory is, not when the file is (POSIX ``fsync``).
"""

import os
from pathlib import Path


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
