"""What the spool has and the journal does not, found at the start."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance, read_header
from plugin.indexer import received
from plugin.recovery import index_spool
from sgmri.lifecycle import Reason, State
from tests.dicom_io.test_spool import encoded
from worker.journal import Journal
from worker.journal_tables import INSTANCES


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    journal = Journal(journal_url)
    yield journal
    journal.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def put(spool: Spool) -> StoredInstance:
    content = encoded()
    return spool.store(read_header(content), content)


def test_without_a_checkpoint_every_file_is_looked_at(spool: Spool, journal: Journal) -> None:
    """An old file that a new journal does not know is indexed, once."""
    instance = put(spool)
    os.utime(spool.root / instance.series_key, (1.0, 1.0))
    assert index_spool(spool, journal) == 1
    assert index_spool(spool, journal) == 0
    assert journal.file_names(instance.series_key) == (instance.file_name,)


def test_only_what_changed_since_the_checkpoint_is_looked_at(spool: Spool, journal: Journal) -> None:
    """A directory that is older than the checkpoint is not opened; one that changed since is."""
    assert index_spool(spool, journal) == 0
    instance = put(spool)
    directory = spool.root / instance.series_key
    now = directory.stat().st_mtime
    os.utime(directory, (now - 3600, now - 3600))
    assert index_spool(spool, journal) == 0
    os.utime(directory)
    assert index_spool(spool, journal) == 1


def test_a_checkpoint_in_the_future_is_not_believed(spool: Spool, journal: Journal) -> None:
    """A clock that was wrong hides no instance."""
    journal.receive(checkpoint=journal.clock() + 86_400)
    put(spool)
    assert index_spool(spool, journal) == 1


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (State.FAILED, Reason.INCOMPLETE_SERIES, State.RECEIVING),
        (State.SKIPPED, Reason.LOCALISER, State.SKIPPED),
    ],
)
def test_a_lost_file_that_came_again_before_the_crash_is_told(
    spool: Spool, journal: Journal, state: State, reason: Reason, expected: State
) -> None:
    """The journal knew the instance, its file was lost and sent again: an incomplete series receives again."""
    instance = put(spool)
    journal.receive(received(instance))
    journal.move(journal.series(instance.series_key), State.COMPLETE)
    journal.move(journal.series(instance.series_key), state, reason=reason)
    path = spool.path(instance.series_key, instance.file_name)
    os.utime(path, (1.0, 1.0))
    assert index_spool(spool, journal) == 0
    assert journal.series(instance.series_key).state is state

    path.unlink()
    put(spool)
    assert index_spool(spool, journal) == 0
    assert journal.series(instance.series_key).state is expected


def test_a_conflicting_copy_is_told(spool: Spool, journal: Journal) -> None:
    """An instance came with other bytes before the crash: the journal marks the conflict."""
    instance = put(spool)
    journal.receive(received(instance))
    other = encoded() + bytes(8)
    assert spool.store(read_header(other), other).differs
    index_spool(spool, journal)
    with journal.look() as connection:
        assert connection.execute(select(INSTANCES.c.conflict)).scalars().all() == [True]


def test_a_file_that_is_no_instance_is_left_alone(
    spool: Spool, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log and hides no other."""
    instance = put(spool)
    stray = spool.path(instance.series_key, "stray.dcm")
    stray.write_bytes(b"nothing")
    assert index_spool(spool, journal) == 1
    assert stray.exists()
    assert "no instance" in caplog.text
