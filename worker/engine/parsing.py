"""From a model's words to an answer: what is not said plainly is no answer, and never a negative one.

Formats in this order: one JSON object, ``<bbx>`` tags, Qwen's box tokens, pairs of corners, bare brackets. The first
that occurs is read alone; coordinates are the profile's, and a form that implies others is refused. The work is
bounded: the text is limited, and expressions are linear in it or limited in length.
"""

import json
import math
import re
import unicodedata
from dataclasses import dataclass

from sgmri.errors import UnparsableAnswer
from sgmri.findings import Finding, link
from sgmri.questions import Answer, Presence, Question, QuestionKind, Unanswered
from sgmri.volume import Anatomy
from worker.engine.profiles import PromptProfile
from worker.engine.said import MAX_BOXES, MAX_SHOWN, MAX_TEXT_BYTES, Asked, Problem, Said
from worker.engine.said_boxes import boxes_of, claim_in_json, claims_in_text
from worker.engine.said_values import value_of

_WORDY = (QuestionKind.CAPTIONING, QuestionKind.FREE_TEXT)
"""Kinds whose answer is its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What an output says, in model pixels.

    Parameters
    ----------
    presence, count, chosen
        The value of a detection, counting or classification; empty where none is said plainly.
    boxes
        One a frame and place, in pixels of the frame, inside it.
    text, reasoning
        The words, without box markup, control characters and thoughts' tags.
    problems
        Everything that was wrong, without the words themselves.
    """

    presence: Presence | None = None
    count: int | None = None
    chosen: tuple[str, ...] = ()
    boxes: tuple[Finding, ...] = ()
    text: str = ""
    reasoning: str = ""
    problems: tuple[Problem, ...] = ()

    @property
    def problem(self) -> str | None:
        """All problems in words; None where there is none."""
        return "; ".join(self.problems) or None


def parse(  # noqa: PLR0913 - what an output is held against, all but four keyword-only
    text: str,
    question: Question,
    profile: PromptProfile,
    geometry: tuple[int, int, int],
    *,
    anatomy: Anatomy,
    frame_index: int | None = None,
    first_frame_index: int = 0,
) -> Parsed:
    """Read a model's output.

    Parameters
    ----------
    text
        The output, whatever it is.
    question, profile
        What was asked, and what the weights write.
    geometry
        Rows, columns and number of the frames that the model was shown, in this order.
    anatomy
        What was read; names a box that has no label of its own.
    frame_index
        The one frame (from 0) that was asked about; boxes on others are refused. None for the whole volume.
    first_frame_index
        Which frame of the volume the first one shown was called.

    Returns
    -------
    Never an exception for a text: what cannot be read stands in ``problems``.
    """
    asked = Asked(question, profile, *geometry, anatomy, frame_index, first_frame_index)
    try:
        said = _said(text, asked)
        boxes, problems = boxes_of(said.claims, asked)
        presence, count, chosen = value_of(said, question)
    except UnparsableAnswer as error:
        return Parsed(problems=(Problem(str(error)),))
    answer, reasoning = _shown(said.text), _shown(said.reasoning)
    needed = {QuestionKind.LOCALISATION: boxes, **dict.fromkeys(_WORDY, answer)}
    if not needed.get(question.kind, presence is not None or count is not None or chosen):
        problems = (Problem.UNDECIDED, *problems)
    denied = presence in (Presence.ABSENT, Presence.UNDETERMINED) or count == 0
    if denied and said.claims:
        presence, count, problems = None, None, (Problem.CONTRADICTION, *problems)
    return Parsed(
        presence=presence,
        count=count,
        chosen=chosen,
        boxes=boxes,
        text=answer,
        reasoning=reasoning,
        problems=tuple(dict.fromkeys(problems)),
    )


def to_answer(parsed: Parsed, question: Question, tracklet_prefix: str) -> Answer:
    """Turn what was read into an answer; without a plain value it is "not assessed", never a negative.

    Parameters
    ----------
    parsed
        Of this question.
    question
        What was asked.
    tracklet_prefix
        Start of the tracklets' ids; another one for every question of a reading.
    """
    kind = question.kind
    has_value = {
        QuestionKind.DETECTION: parsed.presence is not None,
        QuestionKind.COUNTING: parsed.count is not None,
        QuestionKind.CLASSIFICATION: bool(parsed.chosen),
        QuestionKind.LOCALISATION: bool(parsed.boxes),
        **dict.fromkeys(_WORDY, bool(parsed.text)),
    }
    denied = parsed.presence in (Presence.ABSENT, Presence.UNDETERMINED) or parsed.count == 0
    reason = None if has_value[kind] else Unanswered.UNPARSABLE
    if Problem.CONTRADICTION in parsed.problems or (denied and parsed.boxes):
        reason = Unanswered.CONTRADICTION
    if reason is not None:
        return Answer(question_id=question.question_id, kind=kind, unanswered=reason)
    return Answer(
        question_id=question.question_id,
        kind=kind,
        presence=parsed.presence if kind is QuestionKind.DETECTION else None,
        count=parsed.count if kind is QuestionKind.COUNTING else None,
        chosen=parsed.chosen if kind is QuestionKind.CLASSIFICATION else (),
        text=parsed.text,
        reasoning=parsed.reasoning,
        evidence=link(parsed.boxes, prefix=tracklet_prefix),
    )


def _said(text: str, asked: Asked) -> Said:
    if len(text) > MAX_TEXT_BYTES or len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise UnparsableAnswer(Problem.TOO_LONG)
    text = text.strip()
    while text.endswith(("<|im_end|>", "<|endoftext|>")):
        text = text.removesuffix("<|im_end|>").removesuffix("<|endoftext|>").rstrip()
    thought = ""
    if text.startswith("<think>"):
        thought, _, text = text.removeprefix("<think>").partition("</think>")
    if any(mark in text for mark in ("<|im_", "<think>", "</think>")):
        raise UnparsableAnswer(Problem.MALFORMED)
    if "{" in text:
        return _said_in_json(text, thought, asked)
    words = collapsed(text)
    first, _, rest = words.partition("\n" if "\n" in words else ". ")
    if asked.question.kind in _WORDY:
        first, rest = words, ""
    return Said(words, thought, first, f"{rest}\n{thought}", claims_in_text(words, asked.profile))


def _said_in_json(text: str, thought: str, asked: Asked) -> Said:
    """Read the one object, or list of boxes, that a text holds; the words around it must not hold another."""
    start = text.index("{")
    if text[:start].rstrip().endswith("["):
        start = text[:start].rstrip().rindex("[")
    try:
        found, end = _JSON.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise UnparsableAnswer(Problem.BROKEN_JSON) from error
    around = collapsed(f"{text[:start]}\n{text[end:]}".replace("```json", ""))
    if "{" in around or "}" in around:
        raise UnparsableAnswer(Problem.MALFORMED)
    keys = asked.profile.answer_format
    if isinstance(found, list) or not {keys.answer, keys.reasoning, keys.boxes} & set(found):
        found = {keys.answer: around, keys.boxes: found if isinstance(found, list) else [found]}
    answer = _as_words(found.get(keys.answer, ""))
    listed = found.get(keys.boxes) or []
    reasoning = _as_words(found.get(keys.reasoning, ""))
    if not isinstance(listed, list):
        raise UnparsableAnswer(Problem.MALFORMED)
    claims = tuple(claim_in_json(item, asked.profile) for item in listed[: MAX_BOXES + 1])
    if not claims:
        claims = claims_in_text(f"{answer}\n{around}", asked.profile)
    elsewhere = "\n".join((around, thought))
    return Said(answer, f"{elsewhere}\n{reasoning}", answer, f"{thought}\n{reasoning}", claims)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


_JSON = json.JSONDecoder(
    object_pairs_hook=_once,
    # Longer numbers are none that we could use, and int() refuses or takes very long on some
    parse_int=lambda digits: int(digits) if len(digits) <= 8 else math.inf,
)


def _as_words(value: object) -> str:
    """Return a JSON value as words: a string, a whole number, or a list of strings."""
    if isinstance(value, str):
        return collapsed(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return collapsed("; ".join(value))
    raise UnparsableAnswer(Problem.UNDECIDED)


def collapsed(text: str) -> str:
    """Return the lines that hold something, with single spaces, without emphasis."""
    plain = re.sub(r"[*`]|__", "", text)
    return "\n".join(" ".join(line.split()) for line in plain.splitlines() if line.strip())


_MARKUP = re.compile(r"<bbx>.{0,200}?</bbx>|<\|box_start\|>.{0,200}?<\|box_end\|>")


def _shown(text: str) -> str:
    """Return words for people: numbers of another pixel space, tags and control characters are left out."""
    text = re.sub(r"<[|/]?\w{1,20}\|?>", "", _MARKUP.sub("(box)", text[: 2 * MAX_SHOWN]))
    kept = (char if char == "\n" or unicodedata.category(char)[0] != "C" else " " for char in text)
    lines = (" ".join(line.split()) for line in "".join(kept).split("\n"))
    return "\n".join(line for line in lines if line)[:MAX_SHOWN].strip()
