"""``sgmri suspend``: let no reading begin, on any host, until ``sgmri resume``."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from plugin.cli.operating import operating
from plugin.listener import open_journal
from plugin.settings import load
from worker import suspension
from worker.suspension import Mode


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("suspend", help="let no reading begin; receiving and delivering go on")
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.add_argument(
        "--after-current", action="store_true", help="let readings under way end (default: they are given back)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Suspend."""
    return change(arguments.config, Mode.FINISHING if arguments.after_current else Mode.SUSPENDED)


def change(config: Path | None, mode: Mode) -> int:
    """Set the worklist's mode and print it."""
    settings = load(config)
    with closing(open_journal(settings)) as journal, operating(settings, f"worklist {mode}"):
        suspension.change(journal, mode)
    print(f"worklist: {mode}")
    return 0
