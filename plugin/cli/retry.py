"""``sgmri retry``: try a failed or waiting series again, now."""

import argparse
import sys
from typing import Any

from plugin.cli.operating import operating
from plugin.cli.series import add_arguments, chosen, require_files
from plugin.listener import spool_dir
from sgmri.lifecycle import State
from sgmri.settings import Queue
from worker.deliveries import is_in_hand
from worker.destinations import targets
from worker.journal import SeriesRow
from worker.outbox import Outbox
from worker.worklist import Entry, entry


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("retry", help="try a FAILED or waiting series again, now")
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Put it back; 2 where no single series is meant, 1 where nothing is to be tried."""
    with chosen(arguments) as (settings, journal, row):
        outbox = Outbox(journal=journal, targets=targets(settings))
        with operating(settings, "retry", row.series_key) as not_done:
            if row.state is State.FAILED and not outbox.results(row):
                require_files(journal, row, spool_dir(settings))
            after = put_back(outbox, row, settings.queue)
            if after is None:
                not_done()
    if after is None:
        print(f"sgmri: a series that is {row.state} has nothing to try again", file=sys.stderr)
        return 1
    print(f"{row.series_key[:8]}  {row.state} -> {after}")
    return 0


def put_back(outbox: Outbox, row: SeriesRow, queue: Queue) -> State | None:
    """Let a series be tried at once, with its attempts forgotten.

    Returns
    -------
    The state it is put into; None where there is nothing to try, or somebody is at it.
    """
    journal = outbox.journal
    if row.state is State.FAILED:
        after = State.READ if outbox.results(row) else State.QUEUED
    elif row.state in (State.QUEUED, State.READ, State.STORED) and not is_in_hand(journal, row):
        after = row.state
    else:
        return None
    now = journal.clock()
    place = Entry(lane=row.lane, first_lane_at=row.first_lane_at, next_try_at=now)
    if row.state is State.FAILED:  # it comes anew; one that waits keeps its place
        place |= entry(row.lane, now, queue)
    with journal.begin() as connection:
        done = journal.move_within(
            connection, row, after, attempts=0, deliveries=0, lease_owner=None, lease_until=0.0, **place
        )
        if done:
            outbox.deliveries.try_now(connection, row)
    return after if done else None
