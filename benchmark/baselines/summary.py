"""What needs no image and no model, on the annotations of fastMRI+, as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.baselines.blind import Medians, blind_v, median_boxes, v_of_some
from benchmark.baselines.volumes import BoxedVolume, from_annotations
from benchmark.generator.annotations import Annotations, read_annotations
from benchmark.generator.plans import paper
from benchmark.generator.splits import assign, published_order
from benchmark.items import Item, Level, Split, Task
from benchmark.metrics import bootstrap_mean
from benchmark.scoring.published_values import published_a_score
from benchmark.scoring.table import Table, ceilings_table, cell
from sgmri.volume import Anatomy

_PUBLISHED_BRAINS = 120
"""Test brains with boxes, as the published job scripts count them."""
_REPORTED_BRAIN_V = 5.2


def on_annotations(folder: Path) -> list[Table]:
    """Return the tables of blind boxes, ceilings and constant answers.

    Parameters
    ----------
    folder
        Holds the CSV files and file lists of fastMRI+.

    Raises
    ------
    ConfigError
        If they cannot be read.
    """
    annotations = read_annotations(folder, {})
    splits = published_order(folder)
    volumes = from_annotations(annotations.volumes, splits)
    return [*_blind(volumes), ceilings_table(volumes), _constant(annotations, splits)]


def _blind(volumes: Sequence[BoxedVolume]) -> list[Table]:
    medians = median_boxes(volumes)
    tables = [_blind_boxes(volumes, medians)]
    tested = sum(volume.anatomy is Anatomy.BRAIN and volume.split is Split.TEST for volume in volumes)
    if tested >= _PUBLISHED_BRAINS:
        tables.append(_some_brains(volumes, medians, tested))
    return tables


def _some_brains(volumes: Sequence[BoxedVolume], medians: Medians, tested: int) -> Table:
    drawn = 100 * v_of_some(volumes, medians, Anatomy.BRAIN, _PUBLISHED_BRAINS)
    low, middle, high = np.quantile(drawn, [0.025, 0.5, 0.975])
    share = np.mean(np.round(drawn, 1) == _REPORTED_BRAIN_V)
    return Table(
        title="Brain, volume level: which volumes? (%)",
        note=f"{tested} test brains have boxes, and {_PUBLISHED_BRAINS} were published, nobody has said which: the "
        f"first row above for {len(drawn):,} draws of so many. {_REPORTED_BRAIN_V} was reported on a split that is "
        "not known.",
        head=("median", "95 % of the draws", "lowest", "highest", f"draws that round to {_REPORTED_BRAIN_V}"),
        rows=(
            (
                f"{middle:.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{drawn.min():.1f}",
                f"{drawn.max():.1f}",
                f"{100 * share:.1f} %",
            ),
        ),
    )


def _blind_boxes(volumes: Sequence[BoxedVolume], medians: Medians) -> Table:
    ways = (("of the labels that are there", True), ("of every label", False))
    return Table(
        title="Published V without an image (%)",
        note="The median box of each label over the training volumes, on every frame of the test volumes; the split is "
        "the published one, in the order of the CSV files. Published at volume level: fine-tuned model 5.97.",
        head=("boxes", *(f"{anatomy}, {level} level" for anatomy in Anatomy for level in Level)),
        rows=tuple(
            (
                name,
                *(
                    cell(blind_v(volumes, medians, anatomy, level, labels_known=known))
                    for anatomy in Anatomy
                    for level in Level
                ),
            )
            for name, known in ways
        ),
    )


def _constant(annotations: Annotations, splits: Mapping[str, Split]) -> Table:
    volumes, _ = assign(annotations.volumes, {}, splits)
    items = [item for item in paper(volumes) if item.split is Split.TEST]
    return Table(
        title="Published A of the same answer to every question (%)",
        note="On the test items of the published plan. Published: fine-tuned model 95.11 and 99.18 at detection.",
        head=("answer", *Level),
        rows=(
            ("always yes, detection", *(_score(items, "Yes", level, Task.DETECTION) for level in Level)),
            ("always (A), classification", *(_score(items, "(A)", level, Task.CLASSIFICATION) for level in Level)),
            ("always (A), diagnosis", *(_score(items, "(A)", level, Task.DIAGNOSIS) for level in Level)),
        ),
    )


def _score(items: Sequence[Item], answer: str, level: Level, task: Task) -> str:
    asked = [item for item in items if item.level is level and item.task is task]
    scores = [published_a_score(answer, item.answer, item.answer_type) for item in asked]
    return cell(bootstrap_mean(scores, [item.volume_id for item in asked]))
