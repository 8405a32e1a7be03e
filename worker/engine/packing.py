"""Many questions behind one prefix as one sequence: who sees what, and how far each answer has come."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import torch

from worker.engine.grammar import Matcher

SHARED = -1
"""Owner of the columns that every question sees."""
_UNCLAIMED = -(1 << 30)
"""Owner of columns that nobody has written yet."""


def group_owner(group: int) -> int:
    """Return the owner of the columns that only the questions of one group see, counted from 0."""
    return -2 - group


class Ending(StrEnum):
    """Why an answer stops where it does."""

    END = "the model or the grammar ended it"
    LENGTH = "the limit of new tokens was reached"
    DEADLINE = "the time limit was reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """The tokens of one answer.

    Parameters
    ----------
    token_ids
        Without the token that ends it.
    ending
        Why it stops; anything but END may be half an answer.
    forced
        How many of the tokens the grammar left no choice about.
    """

    token_ids: tuple[int, ...]
    ending: Ending
    forced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """The answers of one run, in the order of its questions, and what they cost.

    Parameters
    ----------
    answers
        One for each question.
    passes
        Forward passes of the decoder.
    working_bytes
        Largest key/value workspace in use at one time, beside the session's own.
    """

    answers: tuple[Generated, ...]
    passes: int
    working_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrefixSession:
    """Keys and values of one prefix, or of several that share their start; never written to, so that any number of
    runs can start from it.

    Parameters
    ----------
    keys, values
        One a decoder layer: (1, key/value heads, tokens, head size).
    owners
        int32 (tokens,): :data:`SHARED`, or :func:`group_owner` for a block that only its own questions see.
    next_position
        Position (all three axes) of the token that follows; the same behind every block.
    groups
        How many blocks there are; 0 where everything is shared.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    owners: torch.Tensor
    next_position: int
    groups: int = 0

    @property
    def length(self) -> int:
        """Tokens of the prefix."""
        return int(self.keys[0].shape[2])

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


class Workspace:
    """Keys and values of a run: the prefix copied once, then whatever the questions append, without copying again.

    Serves the decoder layers in the place of a transformers cache, of which they only call ``update``. While
    ``columns`` is set, new keys go to these columns and every layer sees all columns: shapes never change, as a CUDA
    graph needs it (:mod:`worker.engine.static`). Otherwise they are appended, and a layer sees what there is.
    """

    def __init__(self, session: PrefixSession, capacity: int) -> None:
        self.length = session.length
        self.columns: torch.Tensor | None = None
        self.keys = [self._room(tensor, capacity) for tensor in session.keys]
        self.values = [self._room(tensor, capacity) for tensor in session.values]
        self.owners = torch.full((capacity,), _UNCLAIMED, dtype=torch.int32, device=session.keys[0].device)
        self.owners[: self.length] = session.owners

    @staticmethod
    def _room(prefix: torch.Tensor, capacity: int) -> torch.Tensor:
        batch, heads, length, size = prefix.shape
        # Zeros, for a masked column is multiplied by 0, and 0 x NaN is NaN
        room = prefix.new_zeros((batch, heads, capacity, size))
        room[:, :, :length] = prefix
        return room

    @property
    def capacity(self) -> int:
        """Columns that there are."""
        return len(self.owners)

    @property
    def bytes(self) -> int:
        """Memory of keys and values, the copy of the prefix included."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def claim(self, owners: torch.Tensor, groups: torch.Tensor, *, seen: int | None = None) -> torch.Tensor:
        """Claim the next columns, and return bool (1, 1, new, seen): what each sees.

        Parameters
        ----------
        owners
            int32 (new,): the question of each new column.
        groups
            int32 (new,): :func:`group_owner` of the block that it belongs to, or :data:`SHARED`.
        seen
            How many columns the mask is about; None for those up to the new ones.
        """
        start, stop = self.length, self.length + len(owners)
        self.owners[start:stop] = owners
        self.length = stop
        columns = self.owners[: seen or stop]
        index = torch.arange(len(columns), device=owners.device)
        mine = (columns[None] == SHARED) | (columns[None] == owners[:, None]) | (columns[None] == groups[:, None])
        return (mine & (index[None] <= index[start:stop, None]))[None, None]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new columns of a layer and return its columns: all so far, or all there are."""
        if self.columns is not None:
            self.keys[layer].index_copy_(2, self.columns, keys)
            self.values[layer].index_copy_(2, self.columns, values)
            return self.keys[layer], self.values[layer]
        start = self.length - keys.shape[2]
        self.keys[layer][:, :, start : self.length] = keys
        self.values[layer][:, :, start : self.length] = values
        return self.keys[layer][:, :, : self.length], self.values[layer][:, :, : self.length]


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One question under way; ``group`` is the owner of the block that it is about, or :data:`SHARED`."""

    owner: int
    group: int
    pending: list[int]
    position: int
    room: int
    matcher: Matcher | None
    token_ids: list[int] = field(default_factory=list)
    forced: int = 0
    ending: Ending | None = None

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens of the answer, to be fed in the next pass, as far as there is room."""
        kept = list(token_ids[: self.room])
        self.token_ids += kept
        self.pending += kept
        self.room -= len(kept)
        if self.room == 0 and self.ending is None:
            self.ending = Ending.LENGTH

    def force(self) -> None:
        """Append what the grammar leaves no choice about; end where it is complete."""
        if self.matcher is None:
            return
        before = len(self.token_ids)
        forced = self.matcher.take_forced()
        if self.matcher.is_complete and len(forced) <= self.room:
            self.ending = Ending.END
        self.extend(forced)
        self.forced += len(self.token_ids) - before

    def choose(self, token_id: int, end_ids: frozenset[int]) -> None:
        """Take the model's next token."""
        if token_id in end_ids:
            self.ending = Ending.END
            return
        if self.matcher is not None:
            self.matcher.advance(token_id)
            if self.matcher.is_complete:
                self.ending = Ending.END
        self.extend([token_id])
        if self.ending is None:
            self.force()

    def generated(self) -> Generated:
        """Return the answer as it stands; one that nothing ended was stopped by the time limit."""
        ending = self.ending or Ending.DEADLINE
        return Generated(token_ids=tuple(self.token_ids), ending=ending, forced=self.forced)
