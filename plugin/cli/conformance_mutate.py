"""``sgmri conformance mutate``: write broken samples, each with a single fault and the checks that must name it."""

import argparse
import json
from pathlib import Path
from typing import Any

from conformance.mutations import mutate
from conformance.objects.corpus import is_result
from conformance.objects.files import find, read
from conformance.objects.findings import Finding
from conformance.objects.subject import text
from sgmri.errors import ConfigError


def add_parser(parts: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = parts.add_parser(
        "mutate", help="write broken samples of good result objects, one fault each", description="Copy the result "
        "objects of one reading once for each fault that applies to one of them, and break that one. A file "
        "faults.json says what was broken, and which checks must name it.",
    )  # fmt: skip
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="good objects of one reading")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty or new folder")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write them."""
    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: expected an empty or new folder, found another; name one for the samples alone")
    objects = [path for path in find(arguments.paths) if _is_object(path)]
    if not objects:
        raise ConfigError(f"{arguments.paths[0]}: expected result objects such as SR or SEG, found none")
    table = [
        {"fault": one.fault.name, "object": str(one.broken.relative_to(out)), "checks": list(one.fault.checks)}
        for one in mutate(objects, out)
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "faults.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    print(f"{len(table)} broken samples in {out}")
    return 0


def _is_object(path: Path) -> bool:
    ds = read(path, only=("SOPClassUID", "Modality"))
    return not isinstance(ds, Finding) and is_result(text(ds, "SOPClassUID"), text(ds, "Modality"))
