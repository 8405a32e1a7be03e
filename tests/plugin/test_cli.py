"""The command line as a user meets it: what comes out, and how bad input is refused."""

import json
import shutil
from pathlib import Path

import pytest
from pydicom import dcmread

from conformance.phantoms import make, make_non_mr, write
from dicom_io.objects.key_objects import decode_key_objects
from plugin.cli.main import main
from sgmri import RESEARCH_USE_STATEMENT, readings
from sgmri.lifecycle import State
from sgmri.questions import Presence
from tests.worker.place import leased
from worker.database import sqlite_url
from worker.journal import Journal
from worker.outbox import Outbox, ResultRow
from worker.receipts import Received

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="module")
def brain_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write(make("brain"), tmp_path_factory.mktemp("brain"))


@pytest.mark.parametrize("series", ["classic_mr_brain/ge_signa_fse_pd_ax", "knee/ge_mr750_mese_sag_te19"])
def test_real_series_are_read(series: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real GE brain and a real GE knee (Big Endian, no anatomy in the text) give SR, reading and picture."""
    if not (SHARED / series).exists():
        pytest.skip("the shared data are not here")
    out = tmp_path / "out"
    assert main(["read", str(SHARED / series), "--out", str(out)]) == 0
    reading = readings.from_json((out / "reading.json").read_text(encoding="utf-8"))
    assert (out / "seg.dcm").exists() is bool(reading.tracklets)
    assert dcmread(out / "sr.dcm").Modality == "SR"
    assert (out / "contact-sheet.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert RESEARCH_USE_STATEMENT in printed
    assert "-> not assessed" in printed


def test_a_phantom_is_read_the_same_twice(brain_files: tuple[Path, ...], tmp_path: Path) -> None:
    """Reading a folder again writes the same objects, byte for byte."""
    for name in ("first", "second"):
        assert main(["read", str(brain_files[0].parent), "--out", str(tmp_path / name)]) == 0
    for name in ("sr.dcm", "seg.dcm", "reading.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
    reading = readings.from_json((tmp_path / "first" / "reading.json").read_text(encoding="utf-8"))
    answers = {answer.question_id: answer for answer in reading.answers}
    assert answers["brain.any"].presence is Presence.PRESENT
    assert answers["brain.where.any"].evidence == reading.tracklets


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the refusal; exit code 2 and no traceback are part of the claim."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out + captured.err


def test_a_file_that_is_no_dicom_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal says what was expected, and nothing is written."""
    path = tmp_path / "notes.txt"
    path.write_text("not DICOM")
    assert "expected DICOM" in refused(["read", str(path), "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


def test_a_stray_file_beside_a_study_does_not_matter(
    brain_files: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text file in the folder is named and left out; the study is read."""
    folder = tmp_path / "in"
    shutil.copytree(brain_files[0].parent, folder)
    (folder / "README.txt").write_text("not DICOM")
    assert main(["read", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "README.txt" in capsys.readouterr().err


def test_a_truncated_instance_is_refused(
    brain_files: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A series with a cut file is not read as if it were whole."""
    folder = tmp_path / "in"
    shutil.copytree(brain_files[0].parent, folder)
    victim = sorted(folder.iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:-4000])
    text = refused(["read", str(folder), "--out", str(tmp_path / "out")], capsys)
    assert "pixel data" in text.lower()
    assert not (tmp_path / "out" / "sr.dcm").exists()


def test_a_study_without_mr_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CT is left out with its reason."""
    make_non_mr().save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    assert "NOT_MR" in refused(["read", str(tmp_path / "ct.dcm"), "--out", str(tmp_path / "out")], capsys)


def test_two_studies_in_a_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which of two patients is meant is not guessed."""
    write(make("brain-normal", seed=1), tmp_path / "in" / "a")
    write(make("brain-normal", seed=2), tmp_path / "in" / "b")
    assert "found 2" in refused(["read", str(tmp_path / "in"), "--out", str(tmp_path / "out")], capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "nowhere", "--out", "out"],
        ["send", "nowhere", "--to", "PACS@127.0.0.1:104"],
        ["send", ".", "--to", "PACS"],
        ["send", ".", "--to", "PACS@127.0.0.1:99999"],
        ["status", "--config", "nowhere.toml"],
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path or address that cannot be meant is refused with what was expected."""
    monkeypatch.chdir(tmp_path)
    assert "expected" in refused(arguments, capsys)


@pytest.mark.parametrize("arguments", [["read"], ["serve", "everything"], ["demo", "--phantom", "dragon"], []])
def test_an_unknown_argument_is_exit_code_2(arguments: list[str]) -> None:
    """Argparse's own refusals end with 2 as well."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_sending_to_nobody_is_exit_code_1(brain_files: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A peer that is not there is a failure, not a usage error, and the text says what to check."""
    assert main(["send", str(brain_files[0]), "--to", "NOBODY@127.0.0.1:1", "--timeout", "2"]) == 1
    assert "check that it runs" in capsys.readouterr().err


def received(number: int) -> Received:
    return Received(
        series_key="abcdefgh12345678",
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        sop_instance_uid=f"2.25.10{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        file_name=f"{number}.dcm",
        size_bytes=1,
    )


def test_status_of_an_empty_system_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first study there is nothing to show, and the broker's absence is no crash."""
    config = tmp_path / "sgmri.toml"
    config.write_text(f'[storage]\nstate_dir = "{tmp_path / "state"}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n')
    assert main(["status", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["series"] == []


def read(journal: Journal, number: int, predecessor_uid: str | None = None) -> None:
    """Let an instance come and the series be read, with a report of the UID 2.25.<number>."""
    journal.receive(received(number))
    for state in (State.COMPLETE, State.QUEUED):
        journal.move(journal.series("abcdefgh12345678"), state)
    row = leased(journal, journal.series("abcdefgh12345678"), "me", 60.0)
    assert row is not None
    report = ResultRow(
        kind="SR",
        sop_class_uid="1.2",
        sop_instance_uid=f"2.25.{number}",
        series_instance_uid="2.25.9",
        file_name="sr.dcm",
        position=0,
        predecessor_uid=predecessor_uid,
    )
    assert Outbox(journal=journal).put(row, [report])


def test_status_shows_which_reading_revises_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a late instance the line names both readings, JSON links them, and neither shows a UID."""
    config = tmp_path / "sgmri.toml"
    config.write_text(f'[storage]\nstate_dir = "{tmp_path}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n')
    journal = Journal(sqlite_url(tmp_path))
    read(journal, 1)
    read(journal, 2, predecessor_uid="2.25.1")
    assert main(["status", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("; reading 1 revises reading 0")
    assert main(["status", "--json", "--config", str(config)]) == 0
    text = capsys.readouterr().out
    (series,) = json.loads(text)["series"]
    waiting = {"stored": False, "committed": False, "retracted": None, "note_sent": False}
    assert series["readings"] == [
        {"generation": 0, **waiting, "revises": None, "superseded_by": 1},
        {"generation": 1, **waiting, "revises": 0, "superseded_by": None},
    ]
    assert "2.25." not in printed + text
    journal.receive(received(3))
    assert main(["status", "--config", str(config)]) == 0
    assert "RECEIVING" in (printed := capsys.readouterr().out)
    assert printed.rstrip().endswith("; reading 1 is of fewer instances")
    journal.close()


def test_doctor_finds_this_machine_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """The machine that runs the tests has what a listener needs, and our package names are ours."""
    assert main(["doctor"]) == 0
    assert "[ok  ] package names: ours alone" in capsys.readouterr().out


def test_doctor_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broker and a destination that do not answer, and a certificate that is not there: each with what to check."""
    config = tmp_path / "sgmri.toml"
    config.write_text(
        f'[storage]\nstate_dir = "{tmp_path / "state"}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n'
        '[delivery]\nae_title = "PACS"\nport = 1\ntimeout_s = 2\n'
        '[listener.tls]\ncertificate = "none.crt"\nkey = "none.key"\nca = "none.pem"\n'
    )
    assert main(["doctor", "--config", str(config)]) == 1
    printed = capsys.readouterr().out
    assert "[FAIL] listener.tls: listener.tls certificate: expected a readable PEM file" in printed
    assert "[FAIL] broker" in printed
    assert "[FAIL] destination" in printed
    assert "[ok  ] journal" in printed


def test_doctor_names_a_broken_rule_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule file that is missing or wrong fails the examination with the place and the remedy."""
    rules, config = tmp_path / "rules.toml", tmp_path / "sgmri.toml"
    config.write_text(
        f'[storage]\nstate_dir = "{tmp_path / "state"}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n'
        f'[worker]\nengine = "classical"\n[selection]\nrules = "{rules}"\n'
    )
    rule = "[[rule]]\nname = 'x'\nwhen = '{} > 3'\nleave = true\n"
    for content, expected in (
        (None, f"[FAIL] rules: {rules}: expected a readable rule file"),
        (
            rule.format("frame"),
            f"[FAIL] rules: {rules}: rule 1 ('x'): when: unknown name 'frame'; did you mean 'frames'?",
        ),
        (rule.format("frames"), "[ok  ] rules: "),
    ):
        if content is not None:
            rules.write_text(content, encoding="utf-8")
        main(["doctor", "--config", str(config)])
        line = next(line for line in capsys.readouterr().out.splitlines() if "] rules: " in line)
        assert line.startswith(expected)
        assert "[FAIL]" not in line or "sgmri select --rules" in line


def test_a_failed_series_can_be_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Retry puts FAILED back into the queue with its attempts forgotten; a series that is done has nothing to retry."""
    config = tmp_path / "sgmri.toml"
    config.write_text(f'[storage]\nstate_dir = "{tmp_path}"\n')
    journal = Journal(sqlite_url(tmp_path))
    journal.receive(received(1))
    assert main(["retry", "abc", "--config", str(config)]) == 1
    journal.move(journal.series("abcdefgh12345678"), State.COMPLETE)
    journal.move(journal.series("abcdefgh12345678"), State.FAILED, attempts=3)
    assert main(["retry", "xyz", "--config", str(config)]) == 2
    assert main(["retry", "abc", "--config", str(config)]) == 0
    row = journal.series("abcdefgh12345678")
    assert (row.state, row.attempts) == (State.QUEUED, 0)
    assert "FAILED -> QUEUED" in capsys.readouterr().out
    journal.close()


def test_a_series_is_cancelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cancel ends what waits, with its reason, and retry takes it up; where nothing is under way it is refused."""
    config = tmp_path / "sgmri.toml"
    config.write_text(f'[storage]\nstate_dir = "{tmp_path}"\n')
    journal = Journal(sqlite_url(tmp_path))
    journal.receive(received(1))
    assert main(["cancel", "abc", "--config", str(config)]) == 1
    for state in (State.COMPLETE, State.QUEUED):
        journal.move(journal.series("abcdefgh12345678"), state)
    assert main(["cancel", "abc", "--config", str(config)]) == 0
    assert "QUEUED -> FAILED (CANCELLED)" in capsys.readouterr().out
    assert main(["retry", "abc", "--config", str(config)]) == 0
    assert journal.series("abcdefgh12345678").state is State.QUEUED
    journal.close()


def test_reread_needs_a_reading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reread queues what was read as a new reading; a series that was not read, and an unknown key, are refused."""
    config = tmp_path / "sgmri.toml"
    config.write_text(f'[storage]\nstate_dir = "{tmp_path}"\n')
    journal = Journal(sqlite_url(tmp_path))
    journal.receive(received(1))
    assert main(["reread", "abc", "--config", str(config)]) == 1
    assert "RECEIVING has no reading" in capsys.readouterr().err
    assert main(["reread", "xyz", "--config", str(config)]) == 2
    read(journal, 2)
    assert main(["reread", "abc", "--config", str(config)]) == 0
    assert "READ -> QUEUED, for reading 1" in capsys.readouterr().out
    row = journal.series("abcdefgh12345678")
    assert (row.state, row.generation, row.attempts) == (State.QUEUED, 1, 0)
    journal.close()


def test_retract_and_status_name_the_reading(
    brain_files: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reading is taken back with the default reason; status shows it; a second time there is nothing left."""
    out = tmp_path / "outbox" / "abcdefgh12345678" / "0"
    assert main(["read", str(brain_files[0].parent), "--engine", "classical", "--out", str(out)]) == 0
    config = tmp_path / "sgmri.toml"
    config.write_text(f'[storage]\nstate_dir = "{tmp_path}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n')
    journal = Journal(sqlite_url(tmp_path))
    assert main(["retract", "abc", "--config", str(config)]) == 2
    read(journal, 0)
    capsys.readouterr()
    assert main(["retract", "abc", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert "abcdefgh  reading 0 retracted (REJECTED_QUALITY); note:" in printed
    note = decode_key_objects(dcmread(out / "rejection.dcm"))
    assert note.objects == ((str(dcmread(out / "sr.dcm").SOPInstanceUID), ()),)
    assert main(["status", "--config", str(config)]) == 0
    assert "RETRACTED (REJECTED_QUALITY)" in (printed := capsys.readouterr().out)
    assert printed.rstrip().endswith("; reading 0 is retracted")
    assert main(["retract", "abc", "--config", str(config)]) == 1
    assert "none to take back" in capsys.readouterr().err
    journal.close()


def test_a_note_that_is_not_out_is_told(
    brain_files: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the destination away, exit code 1 says what to do, and status that the note is not sent yet."""
    out = tmp_path / "outbox" / "abcdefgh12345678" / "0"
    assert main(["read", str(brain_files[0].parent), "--engine", "classical", "--out", str(out)]) == 0
    config = tmp_path / "sgmri.toml"
    config.write_text(
        f'[storage]\nstate_dir = "{tmp_path}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n'
        '[delivery]\nae_title = "NOBODY"\nport = 1\ntimeout_s = 2\n'
    )
    journal = Journal(sqlite_url(tmp_path))
    read(journal, 0)
    for _ in range(2):
        assert main(["retract", "abc", "--reason", "worklist", "--config", str(config)]) == 1
        assert "repeat this command" in capsys.readouterr().err
    assert main(["status", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert "RETRACTED (REJECTED_WORKLIST)" in printed
    assert printed.rstrip().endswith("; reading 0 is retracted, its note is not sent yet")
    journal.close()
