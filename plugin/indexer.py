"""The way of stored instances into the journal: one thread writes them in batches, away from the associations.

An instance is durable before it comes here, so its C-STORE waits for no transaction. What is not yet written when the
process dies is found at the next start (:mod:`plugin.recovery`); what cannot be written now is tried until it can.
"""

import logging
import threading
from contextlib import ExitStack

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from dicom_io.stored import StoredInstance
from sgmri import logs
from sgmri.errors import JournalBehind
from worker.journal import Journal
from worker.receipts import Received

_log = logging.getLogger(__name__)

_BATCH = 1000
_LINGER_S = 0.2  # instances that come meanwhile share the transaction; who asks (settle) does not wait for it
_AGAIN_S = 1.0
_PATIENCE_S = 10.0
_CAPACITY = 10_000  # some 10 MB
_NEVER_ACCEPTED = (DataError, IntegrityError, ArithmeticError, ValueError)


class Indexer:
    """Writes stored instances into the journal.

    Parameters
    ----------
    journal
        Where to.
    capacity
        How many instances may wait; who brings one more waits.
    patience_s
        How long that one waits at most.
    """

    def __init__(self, journal: Journal, *, capacity: int = _CAPACITY, patience_s: float = _PATIENCE_S) -> None:
        self._journal = journal
        self._capacity = capacity
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._waiting: list[Received] = []
        self._written = 0
        self._hurried = False
        self._stopping = False
        self._held = ExitStack()
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)

    def start(self) -> None:
        """Begin to write in a thread."""
        self._held.enter_context(self._journal.held_open())
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, if the journal takes it at once, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._held.close()

    def add(self, instance: StoredInstance) -> None:
        """Take a stored instance.

        Raises
        ------
        JournalBehind
            If the journal has taken nothing for so long that no more can wait.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._waiting) < self._capacity, self._patience_s):
                raise JournalBehind(
                    f"expected the journal to take instances, found {self._capacity} that wait for it; look at its "
                    "database, and have the sender send again"
                )
            # Stamped within the lock: whoever settles has everything that came before
            self._waiting.append(received(instance, received_at=self._journal.clock()))
            if len(self._waiting) in (1, _BATCH):  # the writer is not woken for each one
                self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Wait until everything that has come so far is in the journal; False if it is not in time."""
        with self._changed:
            come = self._written + len(self._waiting)
            self._hurried = bool(self._waiting)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._written >= come, timeout_s)

    def is_alive(self) -> bool:
        """Return whether its thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while self._await_batch():
            try:
                self._write_batch()
                continue
            except SQLAlchemyError as error:
                _log.error("the journal cannot be written now; %d instances wait", len(self._waiting), exc_info=error)
            except Exception as error:  # noqa: BLE001 - border: without this thread nothing is read any more
                _log.error("instances could not be journalled by a bug", exc_info=error)
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, _AGAIN_S):
                    break
        if self._waiting:
            _log.warning("%d instances are not in the journal; the next start finds them", len(self._waiting))

    def _await_batch(self) -> bool:
        """Wait for something to write; False when all is written and no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            self._changed.wait_for(
                lambda: self._hurried or self._stopping or len(self._waiting) >= _BATCH, timeout=_LINGER_S
            )
            self._hurried = False
            return bool(self._waiting)

    def _write_batch(self) -> None:
        with self._changed:
            began = self._journal.clock()
            batch = self._waiting[:_BATCH]
            checkpoint = began if len(batch) == len(self._waiting) else None
        try:
            self._journal.receive(*batch, checkpoint=checkpoint)
        except _NEVER_ACCEPTED:
            self._write_singly(batch)
        with self._changed:
            del self._waiting[: len(batch)]
            self._written += len(batch)
            self._changed.notify_all()

    def _write_singly(self, batch: list[Received]) -> None:
        """Write what the journal takes of a batch: one instance that it never will must not hold up the others."""
        for instance in batch:
            try:
                self._journal.receive(instance)
            except _NEVER_ACCEPTED as error:
                with logs.series(instance.series_key[:8]):
                    _log.error("an instance is stored but cannot be journalled (%s)", type(error).__name__)


def received(instance: StoredInstance, *, received_at: float | None = None) -> Received:
    """Return what the journal notes of a stored instance."""
    return Received(
        series_key=instance.series_key,
        study_instance_uid=instance.study_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        file_name=instance.file_name,
        size_bytes=instance.size_bytes,
        expected_instances=instance.expected_instances,
        differs=instance.differs,
        file_was_missing=not instance.was_there,
        received_at=received_at,
    )
