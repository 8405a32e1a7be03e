"""The language model: one prefix for a volume, and all its questions packed behind it as one sequence.

The prefix (system turn and frames) is computed once and kept as keys and values (:class:`PrefixSession`). Questions
follow it in one sequence of batch 1; a block mask lets each see the prefix and itself only, and its positions go on
from the end of the prefix. In float32 the answers are those of a separate run for each question, token for token.
Nothing is kept on the torch modules, so that readings in one process cannot mix.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, Qwen3VLForConditionalGeneration
from transformers.cache_utils import DynamicLayer

from sgmri.errors import ConfigError, EngineError, EngineUnavailable
from sgmri.interfaces import ReadingControl
from worker.engine.checkpoint import DTYPES, DType, load_checkpoint, memory_guard
from worker.engine.grammar import Matcher, allowed_tokens
from worker.engine.packing import Decoding, PrefixSession, Row, Workspace
from worker.engine.positions import Grid, mrope_positions

_log = logging.getLogger(__name__)


class LanguageModel:
    """The decoder of a Qwen3-VL checkpoint, called directly and without state of its own.

    Parameters
    ----------
    model
        Only its decoder and head are kept, so that the vision tower can be freed.
    kv_limit_bytes
        Most memory for the keys and values of one call, session included; None for no limit. A run that needs more
        answers its questions in several groups.

    Raises
    ------
    ConfigError
        If the model's attention cannot take a block mask.
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration, *, kv_limit_bytes: int | None = None) -> None:
        config = model.config
        attention = config.get_text_config()._attn_implementation
        if attention != "sdpa":
            raise ConfigError(
                f"expected attention 'sdpa', found {attention!r}: only sdpa takes the boolean block mask; load the "
                "model with attn_implementation='sdpa'"
            )
        self._decoder = model.model.language_model
        self._head = model.lm_head
        self._merge = int(model.model.visual.spatial_merge_size)
        self._visual_ids = frozenset({int(config.image_token_id), int(config.video_token_id)})
        ends = model.generation_config.eos_token_id if model.generation_config else None
        self.end_ids = frozenset([ends] if isinstance(ends, int) else ends or [])
        """The tokens that end an answer."""
        self.vocabulary = int(self._head.weight.shape[0])
        """Width of the logits."""
        self._kv_limit_bytes = kv_limit_bytes

    @classmethod
    def load(
        cls, directory: Path, *, device: str = "cpu", dtype: DType = "float32", kv_limit_bytes: int | None = None
    ) -> "LanguageModel":
        """Load from a directory: local safetensors only, no code from the checkpoint.

        Raises
        ------
        ConfigError
            If the directory holds no such model.
        EngineUnavailable
            If it does not fit into memory.
        """
        with memory_guard():
            model = load_checkpoint(directory, DTYPES[dtype])
            model.train(False).requires_grad_(False)
            language = cls(model, kv_limit_bytes=kv_limit_bytes)
            del model  # before the move: the vision tower never reaches the device
            language._decoder.to(device)
            language._head.to(device)
        return language

    @property
    def _weight(self) -> torch.Tensor:
        """The embedding table: its device and dtype are the model's."""
        weight: torch.Tensor = self._decoder.embed_tokens.weight
        return weight

    def open(
        self,
        token_ids: NDArray[np.int64],
        *,
        embeds: torch.Tensor,
        deepstack: Sequence[torch.Tensor],
        grids: Sequence[Grid],
    ) -> PrefixSession:
        """Read the prefix of a volume once.

        Parameters
        ----------
        token_ids
            int64 (tokens,): system turn and frames, a placeholder for each merged patch.
        embeds
            (frames, merged patches, width): the vision tower's features.
        deepstack
            One a tapped layer of the tower, shaped like ``embeds``; the k-th is added behind decoder layer k.
        grids
            (rows, columns) in patches of each frame, before merging.

        Raises
        ------
        EngineError
            If placeholders, grids and features do not fit, or the prefix exceeds the limit of memory.
        EngineUnavailable
            If memory ran out.
        """
        positions, following = mrope_positions(token_ids, grids, merge=self._merge, visual_ids=self._visual_ids)
        is_visual = np.isin(token_ids, list(self._visual_ids))
        width = self._weight.shape[1]
        for features in (embeds, *deepstack):
            if features.shape[-1] != width or features.numel() != width * is_visual.sum():
                raise EngineError(
                    f"expected features for {is_visual.sum()} placeholders of width {width}, "
                    f"found {tuple(features.shape)}; check that tower and language model belong together"
                )
        self._check_limit(len(token_ids))
        device, dtype = self._weight.device, self._weight.dtype
        with memory_guard(), torch.inference_mode():
            visual = torch.from_numpy(is_visual).to(device)[None]
            inputs = self._decoder.embed_tokens(torch.from_numpy(token_ids).to(device)[None])
            inputs[visual] = embeds.reshape(-1, width).to(device, dtype)
            cache = DynamicCache()
            self._decoder(
                inputs_embeds=inputs,
                position_ids=torch.from_numpy(positions).to(device)[:, None],
                visual_pos_masks=visual,
                deepstack_visual_embeds=[each.reshape(-1, width).to(device, dtype) for each in deepstack],
                past_key_values=cache,
            )
        layers = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
        session = PrefixSession(
            keys=tuple(layer.keys for layer in layers if layer.keys is not None),
            values=tuple(layer.values for layer in layers if layer.values is not None),
            next_position=following,
        )
        _log.debug("prefix of %d tokens, %d bytes of keys and values", session.length, session.bytes)
        return session

    def score(
        self, session: PrefixSession, questions: Sequence[Sequence[int]], choices: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return the logits of a few choices as the next token of every question, in one forward pass.

        (In more than one where the limit of memory asks for it.)

        Parameters
        ----------
        session
            The prefix.
        questions
            Token ids of each question, up to the place where the choice stands.
        choices
            Token ids, such as those of "Yes" and "No".

        Returns
        -------
        float32 (questions, choices)
        """
        rows = [self._row(session, ids, 0, None, owner) for owner, ids in enumerate(questions)]
        scores = [np.empty((0, len(choices)), np.float32)]
        with memory_guard(), torch.inference_mode():
            for group in self._groups(session, rows):
                logits = self._pass(Workspace(session, self._capacity(session, group)), group)
                scores.append(logits[:, list(choices)].cpu().numpy())
        return np.concatenate(scores)

    def run(
        self,
        session: PrefixSession,
        questions: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        matchers: Sequence[Matcher | None] | None = None,
        control: ReadingControl | None = None,
    ) -> Decoding:
        """Answer all questions together, always taking the likeliest token (of those that the grammar allows).

        Parameters
        ----------
        session
            The prefix; unchanged afterwards.
        questions
            Token ids of each question, up to where its answer starts.
        max_new_tokens
            Most tokens of one answer, forced ones included.
        matchers
            A fresh one for each question, or None where its answer is free.
        control
            Looked at before every forward pass; ``progress`` gets (answers finished, questions of this run).

        Raises
        ------
        EngineUnavailable
            If the run was cancelled or memory ran out; the session stays usable.
        """
        control = control or ReadingControl()
        matchers = matchers or [None] * len(questions)
        if len(matchers) != len(questions) or max_new_tokens < 1:
            raise EngineError(
                f"expected a matcher for each of {len(questions)} questions and room for a token, found "
                f"{len(matchers)} and {max_new_tokens}"
            )
        rows = [
            self._row(session, ids, max_new_tokens, matcher, owner)
            for owner, (ids, matcher) in enumerate(zip(questions, matchers, strict=True))
        ]
        passes = working_bytes = 0
        with memory_guard(), torch.inference_mode():
            for group in self._groups(session, rows):
                cost = self._decode(session, group, rows, control)
                passes, working_bytes = passes + cost[0], max(working_bytes, cost[1])
        return Decoding(answers=tuple(row.generated() for row in rows), passes=passes, working_bytes=working_bytes)

    def _decode(
        self, session: PrefixSession, group: Sequence[Row], rows: Sequence[Row], control: ReadingControl
    ) -> tuple[int, int]:
        """Answer one group; return its forward passes and the bytes of its workspace."""
        if not _may_go_on(control):
            return 0, 0
        workspace = Workspace(session, self._capacity(session, group))
        active, passes = [row for row in group if row.ending is None], 0
        while active and _may_go_on(control):
            logits = self._pass(workspace, active)
            passes += 1
            allowed = _allowed(active, self.vocabulary)
            if allowed is not None:
                logits.masked_fill_(~torch.from_numpy(allowed).to(logits.device), float("-inf"))
            for row, token_id in zip(active, logits.argmax(dim=1).tolist(), strict=True):
                row.choose(token_id, self.end_ids)
            going_on = [row for row in active if row.ending is None]
            if len(going_on) < len(active):
                control.progress(sum(row.ending is not None for row in rows), len(rows))
            active = going_on
        return passes, workspace.bytes

    def _pass(self, workspace: Workspace, rows: Sequence[Row]) -> torch.Tensor:
        """Feed what is pending of every row as one sequence; return float32 (rows, vocabulary) behind each."""
        device = self._weight.device
        counts = [len(row.pending) for row in rows]
        ids = torch.tensor([token for row in rows for token in row.pending], device=device)
        places = [row.position + step for row in rows for step in range(len(row.pending))]
        owners = [row.owner for row in rows for _ in row.pending]
        mask = workspace.mask(torch.tensor(owners, dtype=torch.int32, device=device))
        hidden = self._decoder(
            inputs_embeds=self._decoder.embed_tokens(ids[None]),
            position_ids=torch.tensor(places, device=device).expand(3, 1, -1),
            attention_mask=mask,
            past_key_values=workspace,
        ).last_hidden_state
        workspace.length += len(ids)
        for row in rows:
            row.position += len(row.pending)
            row.pending = []
        last = torch.tensor(counts, device=device).cumsum(0) - 1
        logits: torch.Tensor = self._head(hidden[0, last]).float()
        return logits

    def _row(self, session: PrefixSession, ids: Sequence[int], room: int, matcher: Matcher | None, owner: int) -> Row:
        if not len(ids):
            raise EngineError("expected at least one token a question, found an empty question")
        if matcher is not None and matcher.vocabulary != self.vocabulary:
            raise EngineError(
                f"expected matchers for {self.vocabulary} tokens, found {matcher.vocabulary}: make them with the "
                "vocabulary of this model"
            )
        row = Row(
            owner=owner, pending=[int(i) for i in ids], position=session.next_position, room=room, matcher=matcher
        )
        row.force()
        return row

    @staticmethod
    def _capacity(session: PrefixSession, rows: Sequence[Row]) -> int:
        """Columns that the rows can come to need, prefix included."""
        return session.length + sum(len(row.pending) + row.room for row in rows)

    @property
    def _token_bytes(self) -> int:
        """Memory of the keys and values of one token."""
        config = self._decoder.config
        width = int(config.num_hidden_layers * config.num_key_value_heads * config.head_dim)
        return 2 * width * self._weight.element_size()

    def _check_limit(self, tokens: int) -> None:
        needed = tokens * self._token_bytes
        if self._kv_limit_bytes is not None and needed > self._kv_limit_bytes:
            raise EngineError(
                f"expected keys and values of at most {self._kv_limit_bytes} bytes, found a need of {needed}: read "
                "fewer or smaller frames, or raise the limit"
            )

    def _groups(self, session: PrefixSession, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """Part the rows into groups that fit the limit of memory, beside the session itself; keep their order."""
        group: list[Row] = []
        for row in rows:
            if group and not self._fits(session, [*group, row]):
                yield group
                group = []
            self._check_limit(session.length + self._capacity(session, [row]))
            group.append(row)
        if group:
            yield group

    def _fits(self, session: PrefixSession, rows: Sequence[Row]) -> bool:
        needed = (session.length + self._capacity(session, rows)) * self._token_bytes
        return self._kv_limit_bytes is None or needed <= self._kv_limit_bytes


def _may_go_on(control: ReadingControl) -> bool:
    """Return whether time is left.

    Raises
    ------
    EngineUnavailable
        If the reading was cancelled.
    """
    if control.is_cancelled():
        raise EngineUnavailable("reading cancelled while answers were written; it can be started again")
    return control.remaining_s() > 0


def _allowed(rows: Sequence[Row], vocabulary: int) -> NDArray[np.bool_] | None:
    """Return bool (rows, vocabulary): what may come next; None where everything may."""
    if all(row.matcher is None for row in rows):
        return None
    return allowed_tokens([row.matcher for row in rows], vocabulary)
