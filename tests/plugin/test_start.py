import subprocess
import sys
from pathlib import Path

import pytest

READING_AND_PAGES = {"scipy", "fpdf", "pypdf", "torch", "onnxruntime"}


@pytest.mark.parametrize("module", ["plugin.listener", "worker.tasks", "plugin.cli.serve"])
def test_a_process_starts_without_what_only_a_reading_or_a_page_needs(module: str) -> None:
    """Listener, delivery and the command load no image processing, no PDF library and no model stack."""
    script = f"import sys, {module}\nprint(sorted({READING_AND_PAGES} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
