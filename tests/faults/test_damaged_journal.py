"""Row 52 of the fault table: the journal's file is damaged or gone; the spool has what is needed to make it again.

(A locked one: ``test_index.py``.)
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from plugin.listener import ListenerService
from sgmri.errors import ConfigError
from sgmri.lifecycle import State
from tests.faults.ward import HEALTHY, Ward, series
from worker.database import set_aside_if_damaged


def overwrite(journal: Path) -> None:
    """What ``dd if=/dev/urandom`` leaves."""
    journal.write_bytes(b"\xa5" * journal.stat().st_size)


def damage_a_page(journal: Path) -> None:
    """The file is still a database, but a page of it is not what it was."""
    content = bytearray(journal.read_bytes())
    content[4096:8192] = b"\xa5" * 4096
    journal.write_bytes(content)


def cut(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [overwrite, damage_a_page, cut, Path.unlink], ids=lambda damage: damage.__name__)
def test_a_journal_that_is_lost_is_made_again_from_the_spool(
    make_ward: Callable[[], Ward], damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The listener sets the damaged file aside, and every series that was there is received and queued again."""
    ward = make_ward()
    for number in (1, 2):
        ward.send(series(HEALTHY, number, ward.directory / "scanner"))
    ward.wait(lambda: ward.states() == [State.QUEUED] * 2)
    before = {(row.series_key, row.instances) for row in ward.rows()}
    ward.service.stop()
    state_dir = ward.directory / "state"
    for companion in ("-wal", "-shm"):
        (state_dir / f"journal.sqlite{companion}").unlink(missing_ok=True)
    damage(state_dir / "journal.sqlite")
    ward.service = ListenerService(ward.settings)
    ward.service.start()
    ward.wait(lambda: ward.states() == [State.QUEUED] * 2)
    assert {(row.series_key, row.instances) for row in ward.rows()} == before
    aside = list(state_dir.glob("journal.sqlite.damaged-*"))
    assert len(aside) == (0 if damage is Path.unlink else 1)
    assert ("set aside" in caplog.text) == (damage is not Path.unlink)


def test_a_whole_journal_stays(make_ward: Callable[[], Ward]) -> None:
    """Neither a healthy database, nor none, nor one that somebody writes into just now is set aside."""
    ward = make_ward()
    state_dir = ward.directory / "state"
    with ward.service.journal.begin():
        assert set_aside_if_damaged(state_dir) is None
    assert set_aside_if_damaged(ward.directory) is None


def test_a_journal_elsewhere_is_not_touched(tmp_path: Path) -> None:
    """A URL of a database that cannot be used is a mistake of the configuration."""
    from plugin.listener import open_journal
    from tests.faults.ward import ward_settings

    settings = ward_settings(tmp_path, "redis://127.0.0.1:1/0", storage={"journal_url": "nothing://"})
    with pytest.raises(ConfigError, match=r"storage\.journal_url"):
        open_journal(settings)
