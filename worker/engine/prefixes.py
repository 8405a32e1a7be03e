"""Read what stands before the questions: one volume, or several frames each as if it were the only one."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from worker.engine.checkpoint import memory_guard
from worker.engine.decoder import Decoder
from worker.engine.packing import SHARED, PrefixSession, group_owner
from worker.engine.positions import Grid, mrope_positions

_log = logging.getLogger(__name__)
_TOKENS_A_PASS = 32_768
"""Frames that are shown alone are read so many tokens at a time; bounds the memory of the layers."""


def open_prefix(
    decoder: Decoder,
    token_ids: NDArray[np.int64],
    embeds: torch.Tensor,
    deepstack: Sequence[torch.Tensor],
    grids: Sequence[Grid],
) -> PrefixSession:
    """Read a prefix that every question sees; see :meth:`worker.engine.language.LanguageModel.open`."""
    positions, following = mrope_positions(token_ids, grids, merge=decoder.merge, visual_ids=decoder.visual_ids)
    decoder.check_features(int(decoder.is_visual(token_ids).sum()), (embeds, *deepstack))
    with memory_guard(), torch.inference_mode():
        keys, values = decoder.read(token_ids, positions, embeds[None], [each[None] for each in deepstack])
        owners = torch.full((len(token_ids),), SHARED, dtype=torch.int32, device=decoder.weight.device)
    return _opened(keys, values, owners, following)


def open_alone(
    decoder: Decoder,
    token_ids: NDArray[np.int64],
    embeds: torch.Tensor,
    deepstack: Sequence[torch.Tensor],
    grid: Grid,
) -> PrefixSession:
    """Read one block a frame behind one start; see :meth:`worker.engine.language.LanguageModel.open_alone`."""
    positions, following = mrope_positions(token_ids, [grid], merge=decoder.merge, visual_ids=decoder.visual_ids)
    is_visual = decoder.is_visual(token_ids)
    count, shared = len(embeds), int(np.argmax(is_visual))
    decoder.check_features(count * int(is_visual.sum()), (embeds, *deepstack))
    own = len(token_ids) - shared
    parts = []
    with memory_guard(), torch.inference_mode():
        step = max(1, _TOKENS_A_PASS // len(token_ids))
        for some in (slice(start, start + step) for start in range(0, count, step)):
            parts.append(decoder.read(token_ids, positions, embeds[some], [each[some] for each in deepstack]))
        keys, values = (
            [_side_by_side(blocks, shared) for blocks in zip(*layers, strict=True)]
            for layers in zip(*parts, strict=True)
        )
        owners = torch.full((shared + count * own,), SHARED, dtype=torch.int32, device=decoder.weight.device)
        owners[shared:] = group_owner(0) - torch.arange(count, device=owners.device).repeat_interleave(own).int()
    return _opened(keys, values, owners, following, groups=count)


def _opened(
    keys: Sequence[torch.Tensor],
    values: Sequence[torch.Tensor],
    owners: torch.Tensor,
    following: int,
    groups: int = 0,
) -> PrefixSession:
    session = PrefixSession(
        keys=tuple(keys), values=tuple(values), owners=owners, next_position=following, groups=groups
    )
    _log.debug("prefix of %d tokens, %d bytes of keys and values", session.length, session.bytes)
    return session


def _side_by_side(blocks: Sequence[torch.Tensor], shared: int) -> torch.Tensor:
    """Put the blocks of several frames, (frames, heads, tokens, size), behind their common start, kept once."""
    start = blocks[0][:1, :, :shared]
    own = [block[:, :, shared:].transpose(0, 1).flatten(1, 2)[None] for block in blocks]
    return torch.cat([start, *own], dim=2)
