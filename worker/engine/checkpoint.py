"""Load a model's checkpoint whole or not at all, and tell lack of memory from every other failure."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import torch
from safetensors import SafetensorError
from transformers import Qwen3VLForConditionalGeneration
from transformers.utils import logging as transformers_logging

from sgmri.errors import ConfigError, OutOfMemory

DType = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[DType, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load_checkpoint(directory: Path, dtype: torch.dtype) -> Qwen3VLForConditionalGeneration:
    """Load a whole checkpoint on the CPU.

    Raises
    ------
    ConfigError
        If it is none of this kind, or not whole: transformers would fill what is missing with random weights.
    """
    # Its annotation leaves out that output_loading_info makes it a pair
    load = cast(
        "Callable[..., tuple[Qwen3VLForConditionalGeneration, dict[str, set[str]]]]",
        Qwen3VLForConditionalGeneration.from_pretrained,
    )
    wanted = "expected a directory with config.json and whole safetensors of a Qwen3-VL model"
    try:
        kind = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != "qwen3_vl":
            raise ConfigError(f"{wanted}, found a model of type {kind!r}; check the model directory")
        with without_bars():
            model, report = load(
                directory,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=dtype,
                attn_implementation="sdpa",
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        _raise_if_out_of_memory(error)
        raise ConfigError(f"{wanted}, found none ({type(error).__name__}); check the model directory") from error
    absent = sorted(report["missing_keys"])
    if absent or report["mismatched_keys"]:
        raise ConfigError(f"{wanted}, found {len(absent)} tensors missing or misshapen; copy the checkpoint again")
    return model


@contextmanager
def without_bars() -> Iterator[None]:
    """Load or save without the library's progress bar: a worker's log is no terminal."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # transformers


@contextmanager
def memory_guard() -> Iterator[None]:
    """Turn running out of memory into a transient error.

    Raises
    ------
    OutOfMemory
        If memory ran out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        _raise_if_out_of_memory(error)
        raise


def _raise_if_out_of_memory(error: Exception) -> None:
    # torch reports the CPU's lack of memory as a plain RuntimeError
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error):
        raise OutOfMemory(
            "expected enough memory for weights, keys and values, found none left: free memory, lower the limit of "
            "key/value memory, or read fewer frames at once"
        ) from error
