"""``sgmri retry``: try a failed or waiting series again, now."""

import argparse
import sys
from typing import Any

from plugin.cli.series import add_arguments, one_series, require_files
from plugin.listener import open_journal, spool_dir
from plugin.settings import load
from sgmri.lifecycle import State
from worker.journal import Journal, SeriesRow
from worker.outbox import Outbox


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("retry", help="try a FAILED or waiting series again, now")
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Put it back; 2 where no single series is meant, 1 where nothing is to be tried."""
    settings = load(arguments.config)
    journal = open_journal(settings)
    try:
        row = one_series(journal, arguments.key)
        if row.state is State.FAILED and not Outbox(journal=journal).results(row):
            require_files(journal, row, spool_dir(settings))
        after = put_back(journal, row)
    finally:
        journal.close()
    if after is None:
        print(f"sgmri: a series that is {row.state} has nothing to try again", file=sys.stderr)
        return 1
    print(f"{row.series_key[:8]}  {row.state} -> {after}")
    return 0


def put_back(journal: Journal, row: SeriesRow) -> State | None:
    """Let a series be tried at once, with its attempts forgotten.

    Returns
    -------
    The state it is put into; None where there is nothing to try, or somebody is at it.
    """
    if row.state is State.FAILED:
        after = State.READ if Outbox(journal=journal).results(row) else State.QUEUED
    elif row.state in (State.QUEUED, State.READ, State.STORED) and row.lease_until <= journal.clock():
        after = row.state
    else:
        return None
    done = journal.move(row, after, attempts=0, deliveries=0, next_try_at=0.0, lease_owner=None, lease_until=0.0)
    return after if done else None
