"""Checkpoints of a fine-tuning: whole or not there, and taken up only by the training that wrote them."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.finetune.student import trained
from sgmri.errors import ConfigError

_WEIGHTS, _STATE = "trained.safetensors", "state.json"
_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """The checkpoints below a folder.

    Parameters
    ----------
    accelerator
        Holds model and optimiser, prepared.
    folder
        Of all of them.
    digest
        Of the configuration: another one's checkpoints are refused.
    keep
        How many stay.
    """

    accelerator: Accelerator
    folder: Path
    digest: str
    keep: int

    def __post_init__(self) -> None:
        # Frozen weights are on the disk already; where weights are sharded, only accelerate can put them together
        if self.accelerator.distributed_type not in _SHARDED:
            self.accelerator.register_save_state_pre_hook(self._save_trained)
            self.accelerator.register_load_state_pre_hook(self._load_trained)

    def save(self, step: int) -> None:
        """Write the checkpoint of a finished step, and remove the oldest ones."""
        final = self.folder / f"step-{step:07d}"
        scratch = self.folder / f"{final.name}.partial"
        self.accelerator.save_state(str(scratch))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (scratch / _STATE).write_text(json.dumps({"step": step, "digest": self.digest}), encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            scratch.rename(final)
            for old in self._whole()[: -self.keep]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def resume(self) -> int:
        """Take up the latest checkpoint, random numbers included; return its step, 0 where there is none.

        Raises
        ------
        ConfigError
            If it is of another configuration.
        """
        whole = self._whole()
        if not whole:
            return 0
        state = json.loads((whole[-1] / _STATE).read_text(encoding="utf-8"))
        if state["digest"] != self.digest:
            raise ConfigError(
                f"{self.folder}: expected checkpoints of this configuration, found those of another; give another "
                "folder as out, or remove them"
            )
        self.accelerator.load_state(str(whole[-1]))
        return int(state["step"])

    def _whole(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob(f"step-*[0-9]/{_STATE}"))

    def _save_trained(self, models: list[nn.Module], weights: list[Any], directory: str) -> None:
        weights.clear()
        if self.accelerator.is_main_process:
            plain = trained(self.accelerator.unwrap_model(models[0]))
            save_file({name: one.detach().contiguous() for name, one in plain.items()}, Path(directory) / _WEIGHTS)

    def _load_trained(self, models: list[nn.Module], directory: str) -> None:
        plain = trained(self.accelerator.unwrap_model(models.pop()))
        stored = load_file(Path(directory) / _WEIGHTS)
        with torch.no_grad():
            for name, parameter in plain.items():
                parameter.copy_(stored[name])
