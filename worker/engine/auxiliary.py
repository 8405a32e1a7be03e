"""The auxiliary head of a bundle: where on each frame a finding may lie, read off the visual tokens directly.

It is trained beside the language model and sees what that sees. What it says is no answer: it is weighed with the
answers (:mod:`worker.engine.calibration`), and it says how much a box is worth.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional

from sgmri.errors import EngineError
from sgmri.geometry import Box
from worker.engine.vision import Features

FILE_NAME = "auxiliary.safetensors"
_TENSORS = ("hidden.weight", "hidden.bias", "labels.weight", "labels.bias")
FILLED = 0.25
"""Part of a cell, or of a box, that they share at least where the cell is to see the finding; trained that way."""
_VOLUME_FRAMES = 2
"""A volume is as suspicious as its so many most suspicious frames: one frame alone may be noise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Maps:
    """Where on each frame findings may lie.

    Parameters
    ----------
    labels
        Findings that the head knows, in the order of the last axis.
    log_odds
        float32 (frames, cell rows, cell columns, labels): cells divide a frame evenly.
    """

    labels: tuple[str, ...]
    log_odds: NDArray[np.float32]

    def on_frames(self, label: str) -> NDArray[np.float32]:
        """Return how suspicious each frame is of a label, float32 (frames,): its most suspicious cell."""
        of_label = self.log_odds[..., self.labels.index(label)]
        highest: NDArray[np.float32] = of_label.reshape(len(of_label), -1).max(axis=1)
        return highest

    def on_volume(self, labels: Iterable[str] = ()) -> float | None:
        """Return how suspicious the volume is of any of some labels, or of anything; None where none is known."""
        known = [label for label in labels if label in self.labels] if labels else list(self.labels)
        highest = [np.sort(self.on_frames(label))[-_VOLUME_FRAMES:].mean() for label in known]
        return float(max(highest)) if highest else None

    def on_box(self, label: str, frame_index: int, box: Box, shape: tuple[int, int]) -> float | None:
        """Return the log-odds of the most suspicious cell that a box fills; None for a label that is not known.

        A cell counts where it holds a quarter of the box, or a quarter of it is box: what the head was trained to see.

        Parameters
        ----------
        label, frame_index
            Which finding on which frame.
        box
            In pixels of a frame.
        shape
            Rows and columns of a frame.
        """
        if label not in self.labels:
            return None
        cells = self.log_odds[frame_index, :, :, self.labels.index(label)]
        high, wide = shape[0] / cells.shape[0], shape[1] / cells.shape[1]
        top, left = np.arange(cells.shape[0])[:, None] * high, np.arange(cells.shape[1]) * wide
        down = np.clip(np.minimum(box.y1, top + high) - np.maximum(box.y0, top), 0, None)
        across = np.clip(np.minimum(box.x1, left + wide) - np.maximum(box.x0, left), 0, None)
        shared = down * across
        fills = shared >= min(FILLED * min(box.area, high * wide), float(shared.max()))
        return float(cells[fills].max())


class AuxiliaryHead:
    """Two layers on each visual token and its first deep-stack level.

    Parameters
    ----------
    labels
        In the order of the outputs.
    tensors
        The layers' weights and biases.
    """

    def __init__(self, labels: Sequence[str], tensors: Sequence[Tensor]) -> None:
        self.labels = tuple(labels)
        self._hidden, self._labels = tensors[:2], tensors[2:]

    def maps(self, features: Features, cells: tuple[int, int]) -> Maps:
        """Return where findings may lie.

        Parameters
        ----------
        features
            Of a volume.
        cells
            Rows and columns of visual tokens on a frame.
        """
        tokens = torch.from_numpy(np.concatenate([features.embeds, features.deepstack[0]], axis=2))
        hidden = functional.gelu(functional.linear(tokens, self._hidden[0], self._hidden[1]))
        said = functional.linear(hidden, self._labels[0], self._labels[1])
        return Maps(labels=self.labels, log_odds=said.reshape(len(said), *cells, -1).numpy())


def read(path: Path) -> AuxiliaryHead:
    """Read a bundle's auxiliary head.

    Raises
    ------
    EngineError
        If it is none.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            labels = json.loads((opened.metadata() or {})["labels"])
            tensors = [opened.get_tensor(name).float() for name in _TENSORS]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise EngineError(
            f"{path.name}: expected the auxiliary head of a bundle, found {type(error).__name__}; build the bundle "
            "again"
        ) from None
    if tensors[2].shape != (len(labels), tensors[0].shape[0]):
        raise EngineError(f"{path.name}: expected {len(labels)} labels, found weights of {tuple(tensors[2].shape)}")
    return AuxiliaryHead(labels, tensors)


def write(path: Path, labels: Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Write an auxiliary head in half precision.

    Parameters
    ----------
    path
        The file.
    labels
        In the order of the outputs.
    tensors
        Weight and bias of the hidden layer, then of the labels.
    """
    arrays = {name: tensor.detach().half().numpy() for name, tensor in zip(_TENSORS, tensors, strict=True)}
    save_file(arrays, path, metadata={"labels": json.dumps(list(labels))})
