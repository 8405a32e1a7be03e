"""Tables and plots of a benchmark: what was annotated (labels, distributions) and what was made of it (counts).

Tables are lists of rows of text, the headings first, so that one function prints them all and another writes Markdown.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median_high

import numpy as np

from benchmark.generator.annotations import Annotations, Repair
from benchmark.generator.volumes import AnnotatedVolume, is_contiguous
from benchmark.items import Level, Task, TruthBox
from sgmri.volume import Anatomy

Table = list[tuple[str, ...]]
"""Rows of cells, the headings first."""
_SMALL_PIXELS = 16 * 16


def of_annotations(annotations: Annotations) -> dict[str, Table]:
    """Return everything about annotations, by title."""
    volumes = annotations.volumes
    return {
        "Distributions": distributions(volumes),
        **{f"Labels, {anatomy}": labels(volumes, anatomy) for anatomy in Anatomy},
        "Repairs": repairs(annotations.repairs),
    }


def count_table(found: Counter[tuple[Level, Task, Anatomy, str]]) -> Table:
    """Return counts of items as a table."""
    anatomies = list(Anatomy)
    rows: Table = [("level", "task", *anatomies, "train", "test", "total")]
    levels: list[tuple[str, list[tuple[Level, Task]]]] = [
        (level, [(level, task) for task in Task if any(key[:2] == (level, task) for key in found)]) for level in Level
    ]

    def row(level: str, task: str, pairs: Sequence[tuple[Level, Task]]) -> tuple[str, ...]:
        inside = {key: count for key, count in found.items() if key[:2] in pairs}
        by_anatomy = [sum(count for key, count in inside.items() if key[2] is anatomy) for anatomy in anatomies]
        by_split = [sum(count for key, count in inside.items() if key[3] == split) for split in ("train", "test")]
        return (level, task, *(f"{count:,}" for count in (*by_anatomy, *by_split, sum(inside.values()))))

    for level, pairs in levels:
        rows += [row(level, task, [(of, task)]) for of, task in pairs]
        rows.append(row(level, "all", pairs))
    rows.append(row("all", "all", [pair for _, pairs in levels for pair in pairs]))
    return rows


def labels(volumes: Sequence[AnnotatedVolume], anatomy: Anatomy) -> Table:
    """Return boxes, volumes, slices, median box and frames of each label, the most frequent first."""
    boxes: defaultdict[str, list[TruthBox]] = defaultdict(list)
    frames: defaultdict[str, list[int]] = defaultdict(list)
    for volume in _of(volumes, anatomy):
        for label in volume.labels:
            here = volume.of(label)
            boxes[label] += here
            frames[label].append(len({box.frame_number for box in here}))
    rows: Table = [("label", "boxes", "volumes", "slices", "median box", "frames: median / max")]
    for label, found in sorted(boxes.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        size = f"{median_high(box.width for box in found)}x{median_high(box.height for box in found)}"
        spread = frames[label]
        count, volume_count, slice_count = (f"{number:,}" for number in (len(found), len(spread), sum(spread)))
        rows.append((label, count, volume_count, slice_count, size, f"{median_high(spread)} / {max(spread)}"))
    study = Counter(label for volume in _of(volumes, anatomy) for label in volume.study_labels)
    rows += [(f"{label} (study)", "-", f"{count:,}", "-", "-", "-") for label, count in study.most_common()]
    return rows


def distributions(volumes: Sequence[AnnotatedVolume]) -> Table:
    """Return how boxes, labels and lesions are spread, a column an anatomy."""
    columns = [_distribution(_of(volumes, anatomy)) for anatomy in Anatomy]
    return [("", *Anatomy), *((name, *(column[name] for column in columns)) for name in columns[0])]


def _distribution(volumes: Sequence[AnnotatedVolume]) -> dict[str, str]:
    boxed = [volume for volume in volumes if volume.boxes]
    boxes = [box for volume in boxed for box in volume.boxes]
    if not boxes:
        return dict.fromkeys(_ROWS, "-")
    slices = [frame for volume in boxed for frame in volume.by_frame.values()]
    pairs = [(volume, label) for volume in boxed for label in volume.labels]
    frames = [sorted({box.frame_number for box in volume.of(label)}) for volume, label in pairs]
    spread = [len(numbers) for numbers in frames]
    by_volume = [[lesion for label in volume.labels for lesion in volume.lesions_of(label)] for volume in boxed]
    lengths = [len({box.frame_number for box in lesion}) for found in by_volume for lesion in found]
    per_slice = [len(found) for found in slices]
    shares = [sum(count in of for count in per_slice) / len(slices) for of in ({1}, {2}, range(3, 1000))]
    slice_labels = [len({box.label for box in found}) for found in slices]
    small = sum(box.width * box.height < _SMALL_PIXELS for box in boxes)
    values = (
        f"{len(volumes):,}",
        f"{sum(volume.is_listed for volume in volumes):,}",
        f"{len(boxed):,}",
        f"{len(boxes):,}",
        f"{len(slices):,}",
        f"{np.mean(per_slice):.2f} / {max(per_slice)}",
        " / ".join(f"{share:.0%}" for share in shares),
        f"{_percentiles([len(volume.boxes) for volume in boxed])}, {max(len(volume.boxes) for volume in boxed)}",
        f"{np.median([len(v.by_frame) for v in boxed]):.0f} / {max(len(v.by_frame) for v in boxed)}",
        _histogram([len(volume.labels) for volume in boxed], 5),
        _histogram(slice_labels, 4),
        f"{len(pairs):,}",
        f"{np.median(spread):.0f} / {np.percentile(spread, 95):.0f} / {max(spread)}",
        f"{sum(count == 1 for count in spread):,} / {sum(map(is_contiguous, frames)):,}",
        f"{sum(slice_labels):,}",
        f"{len(lengths):,} (median {np.median([len(found) for found in by_volume]):.0f} per volume, max "
        f"{max(map(len, by_volume))})",
        f"{np.median(lengths):.0f}; {sum(length == 1 for length in lengths):,}",
        _percentiles([box.width for box in boxes]),
        _percentiles([box.height for box in boxes]),
        f"{small:,} ({small / len(boxes):.0%})",
    )
    return dict(zip(_ROWS, values, strict=True))


_ROWS = (
    "volumes reviewed",
    "volumes annotated in any way",
    "volumes with boxes",
    "boxes",
    "annotated slices",
    "boxes per annotated slice: mean / max",
    "slices with 1 / 2 / 3+ boxes",
    "boxes per volume: 5-25-50-75-95 pct, max",
    "annotated slices per volume: median / max",
    "labels per volume: 1 / 2 / 3 / 4 / 5+",
    "labels per slice: 1 / 2 / 3 / 4+",
    "(volume, label) pairs",
    "frames per pair: median / 95 pct / max",
    "pairs on one frame / on contiguous frames",
    "(slice, label) pairs",
    "3-D lesions",
    "lesion length: median; single-slice",
    "box width: 5-25-50-75-95 pct",
    "box height: 5-25-50-75-95 pct",
    "boxes below 16 x 16 pixels of area",
)


def repairs(found: Sequence[Repair]) -> Table:
    """Return how often each repair was made in each file."""
    table = Counter((repair.file, repair.kind) for repair in found)
    return [("file", "what", "rows"), *((file, kind, f"{count:,}") for (file, kind), count in sorted(table.items()))]


def as_text(table: Table) -> str:
    """Return a table in columns, numbers to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for row in table:
        cells = (
            cell.rjust(width) if cell[:1].isdigit() and cell.replace(",", "").isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """Return a table in Markdown."""
    head, *rows = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *rows])


def plot(volumes: Sequence[AnnotatedVolume], folder: Path) -> tuple[Path, ...]:
    """Draw the distributions of each anatomy; return the pictures."""
    # seconds to import, and only here; its state machine (pyplot) and any window are left alone
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for anatomy in Anatomy:
        boxed = [volume for volume in _of(volumes, anatomy) if volume.boxes]
        boxes = [box for volume in boxed for box in volume.boxes]
        figure = Figure(figsize=(12, 8), layout="constrained")
        FigureCanvasAgg(figure)
        of_labels, per_volume, sizes, lengths = figure.subplots(2, 2).flat
        names = Counter(box.label for box in boxes).most_common()[::-1]
        of_labels.barh([name for name, _ in names], [count for _, count in names])
        of_labels.set(title=f"{anatomy}: boxes of each label", xscale="log")
        per_volume.hist([len(volume.boxes) for volume in boxed], bins=40)
        per_volume.set(title="boxes per volume", xlabel="boxes", ylabel="volumes")
        sizes.scatter([box.width for box in boxes], [box.height for box in boxes], s=2, alpha=0.2)
        sizes.set(title="size of boxes", xlabel="width (pixels)", ylabel="height (pixels)")
        found = [len({b.frame_number for b in lesion}) for v in boxed for n in v.labels for lesion in v.lesions_of(n)]
        lengths.hist(found, bins=range(1, 23))
        lengths.set(title="length of lesions", xlabel="frames", ylabel="lesions")
        paths.append(folder / f"{anatomy}.png")
        figure.savefig(paths[-1], dpi=100, metadata={"Software": None})
    return tuple(paths)


def _of(volumes: Sequence[AnnotatedVolume], anatomy: Anatomy) -> list[AnnotatedVolume]:
    return [volume for volume in volumes if volume.anatomy is anatomy]


def _percentiles(values: Sequence[int]) -> str:
    return "-".join(f"{value:.0f}" for value in np.percentile(values, (5, 25, 50, 75, 95)))


def _histogram(values: Sequence[int], last: int) -> str:
    found = Counter(min(value, last) for value in values)
    return " / ".join(f"{found[number]:,}" for number in range(1, last + 1))
