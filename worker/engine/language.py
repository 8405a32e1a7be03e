"""The language model: one prefix for a volume, and all its questions packed behind it as one sequence.

The prefix (system turn and frames) is computed once and kept as keys and values (:class:`PrefixSession`). Questions
follow it in one sequence of batch 1; a block mask lets each see the prefix and itself only, and its positions go on
from the end of the prefix. Frames shown alone are several prefixes with one start, kept and asked in the same way. In
float32 the answers are those of a separate run for each question, token for token.
Nothing is kept on the torch modules, so that readings in one process cannot mix.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Qwen3VLForConditionalGeneration

from sgmri.errors import EngineError, EngineUnavailable
from sgmri.interfaces import ReadingControl
from worker.engine.checkpoint import DTYPES, DType, load_checkpoint, memory_guard
from worker.engine.decoder import Decoder
from worker.engine.grammar import Matcher, allowed_tokens
from worker.engine.packing import SHARED, Decoding, Generated, PrefixSession, Row, Workspace, group_owner
from worker.engine.positions import Grid
from worker.engine.prefixes import open_alone, open_prefix
from worker.engine.static import StaticSteps, capacity_for


class LanguageModel:
    """The decoder of a Qwen3-VL checkpoint, called directly and without state of its own.

    Parameters
    ----------
    model
        Only its decoder and head are kept, so that the vision tower can be freed.
    kv_limit_bytes
        Most memory for the keys and values of one call, session included; None for no limit. A run that needs more
        answers its questions in several groups.
    static
        Whether decoding steps have a fixed shape (:mod:`worker.engine.static`); None: on a GPU.

    Raises
    ------
    ConfigError
        If the model's attention cannot take a block mask.
    """

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        *,
        kv_limit_bytes: int | None = None,
        static: bool | None = None,
    ) -> None:
        self.decoder = Decoder(model)
        self.end_ids = self.decoder.end_ids
        """The tokens that end an answer."""
        self.vocabulary = self.decoder.vocabulary
        """Width of the logits."""
        self._kv_limit_bytes = kv_limit_bytes
        self.memory_share = 1.0
        """How much of its limit of keys and values is used (:class:`sgmri.interfaces.ReadingControl`)."""
        self._static = static

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        device: str = "cpu",
        dtype: DType = "float32",
        kv_limit_bytes: int | None = None,
        static: bool | None = None,
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
            language = cls(model, kv_limit_bytes=kv_limit_bytes, static=static)
            del model  # before the move: the vision tower never reaches the device
            language.decoder.to(device)
        return language

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
        self._check_limit(len(token_ids))
        return open_prefix(self.decoder, token_ids, embeds, deepstack, grids)

    def open_alone(
        self, token_ids: NDArray[np.int64], *, embeds: torch.Tensor, deepstack: Sequence[torch.Tensor], grid: Grid
    ) -> PrefixSession:
        """Read several frames, each as if it were shown alone: one block a frame behind one shared start.

        Parameters
        ----------
        token_ids
            int64 (tokens,): the prompt of one frame; the same for all of them.
        embeds, deepstack, grid
            As for :meth:`open`, of the frames that are shown.

        Raises
        ------
        EngineError, EngineUnavailable
            As :meth:`open`.
        """
        shared = int(np.argmax(self.decoder.is_visual(token_ids)))
        self._check_limit(shared + len(embeds) * (len(token_ids) - shared))
        return open_alone(self.decoder, token_ids, embeds, deepstack, grid)

    def score(
        self,
        session: PrefixSession,
        questions: Sequence[Sequence[int]],
        choices: Sequence[int],
        *,
        groups: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """Return the log-probabilities of a few choices as the next token of every question, in one forward pass.

        (In more than one where the limit of memory asks for it.)

        Parameters
        ----------
        session
            The prefix.
        questions
            Token ids of each question, up to the place where the choice stands.
        choices
            Token ids, such as those of "Yes" and "No".
        groups
            The frame (its place among those of :meth:`open_alone`) that each question is about; None for a session
            of :meth:`open`.

        Returns
        -------
        float32 (questions, choices)
        """
        rows = self._rows(session, questions, 0, None, groups)
        scores = [np.empty((0, len(choices)), np.float32)]
        with memory_guard(), torch.inference_mode():
            for group in self._groups(session, rows):
                logits = self._pass(Workspace(session, self._capacity(session, group)), group)
                scores.append(logits.log_softmax(dim=1)[:, list(choices)].cpu().numpy())
        return np.concatenate(scores)

    def run(
        self,
        session: PrefixSession,
        questions: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        matchers: Sequence[Matcher | None] | None = None,
        groups: Sequence[int] | None = None,
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
        groups
            As for :meth:`score`.
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
        rows = self._rows(session, questions, max_new_tokens, matchers, groups)
        passes = working_bytes = 0
        with memory_guard(), torch.inference_mode():
            for group in self._groups(session, rows):
                for used_bytes in self._decode(session, group, rows, control):
                    passes, working_bytes = passes + 1, max(working_bytes, used_bytes)
        return Decoding(answers=tuple(row.generated() for row in rows), passes=passes, working_bytes=working_bytes)

    def stream(
        self,
        session: PrefixSession,
        question: Sequence[int],
        *,
        max_new_tokens: int,
        matcher: Matcher | None = None,
        control: ReadingControl,
    ) -> Iterator[Generated]:
        """Answer one question like :meth:`run`; yield the answer as it stands after every token, its end last."""
        rows = self._rows(session, [question], max_new_tokens, [matcher], None)
        self._check_limit(session.length + self._capacity(session, rows))
        passes = self._decode(session, rows, rows, control)
        going_on = True
        while going_on:
            with memory_guard(), torch.inference_mode():
                going_on = next(passes, None) is not None
            yield rows[0].generated()

    def _decode(
        self, session: PrefixSession, group: Sequence[Row], rows: Sequence[Row], control: ReadingControl
    ) -> Iterator[int]:
        """Answer one group; yield the bytes of its workspace after every forward pass."""
        if not _may_go_on(control):
            return
        workspace = Workspace(session, self._capacity(session, group))
        steps = StaticSteps(workspace, self.decoder.logits) if self._is_static else None
        active = [row for row in group if row.ending is None]
        while active and _may_go_on(control):
            logits = self._pass(workspace, active, steps)
            if any(row.matcher is not None for row in active):
                allowed = allowed_tokens([row.matcher for row in active], self.vocabulary)
                logits.masked_fill_(~torch.from_numpy(allowed).to(logits.device), float("-inf"))
            for row, token_id in zip(active, logits.argmax(dim=1).tolist(), strict=True):
                row.choose(token_id, self.end_ids)
            going_on = [row for row in active if row.ending is None]
            if len(going_on) < len(active):
                control.progress(sum(row.ending is not None for row in rows), len(rows))
            active = going_on
            yield workspace.bytes

    def _pass(self, workspace: Workspace, rows: Sequence[Row], steps: StaticSteps | None = None) -> torch.Tensor:
        """Feed what is pending of every row as one sequence; return float32 (rows, vocabulary) behind each."""
        device = self.decoder.weight.device
        counts = [len(row.pending) for row in rows]
        ids = [token for row in rows for token in row.pending]
        places = [row.position + step for row in rows for step in range(len(row.pending))]
        owners, groups = (
            torch.tensor(
                [value for row, value in zip(rows, values, strict=True) for _ in row.pending],
                dtype=torch.int32,
                device=device,
            )
            for values in ([row.owner for row in rows], [row.group for row in rows])
        )
        last = torch.tensor(counts, device=device).cumsum(0) - 1
        if steps is not None and steps.fits(len(ids)):
            logits = steps.run(ids, places, owners, groups)[last]
        else:
            mask = workspace.claim(owners, groups)
            positions = torch.tensor(places, device=device).expand(3, 1, -1)
            logits = self.decoder.logits(torch.tensor(ids, device=device)[None], positions, mask, workspace, last)
        for row in rows:
            row.position += len(row.pending)
            row.pending = []
        return logits

    @property
    def _is_static(self) -> bool:
        return self.decoder.weight.is_cuda if self._static is None else self._static

    def _rows(
        self,
        session: PrefixSession,
        questions: Sequence[Sequence[int]],
        room: int,
        matchers: Sequence[Matcher | None] | None,
        groups: Sequence[int] | None,
    ) -> list[Row]:
        blocks = list(groups) if groups is not None else [-1] * len(questions)
        allowed = range(session.groups) if session.groups else (-1,)
        if len(blocks) != len(questions) or any(block not in allowed for block in blocks):
            raise EngineError(
                f"expected the block (of {session.groups}) that each of {len(questions)} questions is about, found "
                f"{len(blocks)} others"
            )
        return [
            self._row(session, ids, room, matcher, (owner, group_owner(block) if block >= 0 else SHARED))
            for owner, (ids, matcher, block) in enumerate(
                zip(questions, matchers or [None] * len(questions), blocks, strict=True)
            )
        ]

    def _row(
        self,
        session: PrefixSession,
        ids: Sequence[int],
        room: int,
        matcher: Matcher | None,
        owner: tuple[int, int],
    ) -> Row:
        if not len(ids):
            raise EngineError("expected at least one token a question, found an empty question")
        if matcher is not None and matcher.vocabulary != self.vocabulary:
            raise EngineError(
                f"expected matchers for {self.vocabulary} tokens, found {matcher.vocabulary}: make them with the "
                "vocabulary of this model"
            )
        row = Row(
            owner=owner[0],
            group=owner[1],
            pending=[int(i) for i in ids],
            position=session.next_position,
            room=room,
            matcher=matcher,
        )
        row.force()
        return row

    def _capacity(self, session: PrefixSession, rows: Sequence[Row]) -> int:
        """Columns that the rows can come to need, prefix included."""
        columns = session.length + sum(len(row.pending) + row.room for row in rows)
        return capacity_for(columns) if self._is_static else columns

    def frames_a_session(self, prompt_tokens: int) -> int | None:
        """Return how many frames one session of :meth:`open_alone` may hold, beside room for answers; None: any."""
        limit = self._limit_bytes()
        if limit is None:
            return None
        return max(1, limit // (3 * prompt_tokens * self.decoder.token_bytes))

    def _limit_bytes(self) -> int | None:
        return None if self._kv_limit_bytes is None else int(self._kv_limit_bytes * self.memory_share)

    def _check_limit(self, tokens: int) -> None:
        needed, limit = tokens * self.decoder.token_bytes, self._limit_bytes()
        if limit is not None and needed > limit:
            raise EngineError(
                f"expected keys and values of at most {limit} bytes, found a need of {needed}: read "
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
        needed = (session.length + self._capacity(session, rows)) * self.decoder.token_bytes
        limit = self._limit_bytes()
        return limit is None or needed <= limit


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
