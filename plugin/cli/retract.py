"""``sgmri retract``: take the newest reading of a series back; its destinations get a note that rejects its objects."""

import argparse
import sys
from typing import Any

from plugin.cli.operating import operating
from plugin.cli.series import add_arguments, chosen
from plugin.listener import open_remote_spool, outbox_dir
from sgmri.errors import DeliveryError
from sgmri.lifecycle import Reason
from worker.retractions import retract, send_note

REASONS = {
    "quality": Reason.REJECTED_QUALITY,
    "safety": Reason.REJECTED_SAFETY,
    "worklist": Reason.REJECTED_WORKLIST,
    "retention": Reason.REJECTED_RETENTION,
}


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("retract", help="take the newest reading of a series back: it must not be used")
    add_arguments(parser)
    parser.add_argument(
        "--reason", choices=REASONS, default="quality", help="what the rejection note is titled (default: quality)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Take it back; 2 where no single series is meant, 1 where there is nothing to take back or the note is not out."""
    with chosen(arguments) as (settings, journal, row):
        with operating(settings, f"retract {arguments.reason}", row.series_key):
            reading = retract(journal, row, REASONS[arguments.reason])
        directory = outbox_dir(settings) / row.series_key / str(reading.generation)
        remote = open_remote_spool(settings)
        if remote is not None:
            remote.fetch_results(row.series_key, directory)
        try:
            with operating(settings, "send the note of a retraction", row.series_key):
                path = send_note(journal, settings, row, reading, directory)
        except DeliveryError as error:
            print(f"sgmri: {error}", file=sys.stderr)
            print("sgmri: the reading is retracted here; repeat this command to send its note", file=sys.stderr)
            return 1
    names = ", ".join(outlet.name for outlet in settings.outlets)
    where = f"note sent to {names}" if names else f"note: {path}"
    print(f"{row.series_key[:8]}  reading {reading.generation} retracted ({reading.retracted}); {where}")
    return 0
