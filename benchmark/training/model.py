"""The embedded model's sizes, and its forward passes for training: live weights, many questions behind one prefix.

The class is transformers' own Qwen3-VL. Training adds one head that is thrown away afterwards: it reads findings and
boxes off each visual token, so that the tower learns to see before the language model learns to speak.
"""

import math
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from benchmark.training.vocabulary import NUMBERS, token_id
from worker.engine.export import FrameTower, patch_weight
from worker.engine.vision import Grid, grid_inputs

PATCH, MERGE = 16, 2
_HIDDEN = 256


def build(tokenizer: Tokenizer, *, seed: int) -> Qwen3VLForConditionalGeneration:
    """Return an untrained model of about nine million parameters.

    Parameters
    ----------
    tokenizer
        Of :mod:`benchmark.training.vocabulary`.
    seed
        Of the initial weights.
    """
    config = Qwen3VLConfig(
        vision_config={
            "depth": 6,
            "hidden_size": 192,
            "num_heads": 3,
            "intermediate_size": 576,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "deepstack_visual_indexes": [2],
            "num_position_embeddings": 256,
            "out_hidden_size": _HIDDEN,
            "initializer_range": 0.05,
        },
        text_config={
            "num_hidden_layers": 6,
            "hidden_size": _HIDDEN,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "intermediate_size": 768,
            "vocab_size": -(-tokenizer.get_vocab_size() // 64) * 64,
            "max_position_embeddings": 8192,
            "initializer_range": 0.05,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 500_000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
        },
        tie_word_embeddings=True,
        image_token_id=token_id(tokenizer, "<|image_pad|>"),
        video_token_id=token_id(tokenizer, "<|video_pad|>"),
        vision_start_token_id=token_id(tokenizer, "<|vision_start|>"),
        vision_end_token_id=token_id(tokenizer, "<|vision_end|>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config._attn_implementation = "sdpa"
        model = Qwen3VLForConditionalGeneration(config)
    _order_numbers(model.model.language_model.embed_tokens.weight)
    model.generation_config = GenerationConfig.from_dict(
        {"eos_token_id": token_id(tokenizer, "<|im_end|>"), "pad_token_id": token_id(tokenizer, "<|endoftext|>")}
    )
    return model


def _order_numbers(embeddings: Tensor) -> None:
    """Start the numbers' embeddings as waves of many lengths, so that neighbours begin alike and order is known."""
    half = _HIDDEN // 4
    number = torch.arange(NUMBERS, dtype=torch.float32)[:, None]
    length = 4000 * (8 / 4000) ** (torch.arange(half) / (half - 1))
    angle = number * (2 * math.pi / length)
    with torch.no_grad():
        embeddings[:NUMBERS, : 2 * half] = 0.1 * torch.cat([angle.sin(), angle.cos()], dim=1)
        embeddings[:NUMBERS, 2 * half :] *= 0.3


class LiveTower(FrameTower):
    """The frame-batched tower with gradients into every weight.

    Parameters
    ----------
    model
        Whose vision tower it is.
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        super().__init__(model.model.visual, grey_fold=True)

    def see(self, grey: Tensor) -> tuple[Tensor, ...]:
        """Return embeddings and deep-stack levels of frames.

        Parameters
        ----------
        grey
            float32 (frames, rows, columns), 0 to 255; whole merged blocks.
        """
        count, rows, columns = grey.shape
        grid = Grid(rows // PATCH, columns // PATCH)
        side = self.tower.num_grid_per_side
        places = grid_inputs(grid, side=side, merge=MERGE)
        blocks = (grey / 127.5 - 1).view(count, grid.rows // MERGE, MERGE, PATCH, grid.columns // MERGE, MERGE, PATCH)
        patches = blocks.permute(0, 1, 4, 2, 5, 3, 6).reshape(count, grid.rows * grid.columns, PATCH * PATCH)
        hidden = functional.linear(patches, patch_weight(self.tower, grey_fold=True), self.tower.patch_embed.proj.bias)
        arrays = (places.interp_indices, places.interp_weights, places.position_ids)
        seen: tuple[Tensor, ...] = self.from_patches(
            hidden, *(torch.tensor(array, device=grey.device) for array in arrays)
        )
        return seen


class AuxiliaryHead(nn.Module):
    """Reads findings off visual tokens: which labels lie there, and the box as four of the language model's numbers.

    Parameters
    ----------
    labels
        How many labels there are.
    width
        Size of a visual token.
    """

    def __init__(self, labels: int, width: int = _HIDDEN) -> None:
        super().__init__()
        self.presence = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, labels))
        self.box = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, 4 * width))
        self.scale = nn.Parameter(torch.tensor(1.0))

    def edges(self, features: Tensor, numbers: Tensor) -> Tensor:
        """Return the logits of a box's four edges, (tokens, 4, numbers).

        Parameters
        ----------
        features
            (tokens, 2 x width): embedding and the deep-stack level beside it.
        numbers
            (numbers, width): the language model's embeddings of 0 to 1000, so that it only has to copy.
        """
        said: Tensor = self.box(features).unflatten(-1, (4, -1)) @ numbers.T * self.scale
        return said


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequences:
    """Packed token sequences of a batch.

    Parameters
    ----------
    ids
        int64 (sequences, tokens).
    owners
        int32 (sequences, tokens): -1 the prefix, a number for each question, -2 padding.
    positions
        int64 (3, sequences, tokens).
    visual
        bool (sequences, tokens): placeholders.
    targets
        int64 (sequences, tokens): the token that follows and is to be learnt, -1 where none is.
    kinds
        int8 (sequences, tokens): what a target is, see :class:`benchmark.training.examples.Part`.
    """

    ids: Tensor
    owners: Tensor
    positions: Tensor
    visual: Tensor
    targets: Tensor
    kinds: Tensor

    def to(self, device: torch.device | str) -> "Sequences":
        """Return them on a device."""
        return Sequences(
            **{name: getattr(self, name).to(device, non_blocking=True) for name in Sequences.__dataclass_fields__}
        )


def block_mask(owners: Tensor) -> Tensor:
    """Return bool (sequences, 1, tokens, tokens): the prefix and one's own past, exactly as in reading."""
    length = owners.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=owners.device).tril()
    mine = (owners[:, None, :] == -1) | (owners[:, None, :] == owners[:, :, None])
    return (mine & past)[:, None]


def learnt(model: Qwen3VLForConditionalGeneration, sequences: Sequences, features: tuple[Tensor, ...]) -> Tensor:
    """Return float32 logits (targets, vocabulary) at every place with a target.

    Parameters
    ----------
    model
        In training mode or not.
    sequences
        On the model's device.
    features
        Embeddings and deep-stack levels, each (visual tokens in order, width).
    """
    decoder = model.model.language_model
    inputs = decoder.embed_tokens(sequences.ids)
    embeds, *deepstack = features
    inputs = inputs.masked_scatter(sequences.visual[..., None], embeds.to(inputs.dtype))
    hidden = decoder(
        inputs_embeds=inputs,
        position_ids=sequences.positions,
        attention_mask=block_mask(sequences.owners),
        visual_pos_masks=sequences.visual,
        deepstack_visual_embeds=[level.to(inputs.dtype) for level in deepstack],
        use_cache=False,
    ).last_hidden_state
    logits: Tensor = model.lm_head(hidden[sequences.targets >= 0])
    return logits.float()
