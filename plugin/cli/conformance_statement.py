"""``sgmri conformance statement``: print the DICOM conformance statement of a configuration (PS3.2 Annex N)."""

import argparse
import sys
from pathlib import Path
from typing import Any

from conformance.statement.assembly import statement
from conformance.statement.formats import FORMATS
from plugin.cli.output import write_output
from plugin.settings import admitted_peers, load


def add_parser(parts: "argparse._SubParsersAction[Any]") -> None:
    """Add the part."""
    parser = parts.add_parser("statement", help="print the DICOM conformance statement of a configuration")
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.add_argument("--format", choices=FORMATS, default="md", help="default: md")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    content = FORMATS[arguments.format](statement(admitted_peers(load(arguments.config))))
    if arguments.out is None:
        sys.stdout.buffer.write(content)
        return 0
    write_output(arguments.out, content)
    return 0
