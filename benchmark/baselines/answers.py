"""Answers without a look at the images, as runs that are scored like any model's."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from benchmark.baselines.blind import labels_of, median_boxes
from benchmark.baselines.volumes import from_items
from benchmark.generator.probe import by_kind, guesses
from benchmark.items import Item, Level, Prediction, Split, Task
from benchmark.running.card import ANSWERS_FILE, Benchmark, Origin, RunCard, Selection
from benchmark.running.ledger import Ledger
from benchmark.running.profiles import MINIMAL
from benchmark.scoring.published_boxes import WrittenBox
from sgmri.volume import Anatomy

Said = Iterator[tuple[Item, str]]


def always_yes(items: Sequence[Item]) -> Said:
    """Say yes to whatever is asked for."""
    return ((item, "Yes.") for item in _of(items, Task.DETECTION))


def always_a(items: Sequence[Item]) -> Said:
    """Choose the first option."""
    return ((item, "(A)") for item in _of(items, Task.CLASSIFICATION, Task.DIAGNOSIS))


def median_box(items: Sequence[Item]) -> Said:
    """Write the median box of the label that is asked for on every frame, of the commonest label where none is."""
    volumes = from_items(items)
    medians = median_boxes(volumes)
    count = Counter(box.label for volume in volumes if volume.split is Split.TRAIN for box in volume.boxes)
    commonest = {
        anatomy: max(sorted(labels_of(anatomy, medians)), key=lambda label: count[label], default="")
        for anatomy in Anatomy
    }
    for item in _of(items, Task.LOCALIZATION):
        median = medians.get(item.label or commonest[item.anatomy])
        yield item, "" if median is None else _boxes(item, _tag(median, item))


def _boxes(item: Item, tag: str) -> str:
    if item.level is Level.IMAGE:
        return tag
    return ", ".join(f"Frame {number}: {tag}" for number in range(1, len(item.frame_numbers) + 1))


def _tag(box: WrittenBox, item: Item) -> str:
    """Write a box in whole pixels of the frame."""
    x, y = min(round(box.x), item.columns - 1), min(round(box.y), item.rows - 1)
    width, height = min(round(box.width), item.columns - x), min(round(box.height), item.rows - y)
    return f"<bbx>[{x},{y},{width},{height}]</bbx>"


def majority(items: Sequence[Item]) -> Said:
    """Say what is most often right in the training split, for each kind of question."""
    return ((item, f"{most}.") for most, said in _guessed(items) for item, _ in said)


def text_probe(items: Sequence[Item]) -> Said:
    """Say what the words of question and options suggest, by regression on the training split."""
    return ((item, f"{guess}.") for _, said in _guessed(items) for item, guess in said)


def _guessed(items: Sequence[Item]) -> Iterator[tuple[str, list[tuple[Item, str]]]]:
    """Yield of each kind of question the most frequent answer, and every test item with its guess."""
    for of_kind in by_kind(items).values():
        train, test = ([item for item in of_kind if item.split is split] for split in (Split.TRAIN, Split.TEST))
        if train and test:
            most, said = guesses(train, test)
            yield most, list(zip(test, said, strict=True))


def _of(items: Sequence[Item], *tasks: Task) -> Iterator[Item]:
    return (item for item in items if item.split is Split.TEST and item.task in tasks)


_ALL_CLOSED = (Task.DETECTION, Task.COUNTING, Task.CLASSIFICATION, Task.DIAGNOSIS)
BASELINES: Mapping[str, tuple[Callable[[Sequence[Item]], Said], tuple[Task, ...]]] = MappingProxyType(
    {
        "always yes": (always_yes, (Task.DETECTION,)),
        "always A": (always_a, (Task.CLASSIFICATION, Task.DIAGNOSIS)),
        "median box, no image": (median_box, (Task.LOCALIZATION,)),
        "majority": (majority, _ALL_CLOSED),
        "words only, no image": (text_probe, _ALL_CLOSED),
    }
)
"""Name -> how it answers, and what."""


def write_baselines(benchmark: Benchmark, out: Path) -> list[Path]:
    """Answer the test split by every baseline, and write each as a run.

    Parameters
    ----------
    benchmark
        With both splits: some are learnt from the training split.
    out
        Gets a folder for each baseline; what lies there already is left as it is.

    Returns
    -------
    The folders.
    """
    folders = []
    for name, (answers, tasks) in BASELINES.items():
        folder = out / name.replace(",", "").replace(" ", "-")
        card = RunCard(
            name=name,
            origin=Origin.BASELINE,
            profile=MINIMAL.name,
            items_sha256=benchmark.sha256,
            selection=Selection(tasks=tasks),
        )
        card.write(folder)
        with Ledger(folder / ANSWERS_FILE) as ledger:
            ledger.append_all(
                Prediction(item_id=item.item_id, text=text, latency_s=0.0)
                for item, text in answers(benchmark.items)
                if item.item_id not in ledger.answers
            )
        folders.append(folder)
    return folders
