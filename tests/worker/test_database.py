"""The journal's database: its version, its making by many at once, and a server that goes away and comes back."""

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, update

from sgmri.errors import ConfigError
from sgmri.lifecycle import State
from tests.databases import Cluster
from tests.worker.place import Clock
from tests.worker.test_worklist import queue
from worker import database
from worker.heartbeat import heartbeat
from worker.journal import Journal
from worker.journal_schema import VERSION
from worker.journal_tables import SCHEMA
from worker.outbox import Outbox, ResultRow
from worker.worklist import Worklist

RESULT = ResultRow(
    kind="SR", sop_class_uid="1.2", sop_instance_uid="2.25.5", series_instance_uid="2.25.6", file_name="sr", position=0
)


@pytest.mark.parametrize(("version", "word"), [(VERSION - 1, "an older"), (VERSION + 1, "a newer"), (None, "an older")])
def test_a_journal_of_another_version_is_refused(journal_url: str, version: int | None, word: str) -> None:
    """Older, newer, or from before versions were counted: nothing is read from it, and the message says what to do."""
    Journal(journal_url).close()
    engine = create_engine(journal_url)
    with engine.begin() as connection:
        if version is None:
            SCHEMA.drop(connection)
        else:
            connection.execute(update(SCHEMA).values(version=version))
    engine.dispose()
    with pytest.raises(ConfigError, match=rf"found {word} one of version \d; run the version .* docs/operations.md"):
        Journal(journal_url)


def test_many_processes_make_the_tables_once(journal_url: str) -> None:
    """Listener and workers that are started together all find a journal, and it is one."""
    # a thread that fails, fails the test
    threads = [threading.Thread(target=lambda: Journal(journal_url).close()) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal = Journal(journal_url)
    with journal.begin() as connection:
        assert connection.execute(delete(SCHEMA)).rowcount == 1
    journal.close()


def test_a_database_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, or no directory: the process ends with what was expected, and without the URL and its password."""
    monkeypatch.setattr(database, "_RESTART_S", 0.1)
    for url in (f"postgresql+psycopg://sgmri:secret@/x?host={tmp_path}", f"sqlite:///{tmp_path}/none/journal"):
        with pytest.raises(ConfigError, match="expected a database that answers") as caught:
            Journal(url)
        assert "secret" not in str(caught.value)


@pytest.mark.xdist_group("postgresql")
def test_a_server_that_restarts_loses_nothing(postgres: Cluster, postgres_url: str) -> None:
    """In the middle of a reading: its lease is renewed afterwards, its end is recorded, and the next one begins."""
    journal = Journal(postgres_url, clock=Clock())
    worklist = Worklist(journal=journal)
    for key in ("a", "b"):
        queue(journal, key)
    row = worklist.take("me", 0.4)
    assert row is not None
    with heartbeat(journal, row, 0.4) as unwanted:
        postgres.stop("immediate")
        time.sleep(0.3)  # some beats find nobody
        postgres.start()
        assert Outbox(journal=journal).put(journal.series(row.series_key), [RESULT])
        assert not unwanted.is_set()
    assert journal.counts() == {State.READ: 1, State.QUEUED: 1}
    assert worklist.take("me", 60.0) is not None
    journal.close()
