"""``sgmri resume``: let readings begin again."""

import argparse
from pathlib import Path
from typing import Any

from plugin.cli.suspend import change
from worker.suspension import Mode


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("resume", help="let readings begin again after suspend or drain")
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Resume; workers are rung at the listener's next sweep."""
    return change(arguments.config, Mode.RUNNING)
