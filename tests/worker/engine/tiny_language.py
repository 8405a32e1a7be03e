"""A random Qwen3-VL of a few layers with a byte-level tokenizer, saved as a real checkpoint would be."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from worker.engine.language import LanguageModel
from worker.engine.packing import PrefixSession
from worker.engine.positions import Grid

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
MERGE = 2
PATCH_FEATURES = 3 * 2 * 16 * 16
_WORDS = ("Yes", "No", "Frame", "Question", "user", "system", "assistant", "reasoning", "answer", "bboxes", "frame")


def tokenizer() -> Tokenizer:
    """Return a byte-level BPE without merges: bytes, the numbers 0 to 1023 and a few words are single tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys([*alphabet, *(str(number) for number in range(1024)), *_WORDS])
    model = models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=[], ignore_merges=True)
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return made


def token_id(made: Tokenizer, token: str) -> int:
    """Return the id of a token that exists."""
    found = made.token_to_id(token)
    assert found is not None
    return found


def save(directory: Path, *, seed: int = 7, layers: int = 3, tied: bool = False) -> None:
    """Write config, generation config, weights and tokenizer of a random model."""
    made = tokenizer()
    vocabulary = -(-made.get_vocab_size() // 64) * 64  # padded, as published checkpoints are
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "initializer_range": 0.3,
            "rope_parameters": rope,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": 0.3,
        },
        image_token_id=token_id(made, "<|image_pad|>"),
        video_token_id=token_id(made, "<|video_pad|>"),
        vision_start_token_id=token_id(made, "<|vision_start|>"),
        vision_end_token_id=token_id(made, "<|vision_end|>"),
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
    end = token_id(made, "<|im_end|>")
    model.generation_config = GenerationConfig.from_dict(
        {"eos_token_id": end, "pad_token_id": token_id(made, "<|endoftext|>")}
    )
    model.save_pretrained(directory)
    made.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"})
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyVolume:
    """Random frames of one size as the model takes them."""

    patches: torch.Tensor
    """float32 (frames x patches, features)."""
    grids: tuple[Grid, ...]
    prefix: NDArray[np.int64]
    """int64 (tokens,): system turn and frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyLanguage:
    """The same weights twice: transformers' whole model (the peer) and ours."""

    directory: Path
    peer: Qwen3VLForConditionalGeneration
    language: LanguageModel
    tokens: Tokenizer

    def encode(self, text: str) -> list[int]:
        return list(self.tokens.encode(text, add_special_tokens=False).ids)

    def question(self, number: int) -> list[int]:
        """Return a question; different numbers give different lengths."""
        text = f"Question {number}: {'is there more? ' * (number % 4)}\n<|im_start|>assistant\n"
        return self.encode(text)

    def volume(self, seed: int, *, frames: int = 3, grid: Grid = (4, 6)) -> TinyVolume:
        pads = "<|image_pad|>" * (grid[0] * grid[1] // MERGE**2)
        blocks = "".join(f"Frame {n + 1}: <|vision_start|>{pads}<|vision_end|>" for n in range(frames))
        generator = torch.Generator().manual_seed(seed)
        return TinyVolume(
            patches=torch.randn((frames * grid[0] * grid[1], PATCH_FEATURES), generator=generator),
            grids=(grid,) * frames,
            prefix=np.array(self.encode(f"<|im_start|>system\nread<|im_end|>\n{blocks}"), np.int64),
        )

    def open(self, volume: TinyVolume) -> PrefixSession:
        """Open a session with the features of the peer's own vision tower."""
        with torch.inference_mode():
            features = self.peer.model.visual(volume.patches, grid_thw=thw(volume))
        shape = (len(volume.grids), -1, features.pooler_output.shape[-1])
        return self.language.open(
            volume.prefix,
            embeds=features.pooler_output.reshape(shape),
            deepstack=[each.reshape(shape) for each in features.deepstack_features],
            grids=volume.grids,
        )

    def inputs(self, volume: TinyVolume, question: list[int]) -> dict[str, torch.Tensor]:
        """Return what transformers' whole model takes for one question."""
        ids = torch.from_numpy(np.concatenate([volume.prefix, np.array(question, np.int64)]))[None]
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values": volume.patches,
            "image_grid_thw": thw(volume),
            "mm_token_type_ids": torch.isin(ids, token_id(self.tokens, "<|image_pad|>")).int(),
        }

    def naive(self, volume: TinyVolume, question: list[int], max_new_tokens: int) -> list[int]:
        """Return transformers' own greedy answer: tower, prefix and question anew."""
        inputs = self.inputs(volume, question)
        with torch.inference_mode():
            generate: Callable[..., torch.Tensor] = self.peer.generate  # type: ignore[misc, assignment, unused-ignore]  # mix-in's self
            out = generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        new: list[int] = out[0, inputs["input_ids"].shape[1] :].tolist()
        ends = [place for place, token in enumerate(new) if token in self.language.end_ids]
        return new[: ends[0]] if ends else new


def thw(volume: TinyVolume) -> torch.Tensor:
    """Return int64 (frames, 3): the grids as transformers wants them."""
    return torch.tensor([[1, *grid] for grid in volume.grids])


def build(directory: Path, *, seed: int = 7, layers: int = 3, tied: bool = False) -> TinyLanguage:
    """Save a random model and load it twice."""
    save(directory, seed=seed, layers=layers, tied=tied)
    peer = Qwen3VLForConditionalGeneration.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    return TinyLanguage(
        directory=directory, peer=peer.train(False), language=LanguageModel.load(directory), tokens=tokenizer()
    )
