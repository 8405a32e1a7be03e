"""The demo as a newcomer starts it, with the parts that every machine has."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

COMMAND = [sys.executable, "-m", "plugin.cli", "demo"]


def processes_of(temporary: Path) -> list[str]:
    """Return the command lines that mention a directory."""
    lines = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError):
            continue
        if str(temporary) in line:
            lines.append(line)
    return lines


def demo(tmp_path: Path, *options: str) -> "subprocess.Popen[str]":
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [*COMMAND, "--out", str(tmp_path / "out"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def test_the_demo_needs_nothing_but_python(tmp_path: Path) -> None:
    """Embedded broker and PACS: exit code 0, everything that it promises to show, and nothing left behind."""
    child = demo(tmp_path, "--broker", "embedded", "--pacs", "embedded")
    printed, _ = child.communicate(timeout=150)
    assert child.returncode == 0, printed
    for promise in (
        "Timeline",
        "COMMITTED",
        "Questions and answers",
        "Planted lesions found: 4 of 4",
        "asked with C-FIND",
        "the objects say what the worker found",
        "Research use only",
    ):
        assert promise in printed
    for name in ("contact-sheet.png", "reading.json", "sr.dcm", "seg.dcm"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert processes_of(tmp_path / "tmp") == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM in the middle: every child ends and the temporary directory is removed."""
    # A shell's background has SIGINT ignored, and a child inherits that
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    child = demo(tmp_path, "--broker", "embedded", "--pacs", "embedded", "--engine", "classical")
    signal.signal(signal.SIGINT, ours)
    assert child.stdout is not None
    for line in child.stdout:
        if "listener" in line:
            break
    assert processes_of(tmp_path / "tmp")
    child.send_signal(number)
    child.communicate(timeout=30)
    assert child.returncode == 130
    deadline = time.monotonic() + 5
    while processes_of(tmp_path / "tmp") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(tmp_path / "tmp") == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_viewer_needs_a_pacs_with_dicomweb(tmp_path: Path) -> None:
    """``--view`` over the small PACS: wrong usage, and the words say what to install."""
    child = demo(tmp_path, "--broker", "embedded", "--pacs", "embedded", "--view")
    printed, _ = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "expected a PACS with DICOMweb for the viewer" in printed
    assert "apt-get install orthanc orthanc-dicomweb" in printed
