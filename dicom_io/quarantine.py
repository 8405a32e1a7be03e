"""The quarantine: files that were received and are no instances, the newest of them, for whoever looks into it."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

_MOST_FILES = 64
_MOST_BYTES = 1 << 30
_SUFFIX = ".quarantined"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A directory of limited size.

    Parameters
    ----------
    directory
        Where; made when the first file comes.
    """

    directory: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, part: Path) -> None:
        """Move a file of the same file system here; the oldest ones make room.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        with self._lock:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            part.rename(self.directory / f"{part.stem}{_SUFFIX}")
            files = sorted(self.directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            total_bytes = sum(path.stat().st_size for path in files)
            while len(files) > _MOST_FILES or total_bytes > _MOST_BYTES:
                oldest = files.pop(0)
                total_bytes -= oldest.stat().st_size
                oldest.unlink()
