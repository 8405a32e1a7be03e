"""The JSON schema of an answer: what a model may say to each kind of question, in the words of its profile."""

from collections.abc import Mapping
from dataclasses import dataclass

from sgmri.questions import Question, QuestionKind
from worker.engine.profiles import PromptProfile
from worker.engine.prompts import answer_keys

Schema = Mapping[str, object]
"""A JSON schema, as far as llguidance and the servers read it."""

_BOXED = (QuestionKind.LOCALISATION, QuestionKind.CAPTIONING, QuestionKind.FREE_TEXT)
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
    values = {keys.answer: _answer(question, profile, limits), keys.reasoning: _text(limits.max_characters)}
    fields: dict[str, Schema] = {key: values[key] for key in answer_keys(profile)}
    if question.kind in _BOXED:
        # A caption may show nothing
        least = limits.min_boxes if question.kind is QuestionKind.LOCALISATION else 0
        boxes = {"type": "array", "items": _box(profile, limits), "minItems": least, "maxItems": limits.max_boxes}
        fields[keys.boxes] = boxes
    return _object(fields)


def _answer(question: Question, profile: PromptProfile, limits: AnswerLimits) -> Schema:
    if question.kind is QuestionKind.DETECTION:
        return {"enum": ["Yes", "No"]}
    if question.kind is QuestionKind.COUNTING:
        return _integer(0, limits.max_count)
    if question.kind is QuestionKind.CLASSIFICATION and profile.options_by_name:
        return {"enum": list(question.options)}
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
