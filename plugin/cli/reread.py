"""``sgmri reread``: read a series again with the engine as it is now; the new report revises the one before."""

import argparse
import sys
from typing import Any

from plugin import operations
from plugin.cli.operating import operating
from plugin.cli.series import add_arguments, chosen


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("reread", help="read a series again, after a change of the model")
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Queue it; 2 where no single series is meant, 1 where it has no reading or somebody is at it."""
    with chosen(arguments) as (settings, journal, row), operating(settings, "reread", row.series_key) as not_done:
        done = operations.replay(settings, journal, row)
        if not done:
            not_done()
    if not done:
        print(f"sgmri: a series that is {row.state} has no reading, or is being worked on", file=sys.stderr)
        return 1
    print(f"{row.series_key[:8]}  {row.state} -> QUEUED, for reading {row.generation + 1}")
    return 0
