"""Decide what becomes of a complete series: skip it with a reason, or put it on the worklist; ring workers."""

import logging
from dataclasses import dataclass, field

from celery import Celery
from kombu.exceptions import OperationalError

from dicom_io.remote_spool import RemoteSpool
from dicom_io.rulings import BUILT_IN, Rules
from dicom_io.selection import choose
from dicom_io.series import describe
from dicom_io.spool import Spool
from sgmri import logs
from sgmri.errors import SeriesError, SpoolUnavailable
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings
from worker.app import ring_delivery
from worker.bells import ring_for_readings
from worker.journal import Journal, SeriesRow
from worker.revisions import leave
from worker.worklist import Worklist, backoff_s, entry

_log = logging.getLogger(__name__)

_MOST_BELLS = 64
"""More workers than this would find some of them idle until the next one rings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """Moves series from RECEIVING to QUEUED or SKIPPED.

    Parameters
    ----------
    journal, spool
        Where the series stand and lie.
    app
        The broker to ring with.
    rules
        Who says which question set a volume is asked, and its lane.
    settings
        Order and retries of readings.
    remote
        Through which workers elsewhere get the series; None where they share the spool's directory.
    """

    journal: Journal
    spool: Spool
    app: Celery
    rules: Rules = BUILT_IN
    settings: Settings = field(default_factory=Settings)
    remote: RemoteSpool | None = None

    def complete(self, row: SeriesRow) -> None:
        """Close a series that has become quiet, and decide on it."""
        with logs.series(row.series_key[:8]):
            try:
                self.spool.gather(row.series_key)
            except OSError as error:
                _log.error("the spool cannot be written (errno %s); the series is completed later", error.errno)
                return
            if self.journal.move(row, State.COMPLETE, completed_at=self.journal.clock()):
                _log.info("series complete with %d instances", row.instances)
                self.decide(self.journal.series(row.series_key))

    def decide(self, row: SeriesRow) -> None:
        """Decide on a complete series from the headers of all its instances."""
        with logs.series(row.series_key[:8]):
            paths = [self.spool.path(row.series_key, name) for name in self.journal.file_names(row.series_key)]
            try:
                choice = choose(describe(paths), rules=self.rules)
            except SeriesError as error:
                _log.warning("series cannot be read: %s", error.reason)
                leave(self.journal, row, error.reason)
                return
            if not choice.taken:
                _log.info("series not read: %s", choice.reason)
                leave(self.journal, row, choice.reason)
                return
            if self.remote is not None:
                try:
                    self.remote.publish(row.series_key, paths)
                except SpoolUnavailable as error:
                    _log.error("the series stays COMPLETE until the next sweep: %s", error)
                    return
            place = entry(choice.lane, self.journal.clock(), self.settings.queue)
            self.journal.move(row, State.QUEUED, question_set_id=choice.question_set_id, **place)

    def abandon(self, row: SeriesRow) -> None:
        """Take a reading back from a worker that has been silent for longer than its lease."""
        with logs.series(row.series_key[:8]):
            if row.attempts >= self.settings.worker.max_attempts:
                _log.error("reading given up after %d attempts", row.attempts)
                self.journal.move(row, State.FAILED, reason=Reason.ATTEMPTS_EXHAUSTED, lease_owner=None)
                return
            # not at once: what kills its worker must not keep the others from being read
            later = self.journal.clock() + backoff_s(self.settings, row)
            if self.journal.move(
                row, State.QUEUED, reason=Reason.WORKER_LOST, lease_owner=None, lease_until=0.0, next_try_at=later
            ):
                _log.warning("the worker is gone; the reading is queued again")

    def ring_readings(self) -> bool:
        """Wake workers for what can be read now; False when the broker is away (the sweeper comes again)."""
        return ring_for_readings(self.app, Worklist(journal=self.journal), most=_MOST_BELLS)

    def ring(self, row: SeriesRow) -> bool:
        """Wake a worker for a series to deliver; False when the broker is away (the sweeper comes again)."""
        try:
            ring_delivery(self.app, row.series_key, row.generation)
        except OperationalError:
            _log.warning("the broker is away; ringing again later")
            return False
        return True
