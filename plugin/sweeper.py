"""The listener's housekeeping: close quiet series, and ring again for what waits.

Runs in one thread of the listener process, away from the associations: publishing never blocks a C-STORE.
"""

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from plugin.dispatch import Dispatcher
from plugin.indexer import Indexer
from plugin.retention import Tidier
from sgmri.lifecycle import State
from sgmri.settings import Settings
from worker.app import DELIVERY_QUEUE
from worker.bells import depth
from worker.destinations import targets
from worker.journal import SeriesRow
from worker.outbox import Outbox
from worker.timers import ClockWatch, shift
from worker.worklist import Worklist

_log = logging.getLogger(__name__)

_TICK_S = 0.25
_LEAST_S = 0.01
_SETTLE_S = 5.0
_BATCH = 100
"""A sweep that finds more leaves them to the next one: quiet series wait meanwhile."""


class Sweeper:
    """Periodic work over the journal.

    Parameters
    ----------
    settings
        Periods and limits.
    dispatcher
        What acts on a series.
    indexer
        What brings instances into the journal.
    tidier
        What lets old series leave the disk.
    """

    def __init__(self, settings: Settings, dispatcher: Dispatcher, indexer: Indexer, tidier: Tidier) -> None:
        self._settings = settings
        self._tidier = tidier
        self._indexer = indexer
        self._dispatcher = dispatcher
        self._journal = dispatcher.journal
        self._outbox = Outbox(journal=dispatcher.journal, targets=targets(settings))
        self._clock_watch = ClockWatch(dispatcher.journal.clock)
        self._rung: dict[tuple[str, int, State], float] = {}
        self._next_warning = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin to sweep in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the work in hand."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def is_alive(self) -> bool:
        """Return whether its thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        next_sweep, pause_s = 0.0, _TICK_S
        while not self._stop.wait(pause_s):
            pause_s = _TICK_S
            try:
                self.heed_clock()
                self.close_quiet()
                # monotonic: a clock that jumps must not stop the sweep
                if time.monotonic() >= next_sweep:
                    next_sweep = time.monotonic() + self._settings.worker.sweep_period_s
                    self.sweep()
                    self._tidier.step()
                pause_s = self.pause_s()
            except SQLAlchemyError as error:
                _log.error("the journal cannot be used now", exc_info=error)
            except Exception as error:  # noqa: BLE001 - border: the sweeper's thread must outlive one bad series
                _log.error("sweep failed by a bug", exc_info=error)

    def pause_s(self) -> float:
        """Return how long to wait: a tick, or less if a series becomes quiet before it ends."""
        quiet_at = self._journal.next_quiet_at(self._settings.series.quiet_period_s)
        remaining_s = 0.0 if quiet_at is None else quiet_at - self._journal.clock()
        return min(_TICK_S, max(_LEAST_S, remaining_s)) if remaining_s > 0 else _TICK_S

    def heed_clock(self) -> None:
        """Move the journal's timers when the clock was put forward or back."""
        jump_s = self._clock_watch.jumped_s()
        if jump_s:
            _log.warning("the clock has jumped by %.0f s; the timers that run jump with it", jump_s)
            shift(self._journal, jump_s, lease_s=self._settings.worker.lease_s)

    def close_quiet(self) -> None:
        """Complete every series that has been quiet for long enough."""
        now = self._journal.clock()
        if not self._indexer.settle(_SETTLE_S):
            return  # what has come and is not journalled would make its series look quiet
        series = self._settings.series
        at_count = series.complete_at_expected_count
        is_there = True
        for row in self._journal.quiet(series.quiet_period_s, at_expected_count=at_count, now=now):
            self._dispatcher.complete(row)
            # a broker that is away is waited for once, not for each series
            is_there = is_there and self._dispatcher.ring_readings()

    def sweep(self) -> None:
        """Decide what a crash left undecided, take back what silent workers hold, ring for what waits."""
        for row in self._journal.all_series(State.COMPLETE, limit=_BATCH):
            self._dispatcher.decide(row)
        for row in self._outbox.abandoned():
            self._dispatcher.abandon(row)
        self._dispatcher.ring_readings()
        if self._settings.outlets:
            self._ring_deliveries()
        self._watch()

    def _ring_deliveries(self) -> None:
        waiting = self._outbox.waiting()
        self._rung = {key: at for key, at in self._rung.items() if key in {_key(row) for row in waiting}}
        bells = depth(self._settings.broker.url, DELIVERY_QUEUE) if waiting else None
        if bells is None or bells >= len(waiting):
            return
        # A bell that was rung less than a lease ago may still be on its way, or in the hands of a busy worker
        now = time.monotonic()
        for row in waiting:
            if now - self._rung.get(_key(row), float("-inf")) >= self._settings.worker.lease_s:
                if not self._dispatcher.ring(row):
                    return
                self._rung[_key(row)] = now

    def _watch(self) -> None:
        """Say it when series wait and none is begun: workers may be gone, or deaf to a broker that came back."""
        after_s = self._settings.queue.stalled_after_s
        stalled_s = Worklist(journal=self._journal).stalled_s(after_s)
        if stalled_s is not None and time.monotonic() >= self._next_warning:
            self._next_warning = time.monotonic() + after_s
            _log.error("series wait and none has been begun for %.0f s; does a reading worker run?", stalled_s)


def _key(row: SeriesRow) -> tuple[str, int, State]:
    return row.series_key, row.generation, row.state
