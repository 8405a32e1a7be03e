"""What an operator does with a series, for the command line and the dashboard alike."""

from pathlib import Path

from plugin.listener import spool_dir
from sgmri.errors import SgmriError
from sgmri.lifecycle import Reason, State
from sgmri.settings import Queue, Settings
from worker.deliveries import is_in_hand
from worker.destinations import targets
from worker.journal import Journal, SeriesRow
from worker.outbox import Outbox
from worker.removals import removed_generation
from worker.revisions import read_again
from worker.worklist import Entry, entry

_CANCELLABLE = frozenset({State.QUEUED, State.READING, State.READ})


def retry(settings: Settings, journal: Journal, row: SeriesRow) -> State | None:
    """Let a failed or waiting series be tried at once, with its attempts forgotten.

    Returns
    -------
    The state it is put into; None where there is nothing to try, or somebody is at it.

    Raises
    ------
    SgmriError
        If it is to be read, and retention has removed its instances.
    """
    outbox = Outbox(journal=journal, targets=targets(settings))
    if row.state is State.FAILED and not outbox.results(row):
        require_files(journal, row, spool_dir(settings))
    return _put_back(outbox, row, settings.queue)


def _put_back(outbox: Outbox, row: SeriesRow, queue: Queue) -> State | None:
    journal = outbox.journal
    if row.state is State.FAILED:
        after = State.READ if outbox.results(row) else State.QUEUED
    elif row.state in (State.QUEUED, State.READ, State.STORED) and not is_in_hand(journal, row):
        after = row.state
    else:
        return None
    now = journal.clock()
    place = Entry(lane=row.lane, first_lane_at=row.first_lane_at, next_try_at=now)
    if row.state is State.FAILED:  # it comes anew; one that waits keeps its place
        place |= entry(row.lane, now, queue)
    with journal.begin() as connection:
        done = journal.move_within(
            connection, row, after, attempts=0, deliveries=0, lease_owner=None, lease_until=0.0, **place
        )
        if done:
            outbox.deliveries.try_now(connection, row)
    return after if done else None


def replay(settings: Settings, journal: Journal, row: SeriesRow) -> bool:
    """Queue a series that was read for another reading; False where it has none, or somebody is at it.

    Raises
    ------
    SgmriError
        If retention has removed its instances.
    """
    require_files(journal, row, spool_dir(settings))
    return read_again(journal, row, settings.queue)


def cancel(journal: Journal, row: SeriesRow) -> bool:
    """Let nothing more be done for a series until it is retried; False where nothing is under way.

    A reading under way is given up at its worker's next sign of life. Of results that are being sent, what has been
    stored stays at the destination (``sgmri retract`` takes it back).
    """
    if row.state not in _CANCELLABLE:
        return False
    return journal.move(row, State.FAILED, reason=Reason.CANCELLED, lease_owner=None, lease_until=0.0, next_try_at=0.0)


def require_files(journal: Journal, row: SeriesRow, spool: Path) -> None:
    """Check that a series that is to be read again still has its instances.

    Raises
    ------
    SgmriError
        If retention has removed them, and they were not all sent again.
    """
    names = journal.file_names(row.series_key)
    there = sum((spool / row.series_key / name).exists() for name in names)
    if there < len(names) and removed_generation(journal, row.series_key) is not None:
        raise SgmriError(
            f"expected the {len(names)} instances of the series in the spool, found {there}: retention removes them "
            "(sgmri settings, [retention]); have the series sent again, then repeat this command"
        )
