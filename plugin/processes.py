"""Child processes that never outlive us: started in sessions of their own, ended in reverse order, killed if deaf."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sgmri.errors import SgmriError

_PR_SET_PDEATHSIG = 1  # prctl(2)
_STOP_S = 8.0


class PartFailed(SgmriError):
    """A child process ended before it was ready, or was not ready in time."""


class Processes:
    """A set of child processes, as a context manager.

    Parameters
    ----------
    log_dir
        Where each child's standard output and error go, as ``<name>.log``.
    """

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop_all()

    def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a child; its output goes to its log file."""
        with (self._log_dir / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if env is None else {**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._running.append((name, child))
        return child

    def log(self, name: str) -> Path:
        """Return a child's log file."""
        return self._log_dir / f"{name}.log"

    def check(self) -> None:
        """Raise if a child has ended by itself.

        Raises
        ------
        PartFailed
            Naming the child and its log.
        """
        for name, child in self._running:
            if child.poll() is not None:
                raise PartFailed(f"{name} ended with exit code {child.returncode}; see {self.log(name)}")

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        """Kill a child and its whole process group at once (for fault tests, and for throw-away services)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        self._running = [(name, other) for name, other in self._running if other is not child]

    def stop_all(self) -> None:
        """End every child: asked to, in reverse order, and killed after eight seconds."""
        children = [child for _, child in reversed(self._running)]
        for child in children:
            child.terminate()
        deadline = time.monotonic() + _STOP_S
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.0, deadline - time.monotonic()))
            # whatever the child has started itself ends too
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        self._running = []


def _die_with_parent() -> None:  # pragma: no cover - runs in the child before exec
    # If we are killed without a chance to clean up, the kernel ends the child
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
