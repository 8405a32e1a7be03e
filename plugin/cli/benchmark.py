"""``sgmri benchmark``: the examination of the method, one module a part of it."""

import argparse
from typing import Any

from plugin.cli import benchmark_build, benchmark_finetune, benchmark_scoring

_PARTS = (benchmark_build, benchmark_scoring, benchmark_finetune)


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand and its parts."""
    parser = commands.add_parser("benchmark", help="SGMRI-VQA: build it, run models on it, score them, train on it")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in _PARTS:
        part.add_parser(parts)
