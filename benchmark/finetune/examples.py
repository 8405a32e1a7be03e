"""From an exchange to tensors: the worker's tokens and pixels, and which of the tokens are learnt.

Tokens, sizes and normalisation are those of the worker, piece by piece, so that the trained model sees at work what
it saw at school. Only the answer is learnt: the prompt has no part in the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3VLConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig

from benchmark.finetune.exchange import Exchange
from benchmark.items import Item
from sgmri.errors import ConfigError
from sgmri.interfaces import Frames
from worker.engine.fitting import fit
from worker.engine.prompts import chatml, turn
from worker.engine.tower import normalisation
from worker.engine.vision import Grid, preprocess

IGNORED = -100
"""Label of a token that is not learnt (torch's own default)."""
_TEXT, _IMAGE, _VIDEO = 0, 1, 2
"""What a token stands for, as transformers numbers it."""
_VISION_INPUTS = ((False, "pixel_values", "image_grid_thw"), (True, "pixel_values_videos", "video_grid_thw"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One exchange in tokens and patches.

    Parameters
    ----------
    item
        What it is about.
    ids
        int64 (tokens,).
    answer_tokens
        How many of them, at the end, are learnt: the answer and the token that ends it.
    value_token
        Place in the answer of the first token of its value: yes or no, a letter, a number, a word.
    kinds
        int64 (tokens,): text, image or video.
    patches
        float32 (vision blocks x patches, values).
    grid, blocks, is_clip
        Patches of a frame, number of vision blocks, and whether each holds two frames.
    """

    item: Item
    ids: NDArray[np.int64]
    answer_tokens: int
    value_token: int
    kinds: NDArray[np.int64]
    patches: NDArray[np.float32]
    grid: Grid
    blocks: int
    is_clip: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Examples side by side, padded at the left: their answers end in the same place.

    Parameters
    ----------
    items
        What they are about.
    inputs
        Keyword arguments of transformers' model; ``logits_to_keep`` among them.
    labels
        int64 (examples, answer tokens): what is to be said; :data:`IGNORED` elsewhere.
    values
        int64 (examples,): column of the first token of the value.
    """

    items: tuple[Item, ...]
    inputs: dict[str, Tensor]
    labels: Tensor
    values: Tensor

    @property
    def answer_tokens(self) -> int:
        """How many tokens are learnt."""
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(
            items=self.items,
            inputs={name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()},
            labels=self.labels.to(device),
            values=self.values.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scribe:
    """Writes exchanges as a checkpoint reads them.

    Parameters
    ----------
    tokenizer
        Of the checkpoint.
    patch, merge
        Pixels along a patch, patches along a merged block.
    pads
        Placeholder tokens of images and of clips.
    mean, std
        Normalisation of each channel.
    max_tokens
        Longest exchange; 0: no limit.
    """

    tokenizer: Tokenizer
    patch: int
    merge: int
    pads: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_tokens: int = 0

    @classmethod
    def of(cls, checkpoint: Path, config: Qwen3VLConfig, *, max_tokens: int) -> Self:
        """Return the scribe of a checkpoint.

        Raises
        ------
        ConfigError
            If the checkpoint lacks its tokenizer or its normalisation, or shows other than two frames a block.
        """
        path = checkpoint / "tokenizer.json"
        if not path.is_file():
            raise ConfigError(f"expected tokenizer.json in {checkpoint}, found none; fetch the checkpoint again")
        vision = config.vision_config
        assert isinstance(vision, Qwen3VLVisionConfig)
        if vision.temporal_patch_size != 2 or not isinstance(vision.patch_size, int):
            raise ConfigError(
                "expected a checkpoint with square patches of 2 frames, found patch_size "
                f"{vision.patch_size}, temporal_patch_size {vision.temporal_patch_size}"
            )
        mean, std = normalisation(checkpoint)
        return cls(
            tokenizer=Tokenizer.from_file(str(path)),
            patch=vision.patch_size,
            merge=vision.spatial_merge_size,
            pads=(config.image_token_id, config.video_token_id),
            mean=mean,
            std=std,
            max_tokens=max_tokens,
        )

    def write(self, item: Item, exchange: Exchange, frames: Frames) -> Example:
        """Return an exchange in tokens and patches.

        Raises
        ------
        ConfigError
            If it is longer than is allowed; nothing is ever cut off.
        """
        blocks = [one.frame_indices for one in exchange.segments if one.frame_indices]
        patches, grid = self._patches(frames, blocks, exchange)
        once = np.array(self._tokens(chatml(exchange.segments)), np.int64)
        prefix = np.repeat(once, np.where(np.isin(once, self.pads), grid.rows * grid.columns // self.merge**2, 1))
        answer = [token for piece in exchange.answer for token in self._tokens(piece)] + self._tokens("<|im_end|>")
        # Before the last piece stand those that the worker writes itself
        opening = [token for piece in exchange.answer[:-1] for token in self._tokens(piece)]
        ids = np.concatenate([prefix, np.array([*self._tokens(turn(exchange.question)), *answer], np.int64)])
        if 0 < self.max_tokens < len(ids):
            raise ConfigError(
                f"item {item.item_id}: expected at most {self.max_tokens} tokens (train.max_tokens), found {len(ids)}; "
                "allow more, show smaller frames (max_pixels), or leave such items out"
            )
        kinds = np.select([ids == pad for pad in self.pads], [_IMAGE, _VIDEO], _TEXT)
        return Example(
            item=item,
            ids=ids,
            answer_tokens=len(answer),
            value_token=len(opening),
            kinds=kinds,
            patches=patches,
            grid=grid,
            blocks=len(blocks),
            is_clip=len(blocks[0]) == 2,
        )

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _patches(
        self, frames: Frames, blocks: Sequence[tuple[int, ...]], exchange: Exchange
    ) -> tuple[NDArray[np.float32], Grid]:
        """Return what each vision block shows: a frame, repeated in time as the tower wants it, or two frames."""
        shown = sorted({index for block in blocks for index in block})
        fitted = fit(frames.pixels[shown], exchange.budget, block=self.patch * self.merge)
        cut = preprocess(fitted, patch=self.patch, merge=self.merge, mean=self.mean, std=self.std)
        # (frames, patches, channels, values): two frames side by side in time make a block
        apart = cut.values.reshape(*cut.values.shape[:2], len(self.mean), -1)
        first, last = ([shown.index(block[end]) for block in blocks] for end in (0, -1))
        return np.stack([apart[first], apart[last]], axis=3).reshape(-1, 2 * cut.values.shape[-1]), cut.grid


def collate(examples: Sequence[Example]) -> Batch:
    """Put examples side by side."""
    tokens = max(len(one.ids) for one in examples)
    answer = max(one.answer_tokens for one in examples)
    table = np.zeros((3, len(examples), tokens), np.int64)
    labels = np.full((len(examples), answer), IGNORED, np.int64)
    for row, one in enumerate(examples):
        table[0, row, tokens - len(one.ids) :] = one.ids
        table[1, row, tokens - len(one.ids) :] = 1
        table[2, row, tokens - len(one.ids) :] = one.kinds
        labels[row, answer - one.answer_tokens :] = one.ids[len(one.ids) - one.answer_tokens :]
    ids, mask, kinds = (torch.from_numpy(part) for part in table)
    inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds.int()}
    for is_clip, pixels, grids in _VISION_INPUTS:
        some = [one for one in examples if one.is_clip is is_clip]
        if some:
            inputs[pixels] = torch.from_numpy(np.concatenate([one.patches for one in some]))
            inputs[grids] = torch.tensor([[1, *one.grid] for one in some for _ in range(one.blocks)])
    return Batch(
        items=tuple(one.item for one in examples),
        inputs=inputs,
        labels=torch.from_numpy(labels),
        values=torch.tensor([answer - one.answer_tokens + one.value_token for one in examples]),
    )
