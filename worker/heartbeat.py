"""The sign of life of one who reads a series, and the way in which the reading is called off."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker import suspension
from worker.journal import Journal, SeriesRow
from worker.leases import kept_alive
from worker.suspension import Mode


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
    unwanted = threading.Event()

    def renew(seconds: float) -> bool:
        if not journal.renew_lease(row.series_key, row.lease_owner or "", seconds):
            unwanted.set()
            return False
        if suspension.look(journal).mode is Mode.SUSPENDED:
            unwanted.set()
        return True

    with kept_alive(renew, lease_s):
        yield unwanted
