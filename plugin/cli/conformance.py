"""``sgmri conformance``: proof from outside, of this product and of any other, one module a part of it."""

import argparse
from typing import Any

from plugin.cli import (
    conformance_mutate,
    conformance_network,
    conformance_objects,
    conformance_pack,
    conformance_statement,
)

_PARTS = (conformance_objects, conformance_network, conformance_mutate, conformance_statement, conformance_pack)


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand and its parts."""
    parser = commands.add_parser("conformance", help="check objects and peers of any product; state what this one does")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in _PARTS:
        part.add_parser(parts)
