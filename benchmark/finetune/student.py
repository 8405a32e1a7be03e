"""The model that learns: loaded whole, frozen but for the parts that are named, with adapters where asked for."""

import re
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import Qwen3VLForConditionalGeneration

from benchmark.finetune.config import FinetuneConfig, Method, Modules, Part
from worker.engine.checkpoint import load_checkpoint

_LANGUAGE = {Modules.ATTENTION: r"self_attn\.[qkvo]_proj", Modules.MLP: r"mlp\.(gate|up|down)_proj"}
_VISION = {
    Part.MERGER: r".*\.visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
    Part.TOWER: r".*\.visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])",
}


def enrol(config: FinetuneConfig, checkpoint: Path, device: torch.device) -> nn.Module:
    """Load the model and prepare what is to learn.

    Parameters
    ----------
    config
        Method, parts and adapters.
    checkpoint
        Of the base model.
    device
        On a GPU, weights that adapters stand beside are kept in bfloat16; what learns is always float32.

    Raises
    ------
    ConfigError
        If there is no such model.
    """
    frozen_bf16 = device.type == "cuda" and config.train.method is Method.LORA
    model = load_checkpoint(checkpoint, torch.bfloat16 if frozen_bf16 else torch.float32)
    model.config.use_cache = False
    with warnings.catch_warnings():
        # Older names, that of transformers 5.17 and the one that peft 0.21 asks for
        warnings.filterwarnings("ignore", message="`(is_)?gradient_checkpointing", category=FutureWarning)
        if config.train.checkpointing:
            model.gradient_checkpointing_enable(  # type: ignore[no-untyped-call]  # transformers
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
        if config.train.method is Method.LORA:
            return get_peft_model(model, _adapters(config))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in config.train.parts)
    return model


def _adapters(config: FinetuneConfig) -> LoraConfig:
    sizes = config.lora
    return LoraConfig(r=sizes.rank, lora_alpha=sizes.alpha, lora_dropout=sizes.dropout, target_modules=adapted(config))


def adapted(config: FinetuneConfig) -> str:
    """Return the expression for the names of the modules that get adapters."""
    patterns = [_VISION[part] for part in config.train.parts if part is not Part.LANGUAGE]
    if Part.LANGUAGE in config.train.parts:
        inside = "|".join(_LANGUAGE[one] for one in config.lora.modules)
        patterns.append(rf".*\.language_model\.layers\.\d+\.({inside})")
    return "|".join(patterns)


def part_of(name: str) -> Part:
    """Return the part of the model that a parameter belongs to, by its name."""
    if "visual." not in name:
        return Part.LANGUAGE
    return Part.MERGER if re.search(r"visual\.(merger|deepstack_merger_list)\.", name) else Part.TOWER


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that learn, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def merged(model: nn.Module) -> Qwen3VLForConditionalGeneration:
    """Return the plain model: adapters are added to the weights that they stand beside.

    Parameters
    ----------
    model
        Not to be used any more afterwards.
    """
    plain = model.merge_and_unload(safe_merge=True) if isinstance(model, PeftModel) else model
    assert isinstance(plain, Qwen3VLForConditionalGeneration)
    plain.config.use_cache = True
    return plain
