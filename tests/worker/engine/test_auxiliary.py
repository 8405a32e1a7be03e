from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sgmri.errors import EngineError
from sgmri.geometry import Box
from worker.engine.auxiliary import Maps, read, write
from worker.engine.vision import Features

_LABELS = ("Mass", "Edema", "Lacunar infarct")
_WIDTH = 8


def _layers() -> tuple[nn.Linear, nn.Linear]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(2 * _WIDTH, 6), nn.Linear(6, len(_LABELS))


def _written(tmp_path: Path) -> Path:
    hidden, out = _layers()
    path = tmp_path / "auxiliary.safetensors"
    write(path, _LABELS, [hidden.weight, hidden.bias, out.weight, out.bias])
    return path


def test_it_computes_what_was_trained(tmp_path: Path) -> None:
    """Two layers with GELU on embedding and first deep-stack level, cells in the order of the tokens."""
    rng = np.random.default_rng(0)
    embeds, level = (rng.normal(size=(4, 6, _WIDTH)).astype(np.float32) for _ in range(2))
    maps = read(_written(tmp_path)).maps(Features(embeds=embeds, deepstack=(level,)), (2, 3))
    hidden, out = _layers()
    with torch.no_grad():
        expected = out(nn.functional.gelu(hidden(torch.from_numpy(np.concatenate([embeds, level], axis=2)))))
    assert maps.labels == _LABELS
    assert maps.log_odds.shape == (4, 2, 3, 3)
    np.testing.assert_allclose(maps.log_odds.reshape(4, 6, 3), expected.numpy(), atol=2e-3)


def test_frames_volume_and_boxes() -> None:
    """A frame is its highest cell, a volume its two highest frames, a box the highest cell that it fills."""
    log_odds = np.full((3, 2, 4, 2), -5.0, np.float32)
    log_odds[0, 1, 2, 0], log_odds[2, 0, 0, 0] = 3.0, 1.0
    maps = Maps(labels=("Mass", "Edema"), log_odds=log_odds)
    assert maps.on_frames("Mass").tolist() == [3.0, -5.0, 1.0]
    assert maps.on_volume(["Mass"]) == 2.0
    assert maps.on_volume(["Edema", "Mass"]) == maps.on_volume() == 2.0
    assert maps.on_volume(["Dural thickening"]) is None
    # Cells of 50 x 50 pixels
    assert maps.on_box("Mass", 0, Box(x0=97.0, y0=47.0, x1=105.0, y1=55.0), (100, 200)) == 3.0
    assert maps.on_box("Mass", 0, Box(x0=95.0, y0=45.0, x1=101.0, y1=51.0), (100, 200)) == -5.0
    assert maps.on_box("Mass", 0, Box(x0=0.0, y0=0.0, x1=200.0, y1=100.0), (100, 200)) == 3.0
    assert maps.on_box("Mass", 0, Box(x0=199.5, y0=99.5, x1=200.0, y1=100.0), (100, 200)) == -5.0
    assert maps.on_box("Dural thickening", 0, Box(x0=0.0, y0=0.0, x1=1.0, y1=1.0), (100, 200)) is None


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    """A missing file, another file, a head with too few labels: no model is run with it."""
    with pytest.raises(EngineError, match="auxiliary head"):
        read(tmp_path / "auxiliary.safetensors")
    (tmp_path / "auxiliary.safetensors").write_bytes(b"no tensors")
    with pytest.raises(EngineError, match="auxiliary head"):
        read(tmp_path / "auxiliary.safetensors")
    hidden, out = _layers()
    write(tmp_path / "short.safetensors", _LABELS[:2], [hidden.weight, hidden.bias, out.weight, out.bias])
    with pytest.raises(EngineError, match="expected 2 labels"):
        read(tmp_path / "short.safetensors")
