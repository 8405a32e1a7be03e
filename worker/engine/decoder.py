"""The decoder of a Qwen3-VL checkpoint, called directly: prompts in, keys, values and logits out, no state of its own.

What differs between the supported versions of transformers is told apart here and nowhere else.
"""

import inspect
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, Qwen3VLForConditionalGeneration
from transformers.cache_utils import DynamicLayer
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from sgmri.errors import ConfigError, EngineError
from worker.engine.packing import Workspace

_CACHE = "cache" if "cache" in inspect.signature(Qwen3VLTextModel.forward).parameters else "past_key_values"
"""What the decoder calls the keys and values: transformers renamed it in 5.24."""


class Decoder:
    """Decoder and head of a model; the vision tower is let go.

    Parameters
    ----------
    model
        Loaded with attention ``sdpa``.

    Raises
    ------
    ConfigError
        If the model's attention cannot take a block mask.
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        config = model.config
        attention = config.get_text_config()._attn_implementation
        if attention != "sdpa":
            raise ConfigError(
                f"expected attention 'sdpa', found {attention!r}: only sdpa takes the boolean block mask; load the "
                "model with attn_implementation='sdpa'"
            )
        self.inner = model.model.language_model
        self._head = model.lm_head
        self.merge = int(model.model.visual.spatial_merge_size)
        """Patches along one side that are one token."""
        self.visual_ids = frozenset({int(config.image_token_id), int(config.video_token_id)})
        """The placeholder tokens."""
        ends = model.generation_config.eos_token_id if model.generation_config else None
        self.end_ids = frozenset([ends] if isinstance(ends, int) else ends or [])
        """The tokens that end an answer."""
        self.vocabulary = int(self._head.weight.shape[0])
        """Width of the logits."""

    def to(self, device: str) -> None:
        """Move to a device."""
        self.inner.to(device)
        self._head.to(device)

    @property
    def weight(self) -> torch.Tensor:
        """The embedding table: its device and dtype are the model's."""
        weight: torch.Tensor = self.inner.embed_tokens.weight
        return weight

    @property
    def token_bytes(self) -> int:
        """Memory of the keys and values of one token."""
        config = self.inner.config
        width = int(config.num_hidden_layers * config.num_key_value_heads * config.head_dim)
        return 2 * width * self.weight.element_size()

    def is_visual(self, token_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which tokens are placeholders, bool (tokens,)."""
        return np.isin(token_ids, list(self.visual_ids))

    def check_features(self, placeholders: int, features: Sequence[torch.Tensor]) -> None:
        """Refuse features that are not one for each placeholder.

        Raises
        ------
        EngineError
            If they are of another width or number.
        """
        width = self.weight.shape[1]
        for level in features:
            if level.shape[-1] != width or level.numel() != width * placeholders:
                raise EngineError(
                    f"expected features for {placeholders} placeholders of width {width}, "
                    f"found {tuple(level.shape)}; check that tower and language model belong together"
                )

    def read(
        self,
        token_ids: NDArray[np.int64],
        positions: NDArray[np.int64],
        embeds: torch.Tensor,
        deepstack: Sequence[torch.Tensor],
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Read one prompt with several sets of features; return keys and values of every layer.

        Parameters
        ----------
        token_ids, positions
            int64 (tokens,), int64 (3, tokens).
        embeds
            (rows, ..., width): the features of the placeholders, one set a row.
        deepstack
            One a tapped layer, shaped like ``embeds``.

        Returns
        -------
        keys, values : list
            One a layer: (rows, heads, tokens, size).
        """
        device, dtype, width = self.weight.device, self.weight.dtype, self.weight.shape[1]
        rows = len(embeds)
        visual = torch.from_numpy(self.is_visual(token_ids)).to(device)[None].expand(rows, -1)
        inputs = self.inner.embed_tokens(torch.from_numpy(token_ids).to(device)[None]).repeat(rows, 1, 1)
        inputs[visual] = embeds.reshape(-1, width).to(device, dtype)
        cache = DynamicCache()
        self.inner(
            inputs_embeds=inputs,
            position_ids=torch.from_numpy(positions).to(device)[:, None].expand(-1, rows, -1),
            visual_pos_masks=visual,
            deepstack_visual_embeds=[each.reshape(-1, width).to(device, dtype) for each in deepstack],
            **{_CACHE: cache},
        )
        layers = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
        keys = [layer.keys for layer in layers if layer.keys is not None]
        return keys, [layer.values for layer in layers if layer.values is not None]

    def logits(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        workspace: Workspace,
        wanted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Feed the tokens of one sequence; return float32 (tokens, vocabulary) behind them, or behind some of them.

        Parameters
        ----------
        ids, positions
            int64 (1, tokens), int64 (3, 1, tokens).
        mask
            bool (1, 1, tokens, columns): what each token sees.
        workspace
            Keys and values so far; takes the new ones.
        wanted
            int64: places among the tokens; None for all.
        """
        hidden = self.inner(
            inputs_embeds=self.inner.embed_tokens(ids),
            position_ids=positions,
            attention_mask=mask,
            **{_CACHE: workspace},
        ).last_hidden_state[0]
        logits: torch.Tensor = self._head(hidden if wanted is None else hidden[wanted]).float()
        return logits
