"""Read the vision tower out of a Qwen3-VL checkpoint, and nothing of its language model."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from sgmri.errors import ConfigError
from worker.engine.vision import EncoderSpec

_MODEL_TYPES = ("qwen3_vl", "qwen3_vl_moe")  # one and the same vision tower
_PREFIXES = ("model.visual.", "visual.")


def load_tower(checkpoint: Path, *, precision: str = "fp32") -> tuple[Qwen3VLVisionModel, EncoderSpec]:
    """Load the vision module of a checkpoint in float32, and nothing of the language model.

    Parameters
    ----------
    checkpoint
        Local directory in the Hugging Face layout.
    precision
        Of the encoder that the specification is for.

    Raises
    ------
    ConfigError
        If the checkpoint is not a Qwen3-VL one, or is incomplete.
    """
    config = _vision_config(checkpoint)
    patch, temporal = config.patch_size, config.temporal_patch_size
    if not (isinstance(patch, int) and isinstance(temporal, int)):
        raise ConfigError(f"expected square patches in the checkpoint's vision_config, found {patch}, {temporal}")
    mean, std = normalisation(checkpoint)
    tensors = _vision_tensors(checkpoint)
    tower = Qwen3VLVisionModel(config)
    # The bare methods: the library's own of these names are untyped
    nn.Module.eval(nn.Module.float(tower).requires_grad_(False))
    try:
        tower.load_state_dict(tensors)
    except RuntimeError as error:
        raise ConfigError(
            f"the vision tensors of {checkpoint.name} do not fit its config.json; fetch the checkpoint again ({error})"
        ) from error
    spec = EncoderSpec(
        patch=patch,
        merge=config.spatial_merge_size,
        temporal=temporal,
        side=tower.num_grid_per_side,
        mean=mean,
        std=std,
        grey_fold=len(set(mean)) == len(set(std)) == 1,
        precision=precision,
        tower_sha256=_digest(tensors),
    )
    return tower, spec


def _json(path: Path) -> dict[str, object] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path.name} of the checkpoint is not JSON; fetch the checkpoint again") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} of the checkpoint: expected an object, found {type(content).__name__}")
    return content


def _vision_config(checkpoint: Path) -> Qwen3VLVisionConfig:
    config = _json(checkpoint / "config.json")
    if config is None:
        raise ConfigError(f"expected config.json in {checkpoint}, found none; give a local checkpoint directory")
    vision = config.get("vision_config")
    if config.get("model_type") not in _MODEL_TYPES or not isinstance(vision, dict):
        raise ConfigError(
            f"expected a checkpoint of type {' or '.join(_MODEL_TYPES)} with a vision_config, "
            f"found {config.get('model_type')!r}"
        )
    # Only sizes: a checkpoint has no say in precision or attention kernel here
    known = set(Qwen3VLVisionConfig().to_dict()) - {"model_type", "dtype", "transformers_version"}
    return Qwen3VLVisionConfig(**{name: value for name, value in vision.items() if name in known})


def normalisation(checkpoint: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, for pixels in 0..1.

    Raises
    ------
    ConfigError
        If the checkpoint does not say.
    """
    found = _json(checkpoint / "preprocessor_config.json")
    if found is None:
        nested = (_json(checkpoint / "processor_config.json") or {}).get("image_processor")
        found = nested if isinstance(nested, dict) else {}
    mean, std = found.get("image_mean"), found.get("image_std")
    if not (isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) == 3):
        raise ConfigError(
            "expected image_mean and image_std of three channels in preprocessor_config.json of the checkpoint, "
            "found none; copy the file from the model it was tuned from"
        )
    return tuple(map(float, mean)), tuple(map(float, std))


def _vision_tensors(checkpoint: Path) -> dict[str, Tensor]:
    """Return the tower's tensors as stored, without the language model's."""
    index = _json(checkpoint / "model.safetensors.index.json") or {}
    weight_map = index.get("weight_map", {})
    if not isinstance(weight_map, dict):
        raise ConfigError("model.safetensors.index.json: expected a weight_map; fetch the checkpoint again")
    shards = {str(file) for name, file in weight_map.items() if name.startswith(_PREFIXES)} or {"model.safetensors"}
    tensors: dict[str, Tensor] = {}
    for shard in sorted(Path(shard).name for shard in shards):
        try:
            with safe_open(checkpoint / shard, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 (no mapping)
                    if name.startswith(_PREFIXES):
                        tensors[name.split("visual.", 1)[1]] = stored.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"expected the weights in {shard} of the checkpoint ({type(error).__name__}); fetch it again"
            ) from error
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes, types and bytes as stored: equal for a tune with a frozen tower."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        stored: NDArray[np.uint8] = tensor.reshape(-1).view(torch.uint8).numpy()
        digest.update(stored.data)
    return digest.hexdigest()
