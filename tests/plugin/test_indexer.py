"""The writer of the journal: bounded, patient, and not stopped by one instance."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dicom_io.stored import StoredInstance
from plugin.indexer import Indexer
from sgmri.errors import JournalBehind
from worker.database import sqlite_url
from worker.journal import Journal


def stored(number: int, *, series: int = 1, expected_instances: int | None = None) -> StoredInstance:
    return StoredInstance(
        series_key=f"series{series}",
        file_name=f"{number}.dcm",
        study_instance_uid="2.25.1",
        series_instance_uid=f"2.25.2{series}",
        sop_instance_uid=f"2.25.10{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        size_bytes=100,
        expected_instances=expected_instances,
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(sqlite_url(tmp_path))
    yield journal
    journal.close()


@pytest.fixture
def either(journal_url: str) -> Iterator[Journal]:
    """On both databases."""
    journal = Journal(journal_url)
    yield journal
    journal.close()


def test_what_came_from_many_threads_is_written_once(either: Journal) -> None:
    """Four associations bring the instances of two series, some of them twice: each is counted once."""
    indexer = Indexer(either)
    indexer.start()

    def bring(first: int) -> None:
        for number in range(first, first + 300):
            indexer.add(stored(number, series=1 + number % 2))

    threads = [threading.Thread(target=bring, args=(first,)) for first in (0, 150, 300, 450)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert indexer.settle(60.0)
    assert [row.instances for row in either.all_series()] == [375, 375]
    assert [len(either.file_names(row.series_key)) for row in either.all_series()] == [375, 375]
    indexer.stop()


def test_a_full_queue_refuses_and_loses_nothing(journal: Journal, tmp_path: Path) -> None:
    """With the database locked, who finds no room waits and is told; what was taken is written later."""
    indexer = Indexer(journal, capacity=3, patience_s=0.1)
    with closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        indexer.start()
        for number in range(3):
            indexer.add(stored(number))
        with pytest.raises(JournalBehind, match="3 that wait"):
            indexer.add(stored(3))
        assert not indexer.settle(0.1)
        other.execute("ROLLBACK")
    assert indexer.settle(60.0)
    indexer.add(stored(3))
    indexer.stop()
    assert journal.series("series1").instances == 4


def test_a_full_disk_is_waited_for(journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The database cannot grow: instances wait, and are written when it can."""
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as other:
        # a trigger stands for the full disk: SQLite's own page limit holds for one connection only
        other.execute("CREATE TRIGGER full BEFORE INSERT ON instances BEGIN SELECT no_such_function(); END")
        other.commit()
        indexer = Indexer(journal)
        indexer.start()
        indexer.add(stored(1))
        assert not indexer.settle(1.0)
        assert journal.all_series() == ()
        other.execute("DROP TRIGGER full")
        other.commit()
    assert indexer.settle(60.0)
    indexer.stop()
    assert journal.series("series1").instances == 1
    assert "the journal cannot be written now" in caplog.text


def test_one_instance_that_is_never_accepted_holds_up_no_other(
    either: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """A number that no database column holds: its instance is named in the log, all others are in the journal."""
    indexer = Indexer(either)
    for number in range(5):
        indexer.add(stored(number, series=number, expected_instances=1 << 80 if number == 2 else None))
    indexer.start()
    assert indexer.settle(60.0)
    indexer.stop()
    assert [row.series_key for row in either.all_series()] == ["series0", "series1", "series3", "series4"]
    # SQLite's driver refuses it before the database is asked
    assert any(f"cannot be journalled ({error})" in caplog.text for error in ("OverflowError", "DataError"))


def test_batches_do_not_empty_the_write_ahead_log(journal: Journal, tmp_path: Path) -> None:
    """While the writer runs SQLite's log stays: emptying it would cost syncs for each batch; the end empties it."""
    log = tmp_path / "journal.sqlite-wal"
    indexer = Indexer(journal)
    indexer.start()
    indexer.add(stored(1))
    assert indexer.settle(60.0)
    assert log.exists()
    indexer.stop()
    assert not log.exists()


def test_what_waits_at_the_end_is_written(either: Journal) -> None:
    """Stop writes what has come."""
    indexer = Indexer(either)
    indexer.start()
    indexer.add(stored(1))
    indexer.stop()
    assert either.series("series1").instances == 1
