"""What the product writes into its audit log: of whom, of what, and nothing of a patient."""

import getpass
import hashlib
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from conformance.phantoms import make, write
from dicom_io.network import Destination, echo
from dicom_io.scu import sendable, store
from dicom_io.spool import Spool
from plugin.beginnings import audited
from plugin.cli.main import main
from plugin.demo import answers
from plugin.listener import ListenerService, spool_dir
from plugin.parts import free_port, wait_until
from plugin.processes import Processes
from plugin.retention import Retention
from plugin.settings import load
from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.errors import AuditUnavailable, PeerRejects, PeerUnavailable
from sgmri.lifecycle import State
from sgmri.settings import parse
from tests.worker.test_worklist import queue
from worker.audit import auditor
from worker.auditing.files import audit_dir, events_of, this_host
from worker.auditing.floods import MOST_LINES
from worker.database import sqlite_url
from worker.journal import Journal
from worker.journal_tables import SERIES


def refuse(event: AuditEvent) -> None:
    raise AuditUnavailable("expected an audit log, found none")


def written(state_dir: Path) -> list[AuditEvent]:
    settings = parse({"storage": {"state_dir": str(state_dir)}})
    return [line.event for line in events_of(audit_dir(settings) / this_host())]


def config_in(directory: Path, more: str = "") -> Path:
    path = directory / "sgmri.toml"
    path.write_text(
        f'[storage]\nstate_dir = "{directory}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n{more}', encoding="utf-8"
    )
    return path


def test_the_listener_writes_what_it_receives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for a series of many instances; no name, identifier or UID of the patient is in it."""
    config = config_in(tmp_path, '[listener]\nport = 0\nmin_free_bytes = 1\n[[listener.peers]]\nae_title = "SCANNER"\n')
    phantom = make("brain-normal")
    service = ListenerService(load(config))
    service.start()
    try:
        called = Destination(ae_title="SGMRI", host="127.0.0.1", port=service.port, calling_ae_title="SCANNER")
        store(called, [sendable(path) for path in write(phantom, tmp_path / "brain")])
        deadline = time.monotonic() + 30
        while not written(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        service.stop()
    (event,) = written(tmp_path)
    assert (event.action, event.who, event.count) == (Action.RECEIVE, "SCANNER@127.0.0.1", len(phantom.datasets))
    assert (spool_dir(load(config)) / event.series_key).is_dir()
    assert main(["audit", "verify", "--config", str(config)]) == 0
    said = b"".join(path.read_bytes() for path in (tmp_path / "audit").rglob("*.jsonl")).decode()
    canaries = phantom.canaries
    source = phantom.datasets[0]
    for secret in (
        *(canaries.patient_name, canaries.patient_id, canaries.patient_birth_date, canaries.accession_number),
        *(str(source.StudyInstanceUID), str(source.SeriesInstanceUID), str(source.SOPInstanceUID)),
    ):
        assert secret not in said


def test_operators_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands by the user of the operating system, before they are done; what could not be done says so."""
    journal = Journal(sqlite_url(tmp_path))
    queue(journal, "aaaa")
    config = ["--config", str(config_in(tmp_path))]
    assert main(["suspend", *config]) == 0
    assert main(["resume", *config]) == 0
    assert main(["drain", *config]) == 0
    assert main(["lane", "aaaa", "stat", *config]) == 0
    assert main(["retry", "aaaa", *config]) == 0
    assert main(["reread", "aaaa", *config]) == 1
    assert main(["retract", "aaaa", *config]) == 1
    journal.close()
    events = written(tmp_path)
    assert {event.action for event in events} == {Action.OPERATE}
    assert all(event.who.startswith(getpass.getuser()) for event in events)
    assert [(event.detail, event.series_key, event.outcome) for event in events] == [
        ("worklist SUSPENDED", "", Outcome.SUCCESS),
        ("worklist RUNNING", "", Outcome.SUCCESS),
        ("worklist FINISHING", "", Outcome.SUCCESS),
        ("lane stat", "aaaa", Outcome.SUCCESS),
        ("retry", "aaaa", Outcome.SUCCESS),
        ("reread", "aaaa", Outcome.SUCCESS),
        ("reread: not done", "aaaa", Outcome.FAILURE),
        ("retract quality", "aaaa", Outcome.SUCCESS),
        ("retract quality: not done", "aaaa", Outcome.FAILURE),
    ]


def test_what_leaves_the_disk_is_written_before(tmp_path: Path) -> None:
    """A deletion that cannot be recorded does not happen; one that is, names the series and why."""
    journal = Journal(sqlite_url(tmp_path))
    spool = Spool(tmp_path / "spool")
    queue(journal, "a" * 16)
    with journal.begin() as connection:
        connection.execute(update(SERIES).values(state=State.SKIPPED))
    place = tmp_path / "spool" / ("a" * 16)
    place.mkdir(parents=True)
    events: list[AuditEvent] = []
    retention = Retention(
        settings=parse({"retention": {"skipped_days": 1e-9}}),
        journal=journal,
        spool=spool,
        outbox_dir=tmp_path / "outbox",
        audit=events.append,
        who="anna",
    )
    time.sleep(0.01)
    assert len(list(retention.clean())) == 1
    assert not place.exists()
    assert [(event.action, event.who, event.series_key, event.detail) for event in events] == [
        (Action.DELETE, "anna", "a" * 16, "age")
    ]
    place.mkdir()
    with pytest.raises(AuditUnavailable):
        list(replace(retention, audit=refuse).clean())
    assert place.is_dir()
    journal.close()


def test_a_start_says_which_settings_it_has(tmp_path: Path) -> None:
    """Begin and end of a process with the file's digest, and a change of it since its last start."""
    config = config_in(tmp_path)
    Journal(sqlite_url(tmp_path)).close()
    for text in ("", "", "[series]\nquiet_period_s = 2\n"):
        config.write_text(config.read_text(encoding="utf-8") + text, encoding="utf-8")
        with audited(auditor(load(config), "worker"), load(config), "worker", config):
            pass
    events = written(tmp_path)
    assert [event.action for event in events] == [
        *(Action.START, Action.STOP) * 2, Action.START, Action.CONFIGURE, Action.STOP
    ]  # fmt: skip
    assert hashlib.sha256(config.read_bytes()).hexdigest() in events[4].detail
    assert events[0].detail == events[2].detail != events[4].detail
    assert events[5].detail == f"before: {events[0].detail}"
    assert main(["audit", "verify", "--config", str(config)]) == 0


def test_a_listener_that_must_record_gives_up(tmp_path: Path) -> None:
    """on_failure = stop: a rejection that cannot be written ends the listener; START of the next one fails likewise."""
    config = config_in(tmp_path, '[listener]\nport = 0\n[audit]\non_failure = "stop"\n')
    gave_up = threading.Event()
    service = ListenerService(load(config), gave_up.set)
    service.start()
    try:
        (tmp_path / "audit").write_bytes(b"in the way")
        with pytest.raises(PeerUnavailable):
            echo(Destination(ae_title="SGMRI", host="127.0.0.1", port=service.port, calling_ae_title="STRANGER"))
        assert gave_up.wait(30)
    finally:
        service.stop()
    with pytest.raises(AuditUnavailable), audited(auditor(load(config)), load(config), "listener", config):
        pass


def test_a_flood_is_counted_until_the_listener_stops(tmp_path: Path) -> None:
    """What the process held back of a stranger's calls stands before its end."""
    port = free_port()
    peers = '[[listener.peers]]\nae_title = "SCANNER"\n'
    config = config_in(tmp_path, f"[listener]\nport = {port}\nmin_free_bytes = 1\n{peers}")
    scanner = Destination(ae_title="SGMRI", host="127.0.0.1", port=port, calling_ae_title="SCANNER")
    with Processes(tmp_path) as processes:
        processes.start("listener", [sys.executable, "-m", "plugin.cli", "serve", "listener", "--config", str(config)])
        wait_until(lambda: answers(scanner), processes, "the listener", timeout_s=60.0)
        for _ in range(MOST_LINES + 3):
            with pytest.raises(PeerRejects):
                echo(replace(scanner, calling_ae_title="STRANGER"))
        processes.stop_all()
    events = written(tmp_path)
    refused = [event for event in events if event.action is Action.REFUSE]
    assert sum(event.count or 1 for event in refused) >= MOST_LINES + 3
    assert refused[-1].count >= 3
    assert events[-1].action is Action.STOP
