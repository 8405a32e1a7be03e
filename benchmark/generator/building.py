"""Builds a benchmark in a folder: items, dataset card, list of repairs, and a summary of what is there and missing."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from hashlib import file_digest
from pathlib import Path
from typing import Any

from benchmark.generator import plans
from benchmark.generator.annotations import Repair, read_annotations
from benchmark.generator.card import card
from benchmark.generator.chance import VERSION
from benchmark.generator.fastmri import find_files, read_scans
from benchmark.generator.phantoms import phantom_volumes
from benchmark.generator.splits import SplitReport, assign, published_order, read_split_list
from benchmark.generator.tables import Table, count_table
from benchmark.generator.volumes import AnnotatedVolume, Scan
from benchmark.items import ITEMS_FILE, Item, Level, Split, Task, write_items
from sgmri.volume import Anatomy

SUMMARY_FILE, CARD_FILE, REPAIRS_FILE = "build.json", "README.md", "repairs.csv"
Progress = Callable[[str, int, int], None]
"""Is told what is done, how much of it, and of how much; 0 where that is not known."""


class Mode(StrEnum):
    """Which plan of :mod:`benchmark.generator.plans`."""

    PAPER = "paper"
    EXHAUSTIVE = "exhaustive"


_PLANS = {Mode.PAPER: plans.paper, Mode.EXHAUSTIVE: plans.exhaustive}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a benchmark of fastMRI+ is built from.

    Parameters
    ----------
    annotations
        Folder of the CSV files and file lists.
    fastmri
        Folder of the HDF5 files; None where they are not at hand.
    split_list
        A list of splits by volume, for volumes without a file; None where there is none.
    legacy_knee_shift
        Number knee frames as published, one too low.
    """

    annotations: Path
    fastmri: Path | None = None
    split_list: Path | None = None
    legacy_knee_shift: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was built.

    Parameters
    ----------
    items
        The file.
    sha256
        Of that file, in hexadecimal.
    counts
        Items by level, task, anatomy and split.
    repairs
        What was repaired; empty for phantoms.
    missing
        What was not known, in sentences; empty where nothing is missing.
    """

    items: Path
    sha256: str
    counts: Table
    repairs: tuple[Repair, ...]
    missing: tuple[str, ...]


def build_fastmri(source: Source, out: Path, mode: Mode, progress: Progress) -> Built:
    """Build the benchmark of fastMRI+.

    Raises
    ------
    ConfigError
        If annotations, images or the list of splits cannot be used.
    """
    scans: dict[str, Scan] = {}
    unusable: dict[str, str] = {}
    if source.fastmri is not None:
        files = find_files(source.fastmri)
        scans, unusable = read_scans(files, files, lambda done, total: progress("sizes read", done, total))
    annotations = read_annotations(source.annotations, scans, legacy_knee_shift=source.legacy_knee_shift)
    listed = {} if source.split_list is None else read_split_list(source.split_list)
    volumes, report = assign(annotations.volumes, listed, published_order(source.annotations))
    missing = _missing(volumes, report, unusable)
    about = {
        "source": "fastMRI+",
        "mode": mode,
        "legacy_knee_shift": source.legacy_knee_shift,
        "splits": asdict(report),
    }
    return _write(_PLANS[mode](volumes), out, about, progress, repairs=annotations.repairs, missing=missing)


def build_phantoms(out: Path, count: int, *, seed: int, split: Split, progress: Progress) -> Built:
    """Build a benchmark of phantoms, with their images.

    Raises
    ------
    ConfigError
        If the count or the seed cannot be used.
    """
    out.mkdir(parents=True, exist_ok=True)
    made = phantom_volumes(
        out, count, seed=seed, split=split, progress=lambda done, total: progress("phantoms painted", done, total)
    )
    about = {"source": "phantoms", "mode": Mode.EXHAUSTIVE, "seed": seed, "volumes": count}
    return _write(plans.exhaustive(list(made)), out, about, progress)


def _write(
    items: Iterable[Item],
    out: Path,
    about: Mapping[str, object],
    progress: Progress,
    *,
    repairs: tuple[Repair, ...] = (),
    missing: tuple[str, ...] = (),
) -> Built:
    out.mkdir(parents=True, exist_ok=True)
    found: Counter[tuple[Level, Task, Anatomy, str]] = Counter()

    def counted() -> Iterator[Item]:
        for item in items:
            found[item.level, item.task, item.anatomy, item.split] += 1
            yield item
            progress("items made", found.total(), 0)

    # under another name first: a build that is stopped leaves no half benchmark behind
    path, unfinished = out / ITEMS_FILE, out / f"{ITEMS_FILE}.unfinished"
    write_items(counted(), unfinished)
    unfinished.replace(path)
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    built = Built(items=path, sha256=digest, counts=count_table(found), repairs=repairs, missing=missing)
    (out / CARD_FILE).write_text(card(about, built.counts, repairs, missing), encoding="utf-8")
    (out / SUMMARY_FILE).write_text(json.dumps(summary(built, about), indent=2) + "\n", encoding="utf-8")
    if repairs:
        _write_repairs(repairs, out / REPAIRS_FILE)
    return built


def summary(built: Built, about: Mapping[str, object]) -> dict[str, Any]:
    """Return what a machine wants to know of a build."""
    return {
        "format": "sgmri-benchmark-1",
        "generator": VERSION,
        **about,
        "items": ITEMS_FILE,
        "sha256": built.sha256,
        "counts": built.counts,
        "repairs": Counter(f"{repair.file}: {repair.kind}" for repair in built.repairs),
        "missing": built.missing,
    }


def _write_repairs(repairs: Sequence[Repair], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Repair)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(repair) for repair in repairs)


def _missing(volumes: Sequence[AnnotatedVolume], report: SplitReport, unusable: Mapping[str, str]) -> tuple[str, ...]:
    said = []
    for anatomy in Anatomy:
        here = [volume for volume in volumes if volume.anatomy is anatomy]
        unknown = sum(not volume.scan.is_size_known for volume in here)
        if unknown:
            said.append(
                f"{unknown} of {len(here)} {anatomy} volumes have no image file: 320 x 320 pixels are assumed, and "
                f"{16 if anatomy is Anatomy.BRAIN else 28} frames or as many as are annotated"
            )
    if report.assumed:
        said.append(
            f"{report.assumed} volumes have no split by folder, list or order of the annotations, or another one than "
            "their order says: they were drawn, so that each group has its published size; give --fastmri or "
            "--split-list"
        )
    if report.patients_known < len(volumes):
        said.append(
            f"{len(volumes) - report.patients_known} volumes have no known patient: one patient may be in both splits"
        )
    if report.moved:
        said.append(f"{report.moved} volumes were moved from train to test, where their patient is")
    said += [f"left out: {reason}" for reason in unusable.values()]
    return tuple(said)
