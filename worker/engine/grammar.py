"""Grammar-constrained answers: a JSON schema for each kind of question, so that every finished answer parses."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import llguidance
import numpy as np
from numpy.typing import NDArray

from sgmri.errors import ConfigError, EngineError
from sgmri.questions import Question, QuestionKind
from worker.engine.profiles import PromptProfile
from worker.engine.prompts import answer_keys

Schema = Mapping[str, object]
"""A JSON schema, as far as llguidance reads it."""

_SPELLING: Schema = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""How the answers of the training set are spelt; free white space would only cost tokens."""

_BOXED = (QuestionKind.LOCALISATION, QuestionKind.CAPTIONING)
"""The kinds whose answers carry boxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """What an answer can say about given frames.

    Parameters
    ----------
    frame_numbers
        First and last frame number (in the profile's counting) that a box may name.
    rows, columns
        Size of a frame in pixels, as the prompt names it.
    labels
        What a box may be called; empty where it may be called anything of up to 80 characters.
    min_boxes, max_boxes
        Fewest boxes of a localisation, and most of any answer.
    max_count
        Highest number that a counting answer can say.
    max_characters
        Most characters of the reasoning, and of a free answer.
    """

    frame_numbers: tuple[int, int]
    rows: int
    columns: int
    labels: tuple[str, ...] = ()
    min_boxes: int = 1
    max_boxes: int = 16
    max_count: int = 100
    max_characters: int = 400


def answer_schema(question: Question, profile: PromptProfile, limits: AnswerLimits) -> Schema:
    """Return the JSON schema of the answer to a question: the profile's keys, in its order.

    Localisation and captioning also have the list of boxes. Whether a box is empty, or its far edge inside the
    frame, is no matter of a schema: the reader of the answer looks.

    Parameters
    ----------
    question
        Its kind decides the answer; a classification chooses among the letters of its options.
    profile
        What the weights write.
    limits
        Bounds of numbers and texts.
    """
    keys = profile.answer_format
    values = {keys.answer: _answer(question, limits), keys.reasoning: _text(limits.max_characters)}
    fields: dict[str, Schema] = {key: values[key] for key in answer_keys(profile)}
    if question.kind in _BOXED:
        # A caption may show nothing
        least = limits.min_boxes if question.kind is QuestionKind.LOCALISATION else 0
        boxes = {"type": "array", "items": _box(profile, limits), "minItems": least, "maxItems": limits.max_boxes}
        fields[keys.boxes] = boxes
    return _object(fields)


def _answer(question: Question, limits: AnswerLimits) -> Schema:
    if question.kind is QuestionKind.DETECTION:
        return {"enum": ["Yes", "No"]}
    if question.kind is QuestionKind.COUNTING:
        return _integer(0, limits.max_count)
    if question.kind is QuestionKind.CLASSIFICATION:
        letter = rf"\([A-{chr(ord('A') + len(question.options) - 1)}]\)"
        return {"type": "string", "pattern": f"^{letter}(, {letter}){{0,{len(question.options) - 1}}}$"}
    return _text(limits.max_characters)


def _box(profile: PromptProfile, limits: AnswerLimits) -> Schema:
    """Return the schema of one box: the near corner inside the frame, the other numbers at least one unit."""
    space, keys = profile.coordinates, profile.answer_format
    width, height = (1000, 1000) if space.is_relative else (limits.columns, limits.rows)
    sides = (_integer(0, width - 1), _integer(0, height - 1), _integer(1, width), _integer(1, height))
    first, last = limits.frame_numbers
    return _object(
        {
            keys.frame: _integer(first, last),
            keys.label: {"enum": list(limits.labels)} if limits.labels else _text(80),
            keys.box: {"type": "array", "prefixItems": list(sides), "items": False, "minItems": 4, "maxItems": 4},
        }
    )


def _object(fields: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _integer(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _text(max_characters: int) -> Schema:
    # Printable ASCII without quotation mark and backslash: a lone escape or half a character never ends up in a report
    return {"type": "string", "pattern": rf"^[ !#-\[\]-~]{{0,{max_characters}}}$"}


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
