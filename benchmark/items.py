"""What an item of the benchmark is, what a model's answer to it is, and the files that hold them.

An item is one question about one frame or one volume, with its true answer and the boxes that the answer rests on
(SGMRI-VQA, arXiv 2604.15808). Items lie in one Parquet file, answers in JSON lines. Beside ``items.parquet``, where
there are images, lie ``dicom/VOLUME/`` and ``frames/PROFILE/VOLUME/NNN.png``, numbered from 1: of profile "published",
which has the frame's own size, and "product", which may have another, so that boxes scale with it.

Boxes are kept as published, ``x, y, width, height`` in whole pixels of the frame as it is shown, origin at the outer
corner of the top-left pixel; :attr:`TruthBox.box` is the same place as the product's half-open box
``(x, y, x + width, y + height)``. Frame numbers count from 1.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from sgmri.errors import ConfigError
from sgmri.findings import Finding
from sgmri.geometry import Box
from sgmri.volume import Anatomy

ITEMS_FILE = "items.parquet"
"""Name of the file of items in a benchmark's folder."""
LETTERS = "ABCD"
"""Letters of the options, in order."""
_ROWS_AT_ONCE = 8192


class Level(StrEnum):
    """Whether an item is about one frame or about a whole volume."""

    IMAGE = "image"
    VOLUME = "volume"


class Task(StrEnum):
    """The tasks, by their published names; counting is asked of volumes only, diagnosis of images only."""

    DETECTION = "detection"
    LOCALIZATION = "localization"
    COUNTING = "counting"
    CLASSIFICATION = "classification"
    DIAGNOSIS = "diagnosis"
    CAPTIONING = "captioning"


class AnswerType(StrEnum):
    """What form the answer has, by the published names."""

    CLOSED = "closed_ended"
    SINGLE = "single_choice"
    MULTIPLE = "multiple_choice"
    OPEN = "open_ended"


class Split(StrEnum):
    """Which part of the benchmark an item belongs to; "test" is fastMRI's multicoil_val."""

    TRAIN = "train"
    TEST = "test"


class Counted(StrEnum):
    """What a counting question counts: published are kinds (knee) and boxes over all frames (brain)."""

    KINDS = "kinds"
    LESIONS = "lesions"
    BOXES = "boxes"


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthBox:
    """One annotated box.

    Parameters
    ----------
    label
        A label of :mod:`sgmri.vocabulary`.
    frame_number
        From 1.
    x, y
        Left and top edge, in pixels of the frame as it is shown.
    width, height
        In pixels, above 0.
    """

    label: str
    frame_number: int
    x: int
    y: int
    width: int
    height: int

    @property
    def box(self) -> Box:
        """The half-open box."""
        return Box(x0=self.x, y0=self.y, x1=self.x + self.width, y1=self.y + self.height)

    @property
    def finding(self) -> Finding:
        """The box in the product's words (frame index from 0)."""
        return Finding(label=self.label, frame_index=self.frame_number - 1, box=self.box)

    @property
    def published(self) -> str:
        """The box as the published answers write it: ``<bbx>[x,y,w,h]</bbx>``."""
        return f"<bbx>[{self.x},{self.y},{self.width},{self.height}]</bbx>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question with its truth.

    Parameters
    ----------
    item_id
        Stable and readable: ``VOLUME/FRAME/TASK`` and what it is about, FRAME being "volume" for a whole one.
    anatomy, level, task, answer_type
        What kind of question it is.
    volume_id
        Name of the file without its ending, such as ``file1000291``.
    patient_id
        Who was examined, where the files say so; None where it is not known.
    split
        Train or test.
    label
        The label that is asked for; empty where any is.
    counted
        What a counting question counts; None for the other tasks.
    question
        In plain English.
    options
        Texts of the options A, B, C, D; empty where there is no choice.
    answer
        "Yes" or "No", "(A)" or "(A), (C)", a number, or a sentence with the boxes in it.
    reasoning
        The words between question and answer.
    frame_numbers
        The frames that belong to the question, from 1: one at image level, all at volume level.
    rows, columns
        Size of a frame in pixels.
    is_size_known
        Whether the size was read from the images; otherwise it is the documented assumption.
    boxes
        The boxes of what is asked for: the truth of a localization, the evidence of any other answer.
    context
        All boxes of the frame or volume, whatever their label.
    labels
        Every label of the frame or volume, those of a whole study too, in alphabetical order.
    """

    item_id: str
    anatomy: Anatomy
    level: Level
    task: Task
    answer_type: AnswerType
    volume_id: str
    patient_id: str | None = None
    split: Split
    label: str = ""
    counted: Counted | None = None
    question: str
    options: tuple[str, ...] = ()
    answer: str
    reasoning: str
    frame_numbers: tuple[int, ...]
    rows: int
    columns: int
    is_size_known: bool = False
    boxes: tuple[TruthBox, ...] = ()
    context: tuple[TruthBox, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.is_choice != bool(self.options):
            raise ConfigError(f"item {self.item_id}: expected options for a choice only, found {len(self.options)}")
        if self.is_choice and not (self.letters and set(self.letters) <= set(self.lettered_options)):
            raise ConfigError(f"item {self.item_id}: expected letters of its options, found {self.answer!r}")
        if (self.task is Task.COUNTING) != (self.counted is not None):
            raise ConfigError(f"item {self.item_id}: expected what is counted for counting only, found {self.counted}")

    @property
    def is_choice(self) -> bool:
        """Whether the answer is one letter or several."""
        return self.answer_type in (AnswerType.SINGLE, AnswerType.MULTIPLE)

    @property
    def lettered_options(self) -> Mapping[str, str]:
        """Letter -> text of the option."""
        return dict(zip(LETTERS, self.options, strict=False))

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of a choice's true answer, ascending; empty for the other types."""
        return tuple(letter for letter in LETTERS if f"({letter})" in self.answer) if self.is_choice else ()

    @property
    def count(self) -> int | None:
        """The true count; None for the other tasks."""
        return int(self.answer) if self.task is Task.COUNTING else None


_BOX_FIELDS = ("label", "frame_number", "x", "y", "width", "height")
_BOX_LISTS = ("boxes", "context")
_BOXES = pa.list_(pa.struct([(name, pa.string() if name == "label" else pa.int32()) for name in _BOX_FIELDS]))
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("item_id", "anatomy", "level", "task", "answer_type", "volume_id")),
        *((name, pa.string()) for name in ("patient_id", "split", "label", "counted", "question")),
        ("options", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("answer", "reasoning")),
        ("frame_numbers", pa.list_(pa.int32())),
        *((name, pa.int32()) for name in ("rows", "columns")),
        ("is_size_known", pa.bool_()),
        ("boxes", _BOXES),
        ("context", _BOXES),
        ("labels", pa.list_(pa.string())),
    ]
)
"""The columns of the file: those of :class:`Item`, in its order; ``patient_id`` and ``counted`` may be null."""


def write_items(items: Iterable[Item], path: Path) -> int:
    """Write items to a Parquet file; the same items give the same bytes.

    Returns
    -------
    How many were written.
    """
    written, rest = 0, iter(items)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        # A part at a time: as Python objects, all rows of the exhaustive benchmark would take a gigabyte
        while part := list(islice(rest, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist([_row(item) for item in part], schema=SCHEMA))
            written += len(part)
    return written


def _row(item: Item) -> dict[str, Any]:
    # dataclasses.asdict copies every number of every box: that took two thirds of a build
    row = {name: getattr(item, name) for name in SCHEMA.names}
    return row | {name: [{key: getattr(box, key) for key in _BOX_FIELDS} for box in row[name]] for name in _BOX_LISTS}


def read_items(path: Path) -> Iterator[Item]:
    """Yield the items of a Parquet file, in its order.

    Raises
    ------
    ConfigError
        If it is no file of items.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(
            f"expected a Parquet file of items, found {path} ({error}); run sgmri benchmark build"
        ) from error
    with file:
        if not file.schema_arrow.equals(SCHEMA):
            raise ConfigError(f"{path}: expected the columns of benchmark.items.SCHEMA, found others; build it again")
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            yield from (_item(row) for row in batch.to_pylist())


def _item(row: dict[str, Any]) -> Item:
    counted = row["counted"]
    return Item(
        **row
        | {
            "anatomy": Anatomy(row["anatomy"]),
            "level": Level(row["level"]),
            "task": Task(row["task"]),
            "answer_type": AnswerType(row["answer_type"]),
            "split": Split(row["split"]),
            "counted": None if counted is None else Counted(counted),
        }
        | {name: tuple(TruthBox(**box) for box in row[name]) for name in _BOX_LISTS}
        | {name: tuple(row[name]) for name in ("options", "frame_numbers", "labels")}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model said to one item: a line of a run's JSON lines, with these names as keys.

    Parameters
    ----------
    item_id
        The item.
    text
        The output as it came, nothing cut off; empty where there is none.
    latency_s
        From asking to the whole answer, in seconds.
    cost_usd
        What the answer cost; None where that is not known.
    error
        Why there is no output, in words; None where there is one. Scored as unanswered, never as wrong.
    certainty
        0 to 1 that the answer is right, as the model states it; None where it states nothing.
    prompt_tokens, completion_tokens
        As the server counted them; None where it did not.
    """

    item_id: str
    text: str
    latency_s: float
    cost_usd: float | None = None
    error: str | None = None
    certainty: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.item_id, str) and self.item_id and isinstance(self.text, str)):
            raise ConfigError("prediction: expected an item_id and a text, found no such texts")
        if not isinstance(self.error, str | None):
            raise ConfigError("prediction: expected an error in words or null, found no text")
        for name, most in (("latency_s", math.inf), ("cost_usd", math.inf), ("certainty", 1.0)):
            value = getattr(self, name)
            if (value is not None or name == "latency_s") and not _is_number(value, most):
                raise ConfigError(f"prediction: expected {name} from 0 to {most:g} and finite, found {value!r}")
        for name in ("prompt_tokens", "completion_tokens"):
            if not isinstance(getattr(self, name), int | None):
                raise ConfigError(f"prediction: expected {name} as a whole number or null, found something else")

    def to_line(self) -> str:
        """Return the answer as one line of JSON, without a line end; in ASCII, which spells lone surrogates too."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read a line that :meth:`to_line` wrote.

        Raises
        ------
        ConfigError
            If it is none.
        """
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"expected a line of JSON with the fields of a prediction, found other text: {error}"
            ) from error


def _is_number(value: object, most: float) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most and math.isfinite(value)
    )
