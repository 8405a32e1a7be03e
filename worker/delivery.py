"""Deliver results: store them at the destination, then ask it to take responsibility.

SEG before SR, because the SR refers to it. What the destination took is recorded object by object, so a delivery
that broke goes on where it stopped; the bytes come from the outbox and are the same each time.
"""

import hashlib
import logging
import uuid
from pathlib import Path

from dicom_io.commitment import request
from dicom_io.network import Destination
from dicom_io.scu import Sendable, sendable, store_results
from sgmri.errors import PeerUnavailable, StoreRefused
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings
from worker.journal import Journal, SeriesRow
from worker.outbox import Outbox

_log = logging.getLogger(__name__)


def destination(settings: Settings) -> Destination:
    """Return where results go."""
    return Destination(
        ae_title=settings.delivery.ae_title,
        host=settings.delivery.host,
        port=settings.delivery.port,
        calling_ae_title=settings.listener.ae_title,
        timeout_s=settings.delivery.timeout_s,
    )


def deliver(journal: Journal, settings: Settings, row: SeriesRow, directory: Path) -> None:
    """Deliver the objects of a series and ask for commitment; every outcome ends in the journal.

    Parameters
    ----------
    journal, settings
        The truth, and where to.
    row
        The series, READ or STORED, with this process's lease on it.
    directory
        Where its objects lie.
    """
    outbox = Outbox(journal=journal)
    try:
        overdue = row.state is State.STORED
        if not overdue:
            _store(outbox, settings, row, directory)
            if not journal.move(row, State.STORED, next_try_at=0.0):
                return
            row = journal.series(row.series_key)
        if settings.delivery.commitment:
            _ask_for_commitment(outbox, settings, row, overdue=overdue)
        else:
            journal.move(row, State.STORED, lease_owner=None, lease_until=0.0)
    except PeerUnavailable as error:
        _log.warning("%s", error)
        _try_later(journal, settings, row, Reason.PEER_UNAVAILABLE)
    except StoreRefused as error:
        _log.error("%s", error)
        _try_later(journal, settings, row, Reason.STORE_REFUSED)


def _store(outbox: Outbox, settings: Settings, row: SeriesRow, directory: Path) -> None:
    begin = outbox.journal.clock()
    waiting = [sendable(directory / result.file_name) for result in outbox.results(row) if result.stored_at is None]

    def stored(instance: Sendable) -> None:
        outbox.mark_stored(row, instance.sop_instance_uid)

    if waiting:
        store_results(destination(settings), waiting, stored=stored)
    outbox.journal.log(row, "store", duration_s=outbox.journal.clock() - begin)


def _ask_for_commitment(outbox: Outbox, settings: Settings, row: SeriesRow, *, overdue: bool) -> None:
    reason = Reason.COMMITMENT_LATE if overdue else Reason.NONE
    if overdue:
        _log.warning("no commitment result in time; asking again. Can the destination reach us?")
    transaction_uid = f"2.25.{uuid.uuid4().int}"
    outbox.expect_commitment(row, transaction_uid)
    request(
        destination(settings),
        transaction_uid,
        [(result.sop_class_uid, result.sop_instance_uid) for result in outbox.results(row)],
    )
    # The answer comes to the listener; until then nobody is rung for this series
    overdue_at = outbox.journal.clock() + settings.delivery.commitment_timeout_s
    outbox.journal.move(row, State.STORED, reason=reason, next_try_at=overdue_at, lease_owner=None, lease_until=0.0)


def _try_later(journal: Journal, settings: Settings, row: SeriesRow, reason: Reason) -> None:
    now = journal.clock()
    since = row.completed_at or row.received_at
    # a series that an operator has put back gets at least one retry, however old it is
    if row.deliveries > 0 and now - since > settings.delivery.give_up_after_s:
        journal.move(row, State.FAILED, reason=reason, lease_owner=None, lease_until=0.0)
        return
    wait_s = settings.delivery.retry_max_s if reason is Reason.STORE_REFUSED else backoff_s(settings, row)
    journal.move(
        row,
        row.state,
        reason=reason,
        next_try_at=now + wait_s,
        deliveries=row.deliveries + 1,
        lease_owner=None,
        lease_until=0.0,
    )


def backoff_s(settings: Settings, row: SeriesRow) -> float:
    """Return how long to wait before the next try: three times as long each time, spread by a tenth per series."""
    wait_s = min(settings.delivery.retry_first_s * 3.0 ** min(row.deliveries, 20), settings.delivery.retry_max_s)
    spread = hashlib.sha256(row.series_key.encode()).digest()[0] / 255
    return wait_s * (1 + 0.1 * spread)
