"""Which workers are there, and which of them have an engine loaded: signs of life in the journal, for every host."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from sgmri.errors import ConfigError
from sgmri.readings import EngineIdentity
from worker.journal import Journal
from worker.journal_tables import WORKERS
from worker.leases import this_worker

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A process that works; ``engine`` is empty where none is loaded."""

    worker: str
    queues: tuple[str, ...]
    engine: str
    engine_version: str
    seen_at: float


def present(journal: Journal) -> tuple[WorkerRow, ...]:
    """Return the workers that have shown a sign of life in time."""
    query = select(WORKERS).where(WORKERS.c.until > journal.clock()).order_by(WORKERS.c.worker)
    with journal.look() as connection:
        return tuple(
            WorkerRow(
                worker=row.worker,
                queues=tuple(row.queues.split(",")),
                engine=row.engine,
                engine_version=row.engine_version,
                seen_at=row.seen_at,
            )
            for row in connection.execute(query)
        )


class Presence:
    """The sign of life of this process.

    Parameters
    ----------
    journal
        Returns where it is shown.
    queues
        What this process serves.
    engine
        Returns what it has loaded; None where nothing.
    lease_s
        How long a process is believed to be there without a sign.
    """

    def __init__(
        self,
        journal: Callable[[], Journal],
        queues: Sequence[str],
        engine: Callable[[], EngineIdentity | None],
        lease_s: float,
    ) -> None:
        self._journal = journal
        self._queues = ",".join(queues)
        self._engine = engine
        self._lease_s = lease_s
        self._worker = this_worker()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin to show it, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Say that this process has ended."""
        self._stop.set()
        self._thread.join()
        try:
            with self._journal().begin() as connection:
                connection.execute(delete(WORKERS).where(WORKERS.c.worker == self._worker))
        except (SQLAlchemyError, ConfigError) as error:
            _log.warning("the journal is away (%s); this worker is forgotten later", type(error).__name__)

    def show(self) -> None:
        """Show one sign of life, and forget those who have shown none for long."""
        journal, engine = self._journal(), self._engine()
        now = journal.clock()
        values = {
            "queues": self._queues,
            "engine": engine.name[:64] if engine else "",
            "engine_version": engine.version[:64] if engine else "",
            "seen_at": now,
            "until": now + self._lease_s,
        }
        this = WORKERS.c.worker == self._worker
        with journal.begin() as connection:
            connection.execute(delete(WORKERS).where(WORKERS.c.until < now - self._lease_s))
            if not connection.execute(update(WORKERS).where(this).values(**values)).rowcount:
                connection.execute(insert(WORKERS).values(worker=self._worker, **values))

    def _run(self) -> None:
        while True:
            try:
                self.show()
            except (SQLAlchemyError, ConfigError) as error:
                _log.warning("the journal is away (%s); this worker looks absent", type(error).__name__)
            if self._stop.wait(self._lease_s / 4):
                return
