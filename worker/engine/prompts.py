"""What the model is shown and asked: one prefix for a volume, one text for a question, both without any patient data.

The prefix depends on the frames and the profile only, so that every question of a volume shares it byte for byte.
Another module turns segments into tokens and pixels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from sgmri.errors import ConfigError
from sgmri.interfaces import Frames
from sgmri.questions import Question, QuestionKind
from sgmri.volume import Anatomy, Weighting
from worker.engine.profiles import CoordinateSpace, Layout, PromptProfile

_ROLE = {
    Anatomy.BRAIN: "an expert neuroradiologist",
    Anatomy.KNEE: "an expert musculoskeletal radiologist",
}
_UNITS = {
    CoordinateSpace.PIXEL_XYWH: ("[x, y, width, height]", "in pixels, (x, y) being the top left corner"),
    CoordinateSpace.PIXEL_XYXY: ("[x1, y1, x2, y2]", "in pixels"),
    CoordinateSpace.RELATIVE_1000_XYWH: (
        "[x, y, width, height]",
        "from 0 to 1000 relative to the frame, (x, y) being the top left corner",
    ),
    CoordinateSpace.RELATIVE_1000_XYXY: ("[x1, y1, x2, y2]", "from 0 to 1000 relative to the frame"),
}
_FREE_TEXT_LINE = "Answer in at most three sentences from these frames alone; if they do not show it, say so."


class Role(StrEnum):
    """Whose turn a segment belongs to."""

    SYSTEM = "system"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a prompt: text, or one vision block.

    Parameters
    ----------
    role
        Whose turn it is.
    text
        The words; empty for a vision block.
    frame_indices
        Frames of a vision block, from 0: one, or two neighbours (the last one twice where a partner is missing).
    """

    role: Role
    text: str = ""
    frame_indices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.text) == bool(self.frame_indices):
            raise ValueError("a segment is text or a vision block")


def prefix(frames: Frames, profile: PromptProfile) -> tuple[Segment, ...]:
    """Return what stands before every question about a volume.

    Parameters
    ----------
    frames
        The volume; only its shape, anatomy, plane and weighting are put into words.
    profile
        What the weights were trained on.
    """
    count, rows, columns = frames.pixels.shape
    base = profile.frame_base + frames.first_frame_index
    system = profile.system.format(
        role=_ROLE[frames.anatomy],
        count=count,
        first=base,
        last=base + count - 1,
        series=_series(frames),
        columns=columns,
        rows=rows,
        contract=contract(profile),
    )
    segments = [Segment(role=Role.SYSTEM, text=system)] if system else []
    for block in _blocks(count, profile.layout):
        name = profile.frame_naming.format(number=block[0] + base, last=block[-1] + base)
        if name:
            segments.append(Segment(role=Role.USER, text=name))
        segments.append(Segment(role=Role.USER, frame_indices=block))
    return tuple(segments)


def _blocks(count: int, layout: Layout) -> list[tuple[int, ...]]:
    if layout is Layout.IMAGES:
        return [(index,) for index in range(count)]
    return [(index, min(index + 1, count - 1)) for index in range(0, count, 2)]


def _series(frames: Frames) -> str:
    """Return the kind of series in words, such as "a coronal PD knee MRI volume with fat suppression"."""
    words = [frames.plane.value, frames.weighting.value, frames.anatomy.value]
    if frames.weighting is Weighting.UNKNOWN:
        words.remove(frames.weighting.value)
    suppressed = " with fat suppression" if frames.fat_suppressed else ""
    article = "an" if words[0][0] in "aeiou" else "a"
    return f"{article} {' '.join(words)} MRI volume{suppressed}"


def contract(profile: PromptProfile) -> str:
    """Return the words that define the answer: its JSON keys in order, and what a box is."""
    keys = profile.answer_format
    shape, units = _UNITS[profile.coordinates]
    box = (
        f"{json.dumps(keys.boxes)}: [{{{json.dumps(keys.frame)}: frame number, "
        f'{json.dumps(keys.label)}: "...", {json.dumps(keys.box)}: {shape}}}]'
    )
    words = [f'{json.dumps(key)}: "..."' for key in answer_keys(profile)]
    return f"Answer with one JSON object: {{{', '.join(words)}, {box}}}. Boxes are {shape} {units}; no other form."


def answer_keys(profile: PromptProfile) -> tuple[str, str]:
    """Return the keys of answer and reasoning in the order in which they are written."""
    keys = profile.answer_format
    return (keys.answer, keys.reasoning) if profile.answer_first else (keys.reasoning, keys.answer)


def answer_start(profile: PromptProfile) -> str:
    """Return the characters that every answer of a profile starts with, up to the first value's opening quote."""
    return f'{{{json.dumps(answer_keys(profile)[0])}: "'


def choices(question: Question, profile: PromptProfile) -> tuple[str, tuple[str, ...]]:
    """Return what stands before a choice in the answer, and the choices: yes and no, letters, or options.

    Parameters
    ----------
    question
        A detection or a classification.
    profile
        Says how options are chosen.
    """
    if question.kind is QuestionKind.DETECTION:
        return "", ("Yes", "No")
    if profile.options_by_name:
        return "", question.options
    return "(", tuple(chr(ord("A") + place) for place in range(len(question.options)))


def about_one_frame(kind: QuestionKind, labels: tuple[str, ...], profile: PromptProfile) -> Question:
    """Return the question whether, or where, one of some labels is seen on a single frame.

    Parameters
    ----------
    kind
        Detection or localisation.
    labels
        What is asked for; at least one.
    profile
        Has the words.
    """
    texts = profile.frame_texts
    template = texts.detection if kind is QuestionKind.DETECTION else texts.localisation
    return Question(
        question_id=f"frame.{kind}", kind=kind, text=template.format(finding=" or ".join(labels)), labels=labels
    )


def question_text(question: Question, profile: PromptProfile, *, known: str = "") -> str:
    """Return what is asked, to follow the prefix.

    Parameters
    ----------
    question
        The question; its text may not hold special tokens.
    profile
        What the weights were trained on.
    known
        What has been found so far, as a line of its own; empty where the question does not build on it.

    Raises
    ------
    ConfigError
        If the question's words could be taken for the model's own tokens.
    """
    lines = [f"Question: {question.text}"]
    lines += [f"({chr(ord('A') + place)}) {option}" for place, option in enumerate(question.options)]
    lines.append(known)
    lines.append(_task_line(question.kind, profile))
    if question.kind is QuestionKind.LOCALISATION and question.labels:
        lines.append(f"Label boxes with: {'; '.join(question.labels)}.")
    lines.append(profile.closing)
    text = "\n" + "\n".join(line for line in lines if line)
    if "<|" in text:
        raise ConfigError(f"question {question.question_id}: its text may not hold special tokens (<|...|>)")
    return text


def _task_line(kind: QuestionKind, profile: PromptProfile) -> str:
    lines = profile.task_lines
    return {
        QuestionKind.DETECTION: lines.detection,
        QuestionKind.LOCALISATION: lines.localisation,
        QuestionKind.COUNTING: lines.counting,
        QuestionKind.CLASSIFICATION: lines.classification,
        QuestionKind.CAPTIONING: lines.captioning,
        QuestionKind.FREE_TEXT: _FREE_TEXT_LINE,
    }[kind]


def chatml(segments: Sequence[Segment], question: str | None = None) -> str:
    """Write a prompt with Qwen's special tokens, one placeholder for each vision block.

    Parameters
    ----------
    segments
        As :func:`prefix` returns them.
    question
        As :func:`question_text` returns it; the user's turn is then closed and the assistant's opened. None leaves
        the last turn open: exactly the start that all questions share.

    Notes
    -----
    A placeholder stands for the block; whoever makes tokens repeats it once for each merged patch.
    """
    parts: list[str] = []
    for number, (role, group) in enumerate(groupby(segments, key=lambda segment: segment.role)):
        parts.append("<|im_end|>\n" if number else "")
        parts.append(f"<|im_start|>{role}\n")
        parts.extend(_written(segment) for segment in group)
    if question is not None:
        parts.append(turn(question))
    return "".join(parts)


def turn(question: str) -> str:
    """Return what follows the prefix: the question, the end of the user's turn, and the start of the model's own.

    Parameters
    ----------
    question
        As :func:`question_text` returns it.
    """
    return f"{question}<|im_end|>\n<|im_start|>assistant\n"


def _written(segment: Segment) -> str:
    if segment.text:
        return segment.text
    pad = "<|image_pad|>" if len(segment.frame_indices) == 1 else "<|video_pad|>"
    return f"<|vision_start|>{pad}<|vision_end|>"
