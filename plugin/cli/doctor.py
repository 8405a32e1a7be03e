"""``sgmri doctor``: look whether this machine can run what it is meant to run."""

import argparse
from pathlib import Path
from typing import Any

from plugin.doctor import Verdict, examine
from plugin.settings import load


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("doctor", help="check this machine, and with --config the services it is to use")
    parser.add_argument("--config", type=Path, help="TOML configuration file; also checks what it names")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line a check; 1 if one fails."""
    settings = load(arguments.config) if arguments.config else None
    failed = False
    for check in examine(settings):
        print(f"[{check.verdict:4}] {check.name}: {check.text}")
        failed |= check.verdict is Verdict.FAIL
    return int(failed)
