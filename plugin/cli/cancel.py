"""``sgmri cancel``: let nothing more be done for a series, until it is retried."""

import argparse
import sys
from typing import Any

from plugin import operations
from plugin.cli.operating import operating
from plugin.cli.series import add_arguments, chosen


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("cancel", help="let nothing more be done for a waiting series, or one that is read")
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Cancel it; 2 where no single series is meant, 1 where nothing is under way."""
    with chosen(arguments) as (settings, journal, row), operating(settings, "cancel", row.series_key) as not_done:
        done = operations.cancel(journal, row)
        if not done:
            not_done()
    if not done:
        print(f"sgmri: a series that is {row.state} has nothing under way to cancel", file=sys.stderr)
        return 1
    print(f"{row.series_key[:8]}  {row.state} -> FAILED (CANCELLED)")
    return 0
