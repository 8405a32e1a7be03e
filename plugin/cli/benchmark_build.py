"""``sgmri benchmark build``, ``stats`` and ``images``: from annotations, images or phantoms to items and pictures."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import ConfigError

_OUT = Path("benchmark-out")
_MODES = ("paper", "exhaustive")
_PICTURES = ("published", "product", "dicom")


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the three parts."""
    _add_build(commands)
    stats = commands.add_parser("stats", help="print and plot what was annotated, and how items are balanced")
    stats.add_argument("--annotations", type=Path, metavar="DIR", help="the CSV files of fastMRI+")
    stats.add_argument(
        "--items", type=Path, metavar="DIR", help="a built benchmark: counts, letters, what words give away"
    )
    stats.add_argument("--plots", type=Path, metavar="DIR", help="where to draw the annotations")
    stats.add_argument("--json", action="store_true", help="for machines")
    stats.set_defaults(run=run_stats)
    images = commands.add_parser("images", help="make frames and DICOM series of fastMRI's files")
    images.add_argument(
        "--fastmri", type=Path, required=True, metavar="DIR", help="the HDF5 files, searched with subfolders"
    )
    images.add_argument("--out", type=Path, default=_OUT, metavar="DIR", help=f"its folder; default: {_OUT}")
    images.add_argument("--only", nargs="+", choices=_PICTURES, default=_PICTURES, help="default: all three")
    images.add_argument(
        "--volumes", nargs="+", metavar="NAME", help="default: all that the items in OUT ask about, or all"
    )
    images.add_argument("--json", action="store_true", help="for machines")
    images.set_defaults(run=run_images)


def _add_build(commands: "argparse._SubParsersAction[Any]") -> None:
    parser = commands.add_parser("build", help="make questions and answers: of fastMRI+ annotations, or of phantoms")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--annotations", type=Path, metavar="DIR", help="the CSV files and file lists of fastMRI+")
    source.add_argument("--phantoms", type=int, metavar="N", help="N synthetic volumes, with their images")
    parser.add_argument("--out", type=Path, default=_OUT, metavar="DIR", help=f"where it goes; default: {_OUT}")
    parser.add_argument("--mode", choices=_MODES, default="paper", help="as many as published (default), or everything")
    parser.add_argument("--fastmri", type=Path, metavar="DIR", help="the HDF5 files: true sizes, splits and patients")
    parser.add_argument(
        "--split-list", type=Path, metavar="FILE", help="CSV with file and split, for volumes without a file"
    )
    parser.add_argument("--legacy-knee-shift", action="store_true", help="number knee frames as published, one too low")
    parser.add_argument("--seed", type=int, default=0, help="other phantoms")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="of the phantoms")
    parser.add_argument("--json", action="store_true", help="for machines: the summary that build.json holds")
    parser.set_defaults(run=run_build)


def run_build(arguments: argparse.Namespace) -> int:
    """Build; print the counts, the repairs and what is missing."""
    with _libraries():
        from benchmark.generator import building, tables
        from benchmark.items import Split
    if arguments.phantoms is not None:
        _check_phantoms(arguments)
        built = building.build_phantoms(
            arguments.out, arguments.phantoms, seed=arguments.seed, split=Split(arguments.split), progress=_show
        )
    else:
        source = building.Source(
            annotations=arguments.annotations,
            fastmri=arguments.fastmri,
            split_list=arguments.split_list,
            legacy_knee_shift=arguments.legacy_knee_shift,
        )
        built = building.build_fastmri(source, arguments.out, building.Mode(arguments.mode), _show)
    _show("", 0, 0)
    if arguments.json:
        print((arguments.out / building.SUMMARY_FILE).read_text(encoding="utf-8"), end="")
        return 0
    print(tables.as_text(built.counts))
    if built.repairs:
        print(f"\n{tables.as_text(tables.repairs(built.repairs))}\n")
    for sentence in built.missing:
        print(f"not known: {sentence}")
    print(f"written: {built.items} (sha256 {built.sha256})\n{RESEARCH_USE_STATEMENT}")
    return 0


def _check_phantoms(arguments: argparse.Namespace) -> None:
    """Refuse what would be passed over in silence."""
    given = {
        "--fastmri": arguments.fastmri is not None,
        "--split-list": arguments.split_list is not None,
        "--legacy-knee-shift": arguments.legacy_knee_shift,
    }
    of_annotations = [name for name, is_given in given.items() if is_given]
    if of_annotations:
        raise ConfigError(f"--phantoms: expected no option of --annotations, found {', '.join(of_annotations)}")
    if arguments.seed < 0:
        raise ConfigError(f"--seed: expected 0 or more, found {arguments.seed}")


def run_stats(arguments: argparse.Namespace) -> int:
    """Print the tables of annotations, of a built benchmark, or of both."""
    if arguments.annotations is None and arguments.items is None:
        raise ConfigError("stats: expected --annotations, --items or both, found neither")
    with _libraries():
        from benchmark.generator import balance, tables
        from benchmark.generator.annotations import read_annotations
    found: dict[str, tables.Table] = {}
    if arguments.annotations is not None:
        annotations = read_annotations(arguments.annotations, {})
        found |= tables.of_annotations(annotations)
        if arguments.plots is not None:
            for path in tables.plot(annotations.volumes, arguments.plots):
                print(f"drawn: {path}", file=sys.stderr)
    if arguments.items is not None:
        found |= balance.of_items(arguments.items)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n\n".join(f"{title}\n{tables.as_text(table)}" for title, table in found.items()))
    return 0


def run_images(arguments: argparse.Namespace) -> int:
    """Write pictures; 1 where something could not be made of a volume, with the reason."""
    with _libraries():
        from benchmark.generator import images
    pictures = frozenset(images.Picture(name) for name in arguments.only)
    written = []
    for one, done, total in images.write_all(arguments.fastmri, arguments.out, pictures, arguments.volumes):
        written.append(one)
        _show("volumes drawn", done, total)
    _show("", 0, 0)
    missing = [one for one in written if one.missing]
    if arguments.json:
        lines = [{"volume_id": w.volume_id, "pictures": sorted(w.pictures), "missing": w.missing} for w in written]
        print(json.dumps(lines, indent=2))
    else:
        for one in missing:
            print(f"{one.volume_id}: {one.missing}")
        print(f"{len(written)} volumes, {len(missing)} of them not complete. Do not pass pictures of fastMRI on.")
    return 1 if missing else 0


@contextmanager
def _libraries() -> Iterator[None]:
    """Say what to install where an import of the generator fails: not everybody has its libraries."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"benchmark: expected pyarrow, h5py, defusedxml and matplotlib, found no {error.name}; "
            "pip install 'sgmri[benchmark]'"
        ) from None


def _show(what: str, done: int, total: int) -> None:
    """Show progress on a terminal: one line that is written over."""
    if not sys.stderr.isatty():
        return
    text = f"{done} of {total} {what}" if total else f"{done} {what}" if what else ""
    if done % 100 == 0 or 0 < total < 1000:
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
