"""Whether there is memory for another reading: measured need against free memory, before the reading begins.

On a GPU by what torch says, on the CPU by Linux' ``/proc`` and the limit of the control group.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sgmri.errors import MemoryShort

_log = logging.getLogger(__name__)
_KIB = 1024


class Admission:
    """Remembers what readings in this process have needed.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``: where the engine reads.
    least_bytes
        What a reading needs until one was measured, and at least.
    """

    def __init__(self, device: str, least_bytes: int) -> None:
        self._memory = _Gpu() if device == "cuda" else _Ram()
        self.need_bytes = least_bytes
        """What the next reading is believed to need beside what the process has."""

    def require(self) -> None:
        """Let a reading begin.

        Raises
        ------
        MemoryShort
            If less is free than it needs.
        """
        free = self._memory.free_bytes()
        if free < self.need_bytes:
            raise MemoryShort(
                f"expected {self.need_bytes >> 20} MiB of free memory for a reading, found {free >> 20} MiB; the "
                "series waits. Stop other work on this device, or give it fewer readings (worker.readings_per_gpu)"
            )

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Note what the work inside needs at its peak."""
        before = self._memory.begin()
        try:
            yield
        finally:
            self.need_bytes = max(self.need_bytes, self._memory.peak_bytes() - before)


class _Gpu:
    """What torch holds of the device; what it keeps for later use is free for a reading of this process."""

    def free_bytes(self) -> int:
        import torch

        free, _ = torch.cuda.mem_get_info()
        return int(free) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()

    def begin(self) -> int:
        import torch

        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())

    def peak_bytes(self) -> int:
        import torch

        return int(torch.cuda.max_memory_allocated())


class _Ram:
    """The memory of this process and machine (``proc_pid_status(5)``, ``proc_meminfo(5)``, control groups 2)."""

    def free_bytes(self) -> int:
        free = _kib(Path("/proc/meminfo"), "MemAvailable")
        group = Path("/sys/fs/cgroup")
        with suppress(OSError, ValueError):  # "max" is no limit
            free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
        return free

    def begin(self) -> int:
        with suppress(OSError):  # resets the peak; where the kernel has no such file, the need is overrated
            Path("/proc/self/clear_refs").write_text("5")
        return _kib(Path("/proc/self/status"), "VmRSS")

    def peak_bytes(self) -> int:
        return _kib(Path("/proc/self/status"), "VmHWM")


def _kib(path: Path, name: str) -> int:
    """Return a value of a file of ``/proc`` in bytes."""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIB
    raise OSError(os.EX_OSFILE, f"{path} has no {name}")
