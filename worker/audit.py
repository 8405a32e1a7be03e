"""Where audit events go, for the listener, the workers, the command line and the dashboard alike (ADR 0023)."""

import logging
import threading
import time
import weakref
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sgmri.audit import Action, AuditEvent, Auditor, Outcome
from sgmri.audit_chain import Head
from sgmri.errors import AuditUnavailable
from sgmri.settings import Settings
from worker.auditing.files import AuditFiles, audit_dir, this_host
from worker.auditing.floods import Floods
from worker.auditing.heads import HeadKeeper
from worker.database import journal_url, open_database

_log = logging.getLogger(__name__)


def auditor(settings: Settings, process: str = "sgmri") -> Auditor:
    """Return who remembers, as the settings say.

    Parameters
    ----------
    settings
        The configuration.
    process
        The kind of this process, as the lines name it: listener, worker, dashboard, command.

    Returns
    -------
    The auditor; it may be called by any thread, and raises AuditUnavailable only if ``audit.on_failure`` is "stop".

    Raises
    ------
    ConfigError
        If the journal's URL cannot be used.
    """
    host = this_host()
    engine = open_database(journal_url(settings))
    keeper = HeadKeeper(engine, host, _now)
    weakref.finalize(keeper, engine.dispose)  # who remembers is only called and has no end of its own
    files = AuditFiles(
        directory=audit_dir(settings) / host,
        process=process,
        clock=_now,
        max_file_bytes=settings.audit.max_file_bytes,
        synced=settings.audit.synced,
    )
    return _Writer(files=files, keeper=keeper, stops=settings.audit.on_failure == "stop")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class _Writer:
    """Writes events, and what could not be written as soon as that is possible again."""

    files: AuditFiles
    keeper: HeadKeeper
    stops: bool
    _lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _compared: bool = False
    _floods: Floods = field(default_factory=lambda: Floods(time.monotonic))

    def __call__(self, event: AuditEvent) -> None:
        head = None
        try:
            with self._lock:
                for one in self._floods.take(event):
                    head = self._write(one)
        except OSError as error:
            self._failed(error)
            return
        if head is not None:
            self.keeper.keep(head)

    def _write(self, event: AuditEvent) -> Head:
        if not self._compared and (kept := self.keeper.kept()) is not None:
            self.files.expect(kept)
            self._compared = True
        if self._lost:
            text = "events could not be written before this line"
            what = AuditEvent(
                action=Action.AUDIT, who=event.who, outcome=Outcome.FAILURE, detail=text, count=self._lost
            )
            self.files.append(what)
            self._lost = 0
        return self.files.append(event)

    def _failed(self, error: OSError) -> None:
        if self.stops:
            raise AuditUnavailable(
                f"expected an audit log that can be written, found errno {error.errno}; make room in the state "
                "directory, and mind its rights"
            ) from None
        with self._lock:
            self._lost += 1
        _log.error("an audit event could not be written (errno %s); the work goes on", error.errno)
