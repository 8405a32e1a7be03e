"""A tiny Qwen3-VL of random weights: the real class and file layout, small enough for a test."""

import json
from pathlib import Path

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

SEED = 20_251
PATCH, MERGE, TEMPORAL, SIDE = 16, 2, 2, 16


def tiny_config(*, depth: int = 3, deepstack: tuple[int, ...] = (0, 1)) -> Qwen3VLConfig:
    """Return sizes of about two million parameters; ids as in a vocabulary of 1536."""
    return Qwen3VLConfig(
        vision_config={
            "depth": depth,
            "hidden_size": 128,
            "num_heads": 2,
            "intermediate_size": 512,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "deepstack_visual_indexes": list(deepstack),
            "num_position_embeddings": SIDE * SIDE,
            "out_hidden_size": 96,
        },
        text_config={
            "num_hidden_layers": 4,
            "hidden_size": 96,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 24,
            "intermediate_size": 288,
            "vocab_size": 1536,
            "max_position_embeddings": 8192,
            "initializer_range": 0.05,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 500_000.0,
                "mrope_section": [4, 4, 4],
                "mrope_interleaved": True,
            },
        },
        tie_word_embeddings=True,
        image_token_id=1530,
        video_token_id=1531,
        vision_start_token_id=1532,
        vision_end_token_id=1533,
    )


def tiny_model(config: Qwen3VLConfig | None = None, *, seed: int = SEED) -> Qwen3VLForConditionalGeneration:
    """Return a model of random weights in float32, in evaluation mode; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config or tiny_config())
        with torch.no_grad():
            for parameter in model.parameters():
                # Biases and norms start at 0 and 1, where a swapped or forgotten one would not show
                parameter.add_(torch.randn_like(parameter) * 0.03)
    torch.nn.Module.eval(model)
    return model


def save_tiny_model(
    directory: Path, *, seed: int = SEED, shard_size: str = "50GB", mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
) -> Path:
    """Save a checkpoint in the Hugging Face layout and return its directory."""
    tiny_model(seed=seed).save_pretrained(directory, max_shard_size=shard_size)
    processor = {
        "image_mean": list(mean),
        "image_std": [0.5, 0.5, 0.5],
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": TEMPORAL,
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return directory
