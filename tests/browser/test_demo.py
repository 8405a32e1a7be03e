"""The demo with its viewer, as a newcomer opens it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page

from plugin.viewer import ohif
from tests.e2e.system import require


def test_the_printed_link_opens_the_boxes(page: Page, tmp_path: Path) -> None:
    """``--view`` prints a link, keeps serving, and the link opens every box of the reading over its images."""
    require("Orthanc")
    require("redis-server")
    if not ohif.place().is_dir():
        pytest.skip("OHIF is not in the cache; scripts/browser fetches it")
    command = [sys.executable, "-m", "plugin.cli", "demo", "--view", "--engine", "classical", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert child.stdout is not None
    try:
        printed = []
        for line in child.stdout:
            printed.append(line)
            if "/viewer?" in line:
                break
        assert printed[-1].startswith("http://127.0.0.1:"), "".join(printed)
        boxes = next(line for line in printed if "Read back" in line).partition("(")[2].split()[0]
        page.goto(printed[-1].strip())
        page.wait_for_function(f"() => window.services?.measurementService?.getMeasurements().length === {int(boxes)}")
    finally:
        page.close()  # first: what it still loads would find nobody
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)
