"""Examine the audit logs of all hosts against their ends in the journal."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from sgmri.audit_chain import NO_LINES
from sgmri.audit_faults import Fault, faults
from sgmri.settings import Settings
from worker.auditing.files import LOCK, audit_dir, lines_of, locked
from worker.auditing.heads import heads_in
from worker.database import journal_url, open_database

_SETTLE_S = 2.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What was found of one host's log: how many lines are there, how many are known in the journal, what is wrong."""

    host: str
    lines: int
    known: int
    faults: tuple[Fault, ...]


def verify(root: Path, engine: Engine, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[ChainReport]:
    """Examine every host's log, one after the other; processes may go on writing.

    Parameters
    ----------
    root
        Where the hosts' directories lie.
    engine
        The journal's database.
    sleep
        Waits for a process that has written a line and not yet said so in the journal.

    Raises
    ------
    OSError
        If a log cannot be read.
    SQLAlchemyError
        If the journal cannot be read.
    """
    there = {path.name for path in root.iterdir() if path.is_dir()} if root.exists() else set()
    for host in sorted(there | set(heads_in(engine))):
        yield _examine(root / host, engine, sleep)


def reports(settings: Settings) -> Iterator[ChainReport]:
    """Examine the logs that the settings name, against the journal that they name; raises as :func:`verify`."""
    engine = open_database(journal_url(settings))
    try:
        yield from verify(audit_dir(settings), engine)
    finally:
        engine.dispose()


def _examine(directory: Path, engine: Engine, sleep: Callable[[float], None]) -> ChainReport:
    host = directory.name
    before = heads_in(engine).get(host)
    with ExitStack() as held:
        if (directory / LOCK).exists():
            held.enter_context(locked(directory, exclusive=False))
        lines = list(lines_of(directory))
    for _ in range(round(_SETTLE_S / _LOOK_S)):
        after = heads_in(engine).get(host, NO_LINES)
        if after.seq >= len(lines):
            break
        sleep(_LOOK_S)
    return ChainReport(host=host, lines=len(lines), known=after.seq, faults=faults(lines, before, confirmed=after.seq))
