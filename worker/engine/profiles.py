"""Prompt profiles: what a set of weights was trained to read and to write, as values that a bundle can carry.

Nothing here is guessed from an output: the coordinate space, the number of the first frame and the answer's keys are
the profile's, and the parser believes nothing else.
"""

import math
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from enum import StrEnum
from string import Formatter
from types import MappingProxyType

from sgmri.errors import ConfigError, InvalidGeometry
from sgmri.geometry import Box

CLIPPING_MARGIN_PX = 2.0
"""How far (model pixels) a written edge may leave its frame and still count as a rounding error."""

_MIN_SIZE_PX = 0.05
"""Boxes thinner than this (model pixels) are no boxes: mapped to the source they could vanish."""

_MAX_PROFILE_TEXT = 8192


class CoordinateSpace(StrEnum):
    """What four written numbers mean. Pixels are those of the frame whose size the prompt names."""

    PIXEL_XYWH = "pixel_xywh"
    PIXEL_XYXY = "pixel_xyxy"
    RELATIVE_1000_XYWH = "relative_1000_xywh"
    RELATIVE_1000_XYXY = "relative_1000_xyxy"

    @property
    def has_corners(self) -> bool:
        """Whether the last two numbers are the far corner, not a size."""
        return self in (CoordinateSpace.PIXEL_XYXY, CoordinateSpace.RELATIVE_1000_XYXY)

    @property
    def is_relative(self) -> bool:
        """Whether the numbers are thousandths of the frame's width and height."""
        return self in (CoordinateSpace.RELATIVE_1000_XYWH, CoordinateSpace.RELATIVE_1000_XYXY)

    def _units(self, rows: int, columns: int) -> tuple[float, float]:
        """Return pixels per written unit along x and y."""
        return (columns / 1000, rows / 1000) if self.is_relative else (1.0, 1.0)

    def read(self, numbers: tuple[float, float, float, float], rows: int, columns: int) -> Box:
        """Turn four written numbers into a box in model pixels.

        Parameters
        ----------
        numbers
            As written, in this space.
        rows, columns
            Matrix of the frame.

        Raises
        ------
        InvalidGeometry
            If a number is not finite, the box is empty, or it leaves the frame by more than a rounding error.
        """
        if not all(math.isfinite(number) for number in numbers):
            raise InvalidGeometry("a box needs four finite numbers")
        unit_x, unit_y = self._units(rows, columns)
        x0, y0 = numbers[0] * unit_x, numbers[1] * unit_y
        x1, y1 = numbers[2] * unit_x, numbers[3] * unit_y
        if not self.has_corners:
            x1, y1 = x1 + x0, y1 + y0
        if not (x1 > x0 and y1 > y0):
            raise InvalidGeometry("a box needs a positive width and height")
        margin = CLIPPING_MARGIN_PX
        if x0 < -margin or y0 < -margin or x1 > columns + margin or y1 > rows + margin:
            raise InvalidGeometry("the box leaves its frame by more than a rounding error")
        box = Box(x0=max(0.0, x0), y0=max(0.0, y0), x1=min(x1, float(columns)), y1=min(y1, float(rows)))
        if box.width < _MIN_SIZE_PX or box.height < _MIN_SIZE_PX:
            raise InvalidGeometry("too little of the box lies on its frame")
        return box

    def write(self, box: Box, rows: int, columns: int) -> tuple[int, int, int, int]:
        """Turn a box in model pixels into the four whole numbers that stand for it; never an empty box."""
        unit_x, unit_y = self._units(rows, columns)
        x0, x1 = _rounded(box.x0 / unit_x, box.x1 / unit_x)
        y0, y1 = _rounded(box.y0 / unit_y, box.y1 / unit_y)
        return (x0, y0, x1, y1) if self.has_corners else (x0, y0, x1 - x0, y1 - y0)


def _rounded(start: float, end: float) -> tuple[int, int]:
    """Round two edges half up, and keep at least one unit between them."""
    first, last = math.floor(start + 0.5), math.floor(end + 0.5)
    if last > first:
        return first, last
    middle = math.floor((start + end) / 2)
    return middle, middle + 1


class Layout(StrEnum):
    """How frames are shown: one vision block a frame, or one for each pair of neighbouring frames."""

    IMAGES = "images"
    VIDEO_PAIRS = "video_pairs"


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelBudget:
    """How many pixels a frame is resized to at least and at most; 32 x 32 of them are one token."""

    min_pixels: int
    max_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFormat:
    """Keys of the JSON object that is asked for, and of each box in it."""

    answer: str = "answer"
    reasoning: str = "reasoning"
    boxes: str = "bboxes"
    frame: str = "frame"
    label: str = "label"
    box: str = "bbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLines:
    """The line after the question that says what sort of answer it wants, one for each kind."""

    detection: str
    localisation: str
    counting: str
    classification: str
    captioning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTexts:
    """What is asked about one frame that is shown alone; each may use ``{finding}``."""

    detection: str
    localisation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptProfile:
    """Everything about prompts and answers that depends on the weights.

    Parameters
    ----------
    name
        What the profile is called in settings and bundles.
    coordinates
        What the four numbers of a box mean.
    frame_base
        Number of the first frame, 0 or 1.
    frame_naming
        Text before each vision block; may use ``{number}`` and (video pairs) ``{last}``. Empty: frames are not named.
    layout, pixel_budget
        How frames are shown.
    answer_first
        Whether the answer is written before the reasoning.
    answer_format
        Keys of the answer.
    options_by_name
        Whether an option is chosen by its words; without, by its letter in parentheses.
    system
        The first turn; may use ``{role}``, ``{count}``, ``{first}``, ``{last}``, ``{series}``, ``{columns}``,
        ``{rows}`` and ``{contract}``.
    task_lines, closing
        What stands after the question, and after that.
    frame_texts
        How a finding is asked for on a single frame.

    Raises
    ------
    ConfigError
        If a value cannot be used; a text that holds one of the model's special tokens is none.
    """

    name: str
    coordinates: CoordinateSpace
    frame_base: int
    frame_naming: str
    layout: Layout
    pixel_budget: PixelBudget
    answer_first: bool
    answer_format: AnswerFormat
    options_by_name: bool
    system: str
    task_lines: TaskLines
    closing: str
    frame_texts: FrameTexts

    def __post_init__(self) -> None:
        if self.frame_base not in (0, 1):
            raise ConfigError(f"prompt profile: frame_base is 0 or 1, found {self.frame_base}")
        budget = self.pixel_budget
        if not 0 < budget.min_pixels <= budget.max_pixels:
            raise ConfigError("prompt profile: pixel_budget needs 0 < min_pixels <= max_pixels")
        keys = list(asdict(self.answer_format).values())
        if len(set(keys[:3])) < 3 or len(set(keys[3:])) < 3 or not all(key.isidentifier() for key in keys):
            raise ConfigError("prompt profile: the keys of answer_format are different plain words")
        _check_template("frame_naming", self.frame_naming, {"number", "last"})
        _check_template(
            "system", self.system, {"role", "count", "first", "last", "series", "columns", "rows", "contract"}
        )
        for name, text in asdict(self.frame_texts).items():
            _check_template(f"frame_texts.{name}", text, {"finding"})
        for text in (self.name, self.closing, *asdict(self.task_lines).values()):
            _check_text("text", text)


def _check_text(name: str, text: str) -> None:
    if "<|" in text or len(text) > _MAX_PROFILE_TEXT:
        raise ConfigError(f"prompt profile: {name} may not hold special tokens (<|...|>) nor exceed 8192 characters")


def _check_template(name: str, text: str, allowed: set[str]) -> None:
    """Refuse a template that :meth:`str.format` cannot fill with plain values."""
    _check_text(name, text)
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(f"prompt profile: {name} is no template: {error}") from error
    for _, field, spec, conversion in parts:
        if field is not None and (field not in allowed or spec or conversion):
            raise ConfigError(f"prompt profile: {name} may only use {{{'}, {'.join(sorted(allowed))}}}")


def to_mapping(profile: PromptProfile) -> dict[str, object]:
    """Return a profile as plain values that JSON can hold."""
    plain = asdict(profile)
    return {key: str(value) if isinstance(value, StrEnum) else value for key, value in plain.items()}


def from_mapping(mapping: Mapping[str, object]) -> PromptProfile:
    """Return the profile that a mapping (of a bundle) holds.

    Parameters
    ----------
    mapping
        As :func:`to_mapping` writes it: every key, no other.

    Raises
    ------
    ConfigError
        If a key is missing or unknown, or a value cannot be used.
    """
    profile = _built(PromptProfile, mapping, "prompt profile")
    assert isinstance(profile, PromptProfile)
    return profile


def _built(kind: type, mapping: object, path: str) -> object:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{path}: expected a table, found {type(mapping).__name__}")
    if not is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is no dataclass")
    names = {field.name for field in fields(kind)}
    if unknown := sorted(str(key) for key in mapping if key not in names):
        raise ConfigError(f"{path}: unknown keys {unknown}; known are {', '.join(sorted(names))}")
    if missing := sorted(names - set(mapping)):
        raise ConfigError(f"{path}: keys {missing} are missing")
    hints = typing.get_type_hints(kind)
    built: object = kind(**{name: _value(hints[name], mapping[name], f"{path}.{name}") for name in names})
    return built


def _value(hint: type, value: object, path: str) -> object:
    if is_dataclass(hint):
        return _built(hint, value, path)
    if issubclass(hint, StrEnum):
        if not isinstance(value, str) or value not in [str(member) for member in hint]:
            raise ConfigError(f"{path}: expected one of {', '.join(hint)}")
        return hint(value)
    if type(value) is not hint:
        raise ConfigError(f"{path}: expected {hint.__name__}, found {type(value).__name__}")
    return value


_SYSTEM = (
    "You are {role}. For research use only, not for diagnosis. You are shown {count} frames (Frame {first} through "
    "Frame {last}) of {series}, each {columns}x{rows} pixels.\n{contract}"
)
_TASK_LINES = TaskLines(
    detection="Answer Yes or No.",
    localisation="Say where it is, and list one box for every frame on which it is seen.",
    counting="Answer with a number.",
    classification="Answer with the letter in parentheses; select all that apply.",
    captioning="Answer in two or three sentences.",
)
_CLOSING = "Respond ONLY with the JSON object."
_FRAME_TEXTS = FrameTexts(
    detection="Is there evidence of {finding} in this MRI image?", localisation="Where is the {finding} located?"
)
_NATIVE = PixelBudget(min_pixels=65_536, max_pixels=451_584)

_SFT_FAST = PromptProfile(
    name="sgmri-vqa-sft",
    coordinates=CoordinateSpace.PIXEL_XYWH,
    frame_base=1,
    frame_naming="",
    layout=Layout.IMAGES,
    pixel_budget=_NATIVE,
    answer_first=False,
    answer_format=AnswerFormat(),
    options_by_name=False,
    system=_SYSTEM,
    task_lines=_TASK_LINES,
    closing=_CLOSING,
    frame_texts=_FRAME_TEXTS,
)


PROFILES: Mapping[str, PromptProfile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            # Ours: every frame is preceded by its name, so that the text can point at it
            replace(
                _SFT_FAST,
                name="sgmri",
                coordinates=CoordinateSpace.RELATIVE_1000_XYXY,
                frame_naming="Frame {number}: ",
                pixel_budget=PixelBudget(min_pixels=16_384, max_pixels=102_400),
                answer_first=True,
            ),
            # The published weights (arXiv 2604.15808): frames at about their own size, 64 to 441 tokens each
            _SFT_FAST,
            # The same as they were scored: every frame enlarged to about 800 x 800 pixels, 625 tokens
            replace(
                _SFT_FAST,
                name="sgmri-vqa-sft-reference",
                pixel_budget=PixelBudget(min_pixels=602_112, max_pixels=4_014_080),
            ),
            # The base model: its own grounding key, corners in thousandths of the frame
            replace(
                _SFT_FAST,
                name="qwen3-vl",
                coordinates=CoordinateSpace.RELATIVE_1000_XYXY,
                frame_naming="Frame {number}: ",
                answer_format=AnswerFormat(box="bbox_2d"),
            ),
        )
    }
)
"""Profile by name."""
