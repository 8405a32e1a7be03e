"""A thread that does one thing again and again, and outlives what goes wrong with it."""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

_log = logging.getLogger(__name__)
_STOP_S = 5.0


class Periodic:
    """Work of the listener that must hold up neither receiving nor sweeping.

    Parameters
    ----------
    name
        What it is, for the log.
    step
        Does it once; it may return another pause until the next time, in seconds.
    period_s
        Pause between two steps, in seconds.
    first_s
        Pause before the first one, in seconds; None: as between two.
    """

    def __init__(
        self, name: str, step: Callable[[], float | None], period_s: float, *, first_s: float | None = None
    ) -> None:
        self._name = name
        self._step = step
        self._period_s = period_s
        self._first_s = period_s if first_s is None else first_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a step that waits for somebody outside is not waited for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def wait(self, seconds: float) -> bool:
        """Wait within a step; True when it is to end."""
        return self._stop.wait(seconds)

    def _run(self) -> None:
        pause_s = self._first_s
        while not self._stop.wait(pause_s):
            pause_s = self._period_s
            try:
                pause_s = self._step() or self._period_s
            except SQLAlchemyError as error:
                _log.warning("%s: the journal is away (%s); trying again", self._name, type(error).__name__)
            except Exception as error:  # noqa: BLE001 - border: the thread must outlive one bad step
                _log.error("%s failed by a bug", self._name, exc_info=error)
