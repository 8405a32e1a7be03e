"""The listener process: SCP, spool, journal and sweeper, and nothing that needs a GPU."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dicom_io.commitment import CommitmentResult
from dicom_io.receiver.listener import Receiver
from dicom_io.remote_spool import RemoteSpool
from dicom_io.scp import Callbacks, StorageScp
from dicom_io.series_cache import SeriesCache
from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance
from dicom_io.syncing import make_directory
from plugin.archive_sweep import ArchiveSweep, SweepThread, open_archive
from plugin.dispatch import Dispatcher
from plugin.indexer import Indexer
from plugin.metrics import Metrics
from plugin.monitor import Monitor
from plugin.observers import observers
from plugin.readiness import Readiness
from plugin.recovery import index_spool
from plugin.retention import Retention, Tidier
from plugin.rules import load_rules
from plugin.settings import admitted_peers
from plugin.sweeper import Sweeper
from sgmri import logs
from sgmri.audit import AuditEvent, Auditor
from sgmri.errors import AuditUnavailable
from sgmri.lifecycle import State
from sgmri.settings import Settings
from worker.app import create_app
from worker.audit import auditor
from worker.auditing.identities import identities
from worker.auditing.syslog import start_shipping
from worker.database import journal_url, set_aside_if_damaged
from worker.destinations import targets
from worker.journal import Journal
from worker.outbox import Outbox

_log = logging.getLogger(__name__)


def open_journal(settings: Settings) -> Journal:
    """Open the journal that the settings name, making the state directory if needed."""
    make_directory(Path(settings.storage.state_dir))
    return Journal(journal_url(settings))


def spool_dir(settings: Settings) -> Path:
    """Return where received instances lie."""
    return Path(settings.storage.state_dir) / "spool"


def outbox_dir(settings: Settings) -> Path:
    """Return where result objects lie."""
    return Path(settings.storage.state_dir) / "outbox"


def open_remote_spool(settings: Settings) -> RemoteSpool | None:
    """Open the bucket through which machines share series and results; None where they share the state directory."""
    storage = settings.storage
    if not storage.spool_url:
        return None
    return RemoteSpool(storage.spool_url, SeriesCache(Path(storage.state_dir) / "cache", storage.cache_bytes))


def ship_audit(settings: Settings, stop: threading.Event) -> None:
    """Send this host's audit log to the syslog server, if there is one, in a thread until told to stop."""
    identify = None
    if settings.audit.syslog_identity:
        identify = identities(open_journal(settings), Spool(spool_dir(settings)))
    start_shipping(settings, identify, stop=stop)


class ListenerService:
    """Everything that the listener process runs.

    Parameters
    ----------
    settings
        The configuration.
    give_up
        Called when the audit log cannot be written and nothing more may be received for that (``audit.on_failure``).
    audit
        Who remembers; by default as the settings say.
    """

    def __init__(
        self, settings: Settings, give_up: Callable[[], None] = lambda: None, audit: Auditor | None = None
    ) -> None:
        settings = admitted_peers(settings)
        self._settings = settings
        if not settings.storage.journal_url and set_aside_if_damaged(Path(settings.storage.state_dir)):
            _log.error("the journal is damaged and was set aside; a new one is made from the spool")
        self.journal = open_journal(settings)
        self._give_up = give_up
        self._stopped = threading.Event()
        self._auditor = audit or auditor(settings, "listener")
        listener = settings.listener
        synced = listener.durability != "none"
        self._spool = Spool(spool_dir(settings), min_free_bytes=listener.min_free_bytes, synced=synced)
        app = create_app(settings.broker.url)
        self._outbox = Outbox(journal=self.journal, targets=targets(settings))
        rules = load_rules(settings.selection.rules)
        remote = open_remote_spool(settings)
        dispatcher = Dispatcher(
            journal=self.journal, spool=self._spool, app=app, rules=rules, settings=settings, remote=remote
        )
        self._indexer = Indexer(self.journal)
        self._retention = Retention(
            settings=settings,
            journal=self.journal,
            spool=self._spool,
            outbox_dir=outbox_dir(settings),
            remote=remote,
            audit=self._audit,
        )
        self._sweeper = Sweeper(settings, dispatcher, self._indexer, Tidier(self._retention))
        self._metrics = Metrics(settings, self.journal, self._retention)
        self._monitor = self._make_monitor()
        self._observers = list(observers(settings, self.journal, self._retention))
        scp = Receiver if listener.receiver == "own" else StorageScp
        self._scp = scp(
            listener, self._spool, Callbacks(stored=self._stored, committed=self._committed, audit=self._told)
        )
        self._missed = self._archive_sweep() if settings.sweep.is_on else None

    @property
    def port(self) -> int:
        """The TCP port of the SCP."""
        return self._scp.port

    def start(self) -> None:
        """Tidy up after a crash, then listen."""
        self._recover()
        if not self._settings.listener.peers:
            _log.warning("no peer is configured: every association will be rejected (listener.peers)")
        self._indexer.start()
        ship_audit(self._settings, self._stopped)
        self._scp.start()
        self._sweeper.start()
        if self._missed is not None:
            self._missed.start()
        for observer in self._observers:
            observer.start()
        if self._monitor is not None:
            self._monitor.start()

    def stop(self) -> None:
        """Stop listening and sweeping; write what the journal does not yet have."""
        self._stopped.set()
        if self._monitor is not None:
            self._monitor.stop()
        for observer in self._observers:
            observer.stop()
        self._scp.stop()
        if self._missed is not None:
            self._missed.stop()
        self._sweeper.stop()
        self._indexer.stop()
        self.journal.close()

    def _archive_sweep(self) -> SweepThread:
        archive = open_archive(self._settings, self._spool, self._stored)
        return SweepThread(self._settings, ArchiveSweep(self._settings, self.journal, archive, self._audit))

    def is_alive(self) -> bool:
        """Return whether the threads run without which nothing goes on."""
        return self._sweeper.is_alive() and self._indexer.is_alive()

    def _make_monitor(self) -> Monitor | None:
        address = self._settings.metrics
        if not address.port:
            return None
        readiness = Readiness(settings=self._settings, journal=self.journal, retention=self._retention)
        return Monitor(
            (address.host, address.port),
            registry=self._metrics.registry,
            is_alive=self.is_alive,
            parts=readiness.parts,
        )

    def _recover(self) -> None:
        removed = self._spool.recover()
        if removed:
            _log.warning("removed %d interrupted files from the spool", removed)
        self._retention.finish()
        indexed = index_spool(self._spool, self.journal)
        if indexed:
            _log.warning("indexed %d instances that the journal did not have", indexed)

    def _audit(self, event: AuditEvent) -> None:
        try:
            self._auditor(event)
        except AuditUnavailable:
            self._give_up()
            raise

    def _told(self, event: AuditEvent) -> None:
        with suppress(AuditUnavailable):  # it has happened, and the process ends
            self._audit(event)

    def _stored(self, instance: StoredInstance) -> None:
        if instance.differs:
            with logs.series(instance.series_key[:8]):
                _log.warning("an instance came again with other bytes; the first copy is kept")
        self._indexer.add(instance)
        self._metrics.stored(instance)

    def _committed(self, result: CommitmentResult) -> None:
        row = self._outbox.answer_commitment(
            result.transaction_uid,
            committed=result.committed,
            refused=tuple(result.failures),
            retry_s=self._settings.delivery.retry_max_s,
        )
        if row is None:
            _log.warning("a commitment result came for a transaction that the journal does not have")
            return
        with logs.series(row.series_key[:8]):
            if result.failures:
                reasons = ", ".join(sorted({f"0x{reason:04X}" for reason in result.failures.values()}))
                _log.error("commitment refused for %d objects (%s)", len(result.failures), reasons)
            elif row.state is State.COMMITTED:
                _log.info("committed")
