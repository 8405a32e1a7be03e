"""The listener's housekeeping: close quiet series, and ring again for what waits.

Runs in one thread of the listener process, away from the associations: publishing never blocks a C-STORE.
"""

import logging
import threading
import time

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from plugin.dispatch import Dispatcher
from plugin.indexer import Indexer
from plugin.retention import Tidier
from sgmri.lifecycle import State
from sgmri.settings import Settings
from worker.app import DELIVERY_QUEUE, READING_QUEUE
from worker.journal import SeriesRow
from worker.outbox import Outbox
from worker.timers import ClockWatch, shift

_log = logging.getLogger(__name__)

_TICK_S = 0.25
_LEAST_S = 0.01
_SETTLE_S = 5.0


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
        self._outbox = Outbox(journal=dispatcher.journal)
        self._watch = ClockWatch(dispatcher.journal.clock)
        self._rung: dict[tuple[str, int, State], float] = {}
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
        jump_s = self._watch.jumped_s()
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
        for row in self._journal.quiet(series.quiet_period_s, at_expected_count=at_count, now=now):
            self._dispatcher.complete(row)

    def sweep(self) -> None:
        """Decide what a crash left undecided, take back what silent workers hold, ring for what waits."""
        for row in self._journal.all_series(State.COMPLETE):
            self._dispatcher.decide(row)
        for row in self._outbox.abandoned():
            self._dispatcher.abandon(row, self._settings.worker.max_attempts)
        delivery = self._settings.delivery
        waiting = self._outbox.waiting(commitment=delivery.commitment)
        if not delivery.ae_title:
            waiting = tuple(row for row in waiting if row.state is State.QUEUED)
        self._rung = {key: at for key, at in self._rung.items() if key in {_key(row) for row in waiting}}
        readings = [row for row in waiting if row.state is State.QUEUED]
        deliveries = [row for row in waiting if row.state is not State.QUEUED]
        for queue, rows in ((READING_QUEUE, readings), (DELIVERY_QUEUE, deliveries)):
            waiting_bells = depth(self._settings.broker.url, queue) if rows else None
            if waiting_bells is not None and waiting_bells < len(rows):
                self._ring(rows)

    def _ring(self, rows: list[SeriesRow]) -> None:
        # A bell that was rung less than a lease ago may still be on its way, or in the hands of a busy worker
        now = time.monotonic()
        for row in rows:
            if now - self._rung.get(_key(row), float("-inf")) >= self._settings.worker.lease_s:
                if not self._dispatcher.ring(row):
                    return
                self._rung[_key(row)] = now


def _key(row: SeriesRow) -> tuple[str, int, State]:
    return row.series_key, row.generation, row.state


def depth(broker_url: str, queue: str) -> int | None:
    """Return how many messages wait in a queue; None when the broker is away (asked for two seconds, not for ever)."""
    try:
        with Redis.from_url(broker_url, socket_connect_timeout=2, socket_timeout=2, retry=None) as client:
            return int(client.llen(queue))
    except RedisError as error:
        _log.warning("the broker is away (%s)", type(error).__name__)
        return None
