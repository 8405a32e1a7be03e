"""What an operator sees of the worklist and may change in it."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin.cli.main import main
from sgmri.lanes import Lane
from sgmri.lifecycle import State
from tests.worker.test_worklist import queue
from worker.database import sqlite_url
from worker.journal import Journal
from worker.worklist import Worklist


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "sgmri.toml"
    path.write_text(
        f'[storage]\nstate_dir = "{tmp_path}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n'
        '[queue]\nstalled_after_s = 0.2\n[delivery]\nae_title = "PACS"\n',
        encoding="utf-8",
    )
    return str(path)


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    journal = Journal(sqlite_url(tmp_path))
    yield Worklist(journal=journal)
    journal.close()


def test_status_shows_the_worklist(worklist: Worklist, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts by lane, the mode, and that readings do not go on; for machines too."""
    queue(worklist.journal, "aaaa")
    queue(worklist.journal, "bbbb", Lane.OFF_PEAK)
    time.sleep(0.3)
    assert main(["status", "--config", config]) == 0
    printed = capsys.readouterr().out
    assert "worklist: STAT=0 NORMAL=1 OFF_PEAK=1, STALLED: none has been begun for" in printed
    assert "aaaa  QUEUED in lane NORMAL, 1 instances" in printed
    assert main(["suspend", "--config", config]) == 0
    assert main(["status", "--config", config]) == 0
    assert "OFF_PEAK=1, SUSPENDED for 0 s (sgmri resume" in capsys.readouterr().out
    assert main(["status", "--json", "--config", config]) == 0
    shown = json.loads(capsys.readouterr().out)["worklist"]
    assert shown["mode_s"] < 60
    del shown["mode_s"]
    assert shown == {"mode": "SUSPENDED", "lanes": {"STAT": 0, "NORMAL": 1, "OFF_PEAK": 1}, "stalled_s": None}


def test_lane_puts_a_series_first(worklist: Worklist, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the beginning of its key; one that is queued no more stays where it is, and an unclear key is said."""
    queue(worklist.journal, "aaaa")
    queue(worklist.journal, "abbb")
    assert main(["lane", "ab", "stat", "--config", config]) == 0
    assert capsys.readouterr().out == "abbb  NORMAL -> STAT\n"
    row = worklist.take("me", 60.0)
    assert row is not None and row.series_key == "abbb"
    assert main(["lane", "ab", "normal", "--config", config]) == 1
    assert "READING is not on the worklist" in capsys.readouterr().err
    assert main(["lane", "a", "normal", "--config", config]) == 2
    assert "found several" in capsys.readouterr().err


@pytest.mark.parametrize("table", ["delivery", "destination"])
def test_drain_waits_for_what_is_under_way(
    worklist: Worklist, config: str, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    """It returns when nothing is read or delivered any more; what is queued stays, until readings are resumed."""
    if table == "destination":
        text = Path(config).read_text(encoding="utf-8")
        named = text.replace("[delivery]", '[[destination]]\nname = "pacs"')
        Path(config).write_text(named, encoding="utf-8")
    queue(worklist.journal, "aaaa")
    queue(worklist.journal, "bbbb")
    row = worklist.take("me", 60.0)
    assert row is not None
    codes: list[int] = []
    draining = threading.Thread(target=lambda: codes.append(main(["drain", "--wait", "--config", config])))
    draining.start()
    for state in (State.READ, State.STORED):
        time.sleep(0.5)
        assert draining.is_alive() and worklist.take("other", 60.0) is None
        worklist.journal.move(worklist.journal.series("aaaa"), state)
    draining.join()
    assert codes == [0]
    assert "READING=0 READ=0" in capsys.readouterr().out
    assert worklist.by_lane()[Lane.NORMAL] == 1
    assert main(["resume", "--config", config]) == 0
    assert worklist.take("other", 60.0) is not None
