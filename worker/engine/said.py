"""What a model's output says, before it is judged: the words shared by the parser's parts."""

from dataclasses import dataclass
from enum import StrEnum

from sgmri.questions import Question
from sgmri.volume import Anatomy
from worker.engine.profiles import PromptProfile

MAX_TEXT_BYTES = 64 * 1024
MAX_BOXES = 512
MAX_SHOWN = 4000  # characters of a text that is kept


class Problem(StrEnum):
    """What was wrong with an output; the first group leaves nothing of it, the second costs a box."""

    TOO_LONG = "the output is longer than 64 KiB"
    MALFORMED = "the output mixes turns, thoughts or several answers"
    BROKEN_JSON = "the JSON is broken or cut off"
    CONTRADICTION = "the output says two things"
    UNDECIDED = "the output does not answer the question"

    BAD_BOX = "a box is not four usable numbers"
    NOT_ON_FRAME = "a box is empty, or leaves its frame by more than a rounding error"
    NO_FRAME = "a box names no frame, or not the one asked about"
    OTHER_LABEL = "a box is about another finding"
    OTHER_COORDINATES = "a box is written in a form that the profile's coordinates do not have"
    TOO_MANY_BOXES = "more boxes than a volume can have"


@dataclass(frozen=True, slots=True)
class Asked:
    """The question, the profile it was asked in, and the frames it was asked about."""

    question: Question
    profile: PromptProfile
    rows: int
    columns: int
    frame_count: int
    anatomy: Anatomy
    frame_index: int | None
    first_frame_index: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A box as written: frame number, four numbers (None: unusable), label; or what is wrong with it."""

    frame: object = None
    numbers: tuple[float, float, float, float] | None = None
    label: object = None
    problem: Problem = Problem.BAD_BOX


@dataclass(frozen=True, slots=True)
class Said:
    """The part that answers, what else is said, both as shown to people, and the boxes as written."""

    answer: str
    elsewhere: str
    text: str
    reasoning: str
    claims: tuple[Claim, ...]


def key(text: str) -> str:
    """Return a label or option without case, spaces and punctuation, to compare by."""
    return "".join(char for char in text.lower() if char.isalnum())
