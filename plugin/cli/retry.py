"""``sgmri retry``: try a failed or waiting series again, now."""

import argparse
import sys
from typing import Any

from plugin import operations
from plugin.cli.operating import operating
from plugin.cli.series import add_arguments, chosen


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("retry", help="try a FAILED or waiting series again, now")
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Put it back; 2 where no single series is meant, 1 where nothing is to be tried."""
    with chosen(arguments) as (settings, journal, row), operating(settings, "retry", row.series_key) as not_done:
        after = operations.retry(settings, journal, row)
        if after is None:
            not_done()
    if after is None:
        print(f"sgmri: a series that is {row.state} has nothing to try again", file=sys.stderr)
        return 1
    print(f"{row.series_key[:8]}  {row.state} -> {after}")
    return 0
