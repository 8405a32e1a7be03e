"""How long the sweeper waits before it looks again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_io.spool import Spool
from plugin.dispatch import Dispatcher
from plugin.indexer import Indexer
from plugin.retention import Retention, Tidier
from plugin.sweeper import Sweeper
from sgmri.lifecycle import State
from sgmri.settings import parse
from tests.worker.place import Clock
from tests.worker.test_journal import received
from worker.app import create_app
from worker.database import sqlite_url
from worker.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(sqlite_url(tmp_path), clock=Clock())
    yield journal
    journal.close()


def test_it_looks_when_the_next_series_becomes_quiet(tmp_path: Path, journal: Journal) -> None:
    """A tick, where nothing is due before; else just until then. What is due and could not be completed is no haste."""
    settings = parse({"series": {"quiet_period_s": 10.0}})
    spool = Spool(tmp_path / "spool")
    dispatcher = Dispatcher(journal=journal, spool=spool, app=create_app("redis://127.0.0.1:1/0"))
    retention = Retention(settings=settings, journal=journal, spool=spool, outbox_dir=tmp_path / "outbox")
    sweeper = Sweeper(settings, dispatcher, Indexer(journal), Tidier(retention))
    clock = journal.clock
    assert isinstance(clock, Clock)
    pauses = [sweeper.pause_s()]
    journal.receive(received(1))
    for passed_s in (0.0, 9.9, 0.099, 0.001):
        clock.now += passed_s
        pauses.append(sweeper.pause_s())
    assert pauses == [0.25, 0.25, pytest.approx(0.1, abs=0.001), 0.01, 0.25]
    (row,) = journal.all_series()
    journal.move(row, State.COMPLETE)
    assert sweeper.pause_s() == 0.25
