"""The audit log on the disk: processes that write at a time, rotation, crashes, a disk that refuses."""

import gc
import json
import logging
import multiprocessing
import resource
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from plugin.cli.main import main
from sgmri.audit import Action, AuditEvent
from sgmri.errors import AuditUnavailable
from sgmri.settings import Settings, parse
from worker.audit import auditor
from worker.auditing.files import audit_dir, events_of, files_of, this_host
from worker.database import sqlite_url
from worker.journal import Journal

EVENT = AuditEvent(action=Action.VIEW, who="anna", series_key="0123456789abcdef", detail="images")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return made(tmp_path)


def made(state_dir: Path, **audit: object) -> Settings:
    state_dir.mkdir(exist_ok=True)
    Journal(sqlite_url(state_dir)).close()
    return parse({"storage": {"state_dir": str(state_dir)}, "audit": audit})


def log_dir(settings: Settings) -> Path:
    return audit_dir(settings) / this_host()


def verified(settings: Settings, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what ``sgmri audit verify`` finds."""
    config = Path(settings.storage.state_dir) / "sgmri.toml"
    config.write_text(f'[storage]\nstate_dir = "{settings.storage.state_dir}"\n', encoding="utf-8")
    capsys.readouterr()
    code = main(["audit", "verify", "--json", "--config", str(config)])
    found = json.loads(capsys.readouterr().out)
    assert found["good"] is (code == 0)
    return [fault["text"] for host in found["hosts"] for fault in host["faults"]]


def _write_many(settings: Settings, count: int) -> None:
    write = auditor(settings, "worker")
    for _ in range(count):
        write(EVENT)


def test_processes_share_a_chain_that_goes_on_across_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three processes at a time, small files: every line is there once, the chain is whole; a lost file is named."""
    settings = made(tmp_path, max_file_bytes=4000, synced=False)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_many, args=(settings, 20)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [line.seq for line in events_of(log_dir(settings))] == list(range(1, 61))
    assert verified(settings, capsys) == []
    files = files_of(log_dir(settings))
    assert len(files) > 3
    assert int(files[2].stem) - 1 == [line.seq for line in events_of(log_dir(settings))][int(files[2].stem) - 2]
    first, after = int(files[1].stem), int(files[2].stem)
    files[1].unlink()
    assert verified(settings, capsys) == [f"lines {first} to {after - 1} behind {files[0].name}:{first - 1}: deleted"]


def test_half_a_line_is_cut_off_and_said(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A process that died while it wrote: the next one repairs the end, says so in the log, and the chain is whole."""
    write = auditor(settings)
    write(EVENT)
    (path,) = files_of(log_dir(settings))
    with path.open("ab") as stream:
        stream.write(b'{"action":"vi')
    write(EVENT)
    lines = list(events_of(log_dir(settings)))
    assert [line.event.action for line in lines] == [Action.VIEW, Action.AUDIT, Action.VIEW]
    assert lines[1].event.detail == "the log ended in half a line of 13 bytes; it was cut off"
    assert verified(settings, capsys) == []


@pytest.mark.parametrize("edit", ["cut", "whole file", "new chain"])
@pytest.mark.parametrize("is_running", [True, False])
def test_lines_cut_off_stay_missed(
    settings: Settings, capsys: pytest.CaptureFixture[str], edit: str, is_running: bool
) -> None:
    """The journal knows where the log ended: nobody writes over a truncation, not even a process that starts anew."""
    write = auditor(settings)
    for _ in range(4):
        write(EVENT)
    (path,) = files_of(log_dir(settings))
    if edit == "cut":
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
        gone = f"lines 3 to 4 behind {path.name}:2: "
    else:
        path.unlink()
        gone = "lines 1 to 4 behind the beginning: "
    assert verified(settings, capsys) == [gone + "cut off at the end of the log"]
    if not is_running:
        write = auditor(settings)
    write(EVENT)
    assert verified(settings, capsys) == [gone + "deleted"]
    assert "expected line 4 as it was known" in [line.event.detail for line in events_of(log_dir(settings))][-2]


def test_a_line_beyond_the_journals_knowledge_is_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """What somebody adds at the end is not confirmed; and a log whose end the journal lost is not taken for good."""
    auditor(settings)(EVENT)
    other = made(Path(settings.storage.state_dir) / "other")
    elsewhere = auditor(other)
    elsewhere(EVENT)
    (path,) = files_of(log_dir(settings))
    path.write_bytes(files_of(log_dir(other))[0].read_bytes())
    assert "line 1 changed" in verified(settings, capsys)[0]
    Path(settings.storage.state_dir, "journal.sqlite").unlink()
    made(Path(settings.storage.state_dir))
    assert "the journal does not know of them" in verified(settings, capsys)[0]


def test_a_disk_that_refuses(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """go-on: the work goes on, and the log says afterwards how many events it lacks. stop: nothing is done."""
    write, strict = auditor(settings), auditor(made(Path(settings.storage.state_dir), on_failure="stop"))
    write(EVENT)
    (path,) = files_of(log_dir(settings))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))  # takes a part of a line
    try:
        with caplog.at_level(logging.ERROR):
            write(EVENT)
            write(EVENT)
        with pytest.raises(AuditUnavailable, match="errno 28"):
            strict(EVENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "an audit event could not be written (errno 28); the work goes on" in caplog.text
    assert path.read_bytes() == before
    write(EVENT)
    lines = list(events_of(log_dir(settings)))
    assert [(line.event.action, line.event.count) for line in lines] == [
        (Action.VIEW, 0), (Action.AUDIT, 2), (Action.VIEW, 0)
    ]  # fmt: skip


def test_the_journal_may_be_away(tmp_path: Path) -> None:
    """Events are written all the same; the journal learns of them with the first one after it is back."""
    settings = parse({"storage": {"state_dir": str(tmp_path), "journal_url": f"sqlite:///{tmp_path}/no/journal"}})
    write = auditor(settings)
    write(EVENT)
    assert [line.seq for line in events_of(log_dir(settings))] == [1]


@pytest.mark.xdist_group("postgresql")
def test_an_auditor_that_is_forgotten_keeps_no_connection(tmp_path: Path, postgres_url: str) -> None:
    """Auditors have no end of their own: none of their connections to a server is left to the garbage collector."""
    journal = Journal(postgres_url)
    write = auditor(parse({"storage": {"state_dir": str(tmp_path), "journal_url": postgres_url}}))
    write(EVENT)
    assert connections(journal) == 2
    del write
    gc.collect()
    deadline = time.monotonic() + 20
    while connections(journal) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)  # the server takes note of it in its own time
    assert connections(journal) == 1
    journal.close()


def connections(journal: Journal) -> int:
    """Return how many clients the journal's server has."""
    with journal.look() as connection:
        clients = connection.execute(
            text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        )
        return int(clients.scalar_one())


def test_show_prints_who_did_what(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of time, by series and since a time; for machines as the lines themselves."""
    write = auditor(settings, "dashboard")
    write(EVENT)
    write(AuditEvent(action=Action.LOG_OUT, who="anna"))
    verified(settings, capsys)
    config = ["--config", str(Path(settings.storage.state_dir) / "sgmri.toml")]
    assert main(["audit", "show", *config]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"{this_host()} dashboard 1  view success by anna  series 01234567  images")
    assert second.endswith("log-out success by anna")
    assert main(["audit", "show", "--series", "0123", "--json", *config]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["series_key"] == "0123456789abcdef"
    assert main(["audit", "show", "--since", "2999-01-01", *config]) == 0
    assert capsys.readouterr().out == ""
