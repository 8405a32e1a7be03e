import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from plugin.cli.main import main
from tests import receivers


def _arguments(port: int, *further: str) -> list[str]:
    return ["conformance", "network", "--peer", f"SGMRI@127.0.0.1:{port}", "--calling", "SCANNER", *further]


def test_a_report_is_written_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Console, JUnit, JSON, HTML and Markdown tell of the same checks; without a failed one the exit code is 0."""
    paths = {name: tmp_path / f"report.{name}" for name in ("junit", "json", "html", "markdown")}
    options = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    with receivers.running("own", tmp_path / "spool") as place:
        assert main(_arguments(place.scp.port, "--only", "association.", "--seed", "1", *options)) == 0
    printed = capsys.readouterr().out
    entries = json.loads(paths["json"].read_text())["entries"]
    assert len(entries) > 10
    suite = ET.fromstring(paths["junit"].read_text())  # noqa: S314 - our own
    assert [case.get("name") for case in suite] == [entry["id"] for entry in entries]
    assert suite.get("failures") == "0"
    for entry in entries:
        assert entry["evidence"]
        for text in (printed, paths["html"].read_text(), paths["markdown"].read_text()):
            assert entry["id"] in text
    for path in paths.values():
        assert "127.0.0.1" not in path.read_text()
        assert "CANARY" not in path.read_text()


def test_a_failed_check_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with its severity, its paragraph and what was sent and answered."""
    with receivers.running("own", tmp_path / "spool", max_instance_bytes=6000) as place:
        assert main(_arguments(place.scp.port, "--only", "storage.instance")) == 1
    printed = capsys.readouterr().out
    assert "fail" in printed
    assert "PS3.4 B.2.3" in printed
    assert "status 0xA700" in printed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--destructive"], "--i-own-this-system"),
        (["--listen", "nowhere"], "HOST:PORT"),
        (["--role", "tls"], "--tls-ca"),
    ],
)
def test_what_must_not_be_started_is_exit_code_2(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Destructive checks without the second option, and options that cannot be used: nothing is sent."""
    assert main(_arguments(9, *options)) == 2
    assert says in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, and is no traceback."""
    with receivers.running("own", tmp_path / "spool") as place:
        options = ["--only", "verification.echo", "--json", str(tmp_path / "no" / "report.json")]
        assert main(_arguments(place.scp.port, *options)) == 2
    assert "expected a file that can be written" in capsys.readouterr().err


def test_a_peer_that_is_away_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """That is no failed check."""
    assert main(_arguments(9)) == 2
    assert "check its address" in capsys.readouterr().err


def test_destructive_checks_run_when_they_are_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With both options they run, and the peer must answer after each."""
    with receivers.running("own", tmp_path / "spool") as place:
        options = ["--destructive", "--i-own-this-system", "--only", "destructive.p"]
        assert main(_arguments(place.scp.port, *options)) == 0
    assert "destructive.paths" in capsys.readouterr().out
