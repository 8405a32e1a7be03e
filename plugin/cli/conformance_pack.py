"""``sgmri conformance pack``: write a sample pack: phantoms, result objects, pictures, reports and the statement."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from conformance.pack import MANIFEST, PHANTOMS, write_pack
from conformance.phantoms import NAMES
from plugin.settings import admitted_peers, load
from worker.overlay import draw_marks


def add_parser(parts: "argparse._SubParsersAction[Any]") -> None:
    """Add the part."""
    parser = parts.add_parser("pack", help="write sample images, objects, pictures, reports and the statement")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty or new folder")
    parser.add_argument("--config", type=Path, help="TOML configuration file of the statement (default: the defaults)")
    parser.add_argument(
        "--phantom", choices=NAMES, action="append", metavar="NAME",
        help=f"one of {', '.join(NAMES)}; may be repeated (default: {', '.join(PHANTOMS)})",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    files = write_pack(
        arguments.out,
        admitted_peers(load(arguments.config)),
        draw_marks,
        names=tuple(dict.fromkeys(arguments.phantom or PHANTOMS)),
        say=partial(print, file=sys.stderr),
    )
    print(f"{len(files)} files in {arguments.out}; their digests are in {MANIFEST}")
    return 0
