"""Grammar-constrained answers: a JSON schema is followed token by token, so that every finished answer parses."""

import json
from collections.abc import Sequence
from pathlib import Path

import llguidance
import numpy as np
from numpy.typing import NDArray

from sgmri.errors import ConfigError, EngineError
from worker.engine.grammar_schema import Schema

_SPELLING: Schema = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""How the answers of the training set are spelt; free white space would only cost tokens."""


class Grammars:
    """Makes matchers for one tokenizer; the table of its tokens is built once.

    Parameters
    ----------
    tokenizer_file
        The ``tokenizer.json`` of the model.
    vocabulary
        Width of the model's logits; rows of it that have no token are never allowed.
    end_id
        The token that ends an answer.

    Raises
    ------
    ConfigError
        If the file cannot be read as a tokenizer.
    """

    def __init__(self, tokenizer_file: Path, *, vocabulary: int, end_id: int) -> None:
        try:
            text = tokenizer_file.read_text(encoding="utf-8")
            self._tokenizer = llguidance.LLTokenizer(text, n_vocab=vocabulary, eos_token=end_id)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"expected the tokenizer.json of a fast tokenizer with at most {vocabulary} tokens, found a file that "
                f"cannot be used ({type(error).__name__}); check the model directory"
            ) from error
        self._end_id = end_id
        self._vocabulary = vocabulary

    def matcher(self, schema: Schema) -> "Matcher":
        """Return a fresh matcher at the start of an answer.

        Raises
        ------
        EngineError
            If the schema cannot be followed.
        """
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps({**schema, "x-guidance": _SPELLING}))
        # log_level 0: a log line of the library would show the model's text
        inner = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        if inner.is_error():
            raise EngineError("expected a JSON schema that llguidance can follow, found one that it refuses")
        return Matcher(inner, vocabulary=self._vocabulary, end_id=self._end_id)


class Matcher:
    """Follows one answer token by token; of one answer only, never shared.

    Parameters
    ----------
    inner
        The library's matcher, at the start.
    vocabulary
        Width of the model's logits.
    end_id
        The token that ends an answer.
    """

    def __init__(self, inner: llguidance.LLMatcher, *, vocabulary: int, end_id: int) -> None:
        self._inner = inner
        self._vocabulary = vocabulary
        self._end_id = end_id

    @property
    def vocabulary(self) -> int:
        """Width of the logits that its masks fit."""
        return self._vocabulary

    @property
    def is_complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return bool(self._inner.is_stopped())

    def advance(self, token_id: int) -> None:
        """Take the token that was chosen.

        Raises
        ------
        EngineError
            If the grammar does not allow it.
        """
        if not self._inner.consume_token(token_id) or self._inner.is_error():
            raise EngineError("expected a token that the answer's grammar allows, found another; report this as a bug")

    def take_forced(self) -> tuple[int, ...]:
        """Take and return the tokens that must come next; empty where there is a choice."""
        if self.is_complete:
            return ()
        forced = tuple(int(token) for token in self._inner.compute_ff_tokens() if token != self._end_id)
        if forced and not self._inner.consume_tokens(list(forced)):
            raise EngineError("expected the grammar to allow what it forces, found a refusal; report this as a bug")
        return forced

    def write_mask(self, row: NDArray[np.uint32]) -> None:
        """Write which tokens may come next.

        Parameters
        ----------
        row
            uint32 (ceil(vocabulary / 32),), C-contiguous, overwritten: bit i of word w allows token 32 w + i.
        """
        self._inner.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)


def allowed_tokens(matchers: Sequence[Matcher | None], vocabulary: int) -> NDArray[np.bool_]:
    """Return which tokens may come next in each of several answers.

    Parameters
    ----------
    matchers
        One for each answer; None allows every token.
    vocabulary
        Width of the logits.

    Returns
    -------
    bool (answers, vocabulary)
    """
    words = np.full((len(matchers), -(-vocabulary // 32)), np.iinfo(np.uint32).max, dtype="<u4")
    for row, matcher in zip(words, matchers, strict=True):
        if matcher is not None:
            matcher.write_mask(row)
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
    allowed: NDArray[np.bool_] = bits[:, :vocabulary].astype(bool)
    return allowed
