"""The ends of the audit logs, kept in the journal, apart from the files: lines that are cut off are missed."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from sgmri.audit_chain import NO_LINES, Head
from worker.journal_tables import AUDIT_HEADS

_log = logging.getLogger(__name__)


def heads_in(engine: Engine) -> dict[str, Head]:
    """Return the ends of all hosts' logs; raises SQLAlchemyError while the journal is away."""
    with engine.connect().execution_options(reads_only=True) as connection:
        return {row.host: Head(seq=row.seq, digest=row.digest) for row in connection.execute(select(AUDIT_HEADS))}


class HeadKeeper:
    """Keeps the end of one host's log in the journal; while the journal is away, the log goes on without it.

    Parameters
    ----------
    engine
        The journal's database.
    host
        Whose.
    clock
        The time.
    """

    def __init__(self, engine: Engine, host: str, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._host = host
        self._clock = clock
        self._newest = NO_LINES
        self._changed = threading.Lock()
        self._writing = threading.Lock()

    def kept(self) -> Head | None:
        """Return the end as it is kept; None while the journal is away."""
        try:
            return heads_in(self._engine).get(self._host, NO_LINES)
        except SQLAlchemyError as error:
            _log.warning("the end of the audit log cannot be compared: the journal is away (%s)", type(error).__name__)
            return None

    def keep(self, head: Head) -> None:
        """Keep an end; one thread at a time waits for the database, and takes what comes meanwhile with it."""
        with self._changed:
            self._newest = max(self._newest, head, key=lambda one: one.seq)
        while self._writing.acquire(blocking=False):
            newest = self._newest
            try:
                with self._engine.begin() as connection:
                    self._put(connection, newest)
            except SQLAlchemyError as error:
                _log.warning("the end of the audit log is not kept: the journal is away (%s)", type(error).__name__)
            finally:
                self._writing.release()
            if self._newest is newest:
                return

    def _put(self, connection: Connection, head: Head) -> None:
        values = {"seq": head.seq, "digest": head.digest, "at": self._clock().timestamp()}
        this = AUDIT_HEADS.c.host == self._host
        if connection.execute(update(AUDIT_HEADS).where(this, AUDIT_HEADS.c.seq < head.seq).values(**values)).rowcount:
            return
        if connection.execute(select(AUDIT_HEADS.c.seq).where(this)).first() is None:
            try:
                with connection.begin_nested():
                    connection.execute(insert(AUDIT_HEADS).values(host=self._host, **values))
            except IntegrityError:  # another process was faster; its line was later, or ours comes with the next
                return
