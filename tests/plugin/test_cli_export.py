import re
from pathlib import Path

import pytest

from plugin.cli.main import main
from tests.worker.engine.tiny_model import save_tiny_model
from worker.engine.vision import OnnxEncoder


def test_a_checkpoint_is_exported_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`sgmri model export` writes an encoder that loads, and prints its parity over at least nine sizes."""
    checkpoint = save_tiny_model(tmp_path / "checkpoint")
    out = tmp_path / "encoder.onnx"
    assert main(["model", "export", str(checkpoint), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"\b\d+x\d+\b", printed)) >= 9, printed
    encoder = OnnxEncoder(out, provider="cpu")
    assert encoder.provider == "cpu"
    encoder.close()
