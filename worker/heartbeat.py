"""The sign of life of one who works on a series, and the way in which the work is called off."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from worker import suspension
from worker.journal import Journal, SeriesRow
from worker.suspension import Mode

_log = logging.getLogger(__name__)


@contextmanager
def heartbeat(journal: Journal, row: SeriesRow, lease_s: float) -> Iterator[threading.Event]:
    """Renew a lease while the work goes on.

    Parameters
    ----------
    journal, row
        The series, with this process's lease on it.
    lease_s
        How long it is believed without a sign of life.

    Yields
    ------
    threading.Event
        Set when the work is no longer wanted: the lease is somebody else's, or readings were suspended.
    """
    stop, unwanted = threading.Event(), threading.Event()

    def beat() -> None:
        while not stop.wait(lease_s / 4):
            try:
                if not journal.renew_lease(row.series_key, row.lease_owner or "", lease_s):
                    unwanted.set()
                    return
                if suspension.look(journal).mode is Mode.SUSPENDED:
                    unwanted.set()
            except SQLAlchemyError as error:
                _log.warning("the journal is away (%s); the work goes on", type(error).__name__)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield unwanted
    finally:
        stop.set()
        thread.join()
