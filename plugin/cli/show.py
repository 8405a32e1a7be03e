"""``sgmri show``: print result objects of any product as text, and draw what they mark over their images."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dicom_io.outlines import Mark, Outline, has_outline, outline
from dicom_io.results import read_object
from dicom_io.viewer_rules import RULES, Violation, violations
from sgmri.errors import ConfigError, SeriesError
from worker.overlay import draw_marks


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "show", help="print SR, SEG, presentation states and other results, and draw what they mark"
    )
    parser.add_argument("paths", type=Path, nargs="+", metavar="FILE_OR_DIR", help="result objects of any product")
    parser.add_argument(
        "--source", type=Path, action="append", metavar="DIR", help="where the images lie; default: beside the objects"
    )
    parser.add_argument("--png", type=Path, metavar="OUT", help="draw what is marked over the images, a tile a frame")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--check", choices=sorted(RULES), action="append", default=[], metavar="VIEWER",
        help=f"hold the objects against a viewer's rules: {', '.join(RULES)}",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show; 2 where an object cannot be shown, 1 where one breaks a rule."""
    shown: list[tuple[Path, Outline, tuple[Violation, ...]]] = []
    refused = False
    for path in _files(arguments.paths):
        try:
            ds = read_object(path)
            shown.append((path, outline(ds), violations(ds, arguments.check)))
        except SeriesError as error:
            print(f"sgmri: {path}: {error}", file=sys.stderr)
            refused = True
    if arguments.json:
        print(json.dumps([_mapping(*one) for one in shown], indent=2, ensure_ascii=False))
    else:
        for one in shown:
            print("\n".join(_lines(*one)))
    if arguments.png and shown:
        _draw([mark for _, found, _ in shown for mark in found.marks], arguments)
    if refused or not shown:
        return 2
    return 1 if any(broken for _, _, broken in shown) else 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files named, and the result objects in the folders named."""
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: expected a file or folder, found nothing")
        if not path.is_dir():
            yield path
            continue
        found = [file for file in sorted(path.rglob("*")) if file.is_file() and _is_result(file)]
        if not found:
            raise ConfigError(f"{path}: expected result objects such as SR or SEG, found none")
        yield from found


def _is_result(path: Path) -> bool:
    try:
        return has_outline(read_object(path, only=("SOPClassUID", "Modality")))
    except SeriesError:
        return False


def _lines(path: Path, found: Outline, broken: Sequence[Violation]) -> Iterator[str]:
    yield f"{path}:"
    for line in found.lines():
        yield f"  {line}"
    why = {rule.name: rule.why for rules in RULES.values() for rule in rules}
    for violation in broken:
        yield f"  breaks {violation.rule}: {why[violation.rule]}"


def _mapping(path: Path, found: Outline, broken: Sequence[Violation]) -> dict[str, Any]:
    rules = [{"viewer": violation.viewer, "rule": violation.rule} for violation in broken]
    return {"file": str(path), **found.as_json(), "broken_rules": rules}


def _draw(marks: Sequence[Mark], arguments: argparse.Namespace) -> None:
    if not marks:
        print("nothing is drawn: the objects mark nothing", file=sys.stderr)
        return
    places = arguments.source or [path if path.is_dir() else path.parent for path in arguments.paths]
    files = (file for place in dict.fromkeys(places) for file in sorted(place.rglob("*")) if file.is_file())
    frames, left = draw_marks(marks, files, arguments.png)
    lost = f"; {left} marks are not drawn, their images are not there or the sheet is full" if left else ""
    print(f"drawn: {frames} frames in {arguments.png}{lost}", file=sys.stderr)
