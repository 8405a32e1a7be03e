"""``sgmri lane``: put a queued series into another lane of the worklist."""

import argparse
import sys
from typing import Any

from plugin.cli.operating import operating
from plugin.cli.series import add_arguments, chosen
from plugin.rules import LANES
from worker.worklist import Worklist


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("lane", help="put a queued series into another lane: stat, normal or off-peak")
    add_arguments(parser)
    parser.add_argument("lane", choices=list(LANES))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Put it there; 2 where no single series is meant, 1 where it is not queued."""
    with (
        chosen(arguments) as (settings, journal, row),
        operating(settings, f"lane {arguments.lane}", row.series_key) as not_done,
    ):
        done = Worklist(journal=journal).move_to(row, LANES[arguments.lane], settings.queue)
        if not done:
            not_done()
    if not done:
        print(f"sgmri: a series that is {row.state} is not on the worklist", file=sys.stderr)
        return 1
    print(f"{row.series_key[:8]}  {row.lane} -> {LANES[arguments.lane]}")
    return 0
