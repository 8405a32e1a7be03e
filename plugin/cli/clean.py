"""``sgmri clean``: let go now what retention would let go, or say what that is."""

import argparse
from pathlib import Path
from typing import Any

from dicom_io.spool import Spool
from plugin.cli.operating import operator
from plugin.listener import open_journal, open_remote_spool, outbox_dir, spool_dir
from plugin.retention import Leaving, Retention
from plugin.settings import load
from worker.audit import auditor


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("clean", help="remove what is old enough from the disk, as the listener does")
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Clean, and say what went."""
    settings = load(arguments.config)
    journal = open_journal(settings)
    try:
        spool = Spool(spool_dir(settings))
        retention = Retention(
            settings=settings,
            journal=journal,
            spool=spool,
            outbox_dir=outbox_dir(settings),
            remote=open_remote_spool(settings),
            audit=auditor(settings, "command"),
            who=operator(),
        )
        count = size_bytes = 0
        for leaving in retention.would_go() if arguments.dry_run else retention.clean():
            count, size_bytes = count + 1, size_bytes + leaving.size_bytes
            print(_line(leaving))
    finally:
        journal.close()
    print(f"{'would remove' if arguments.dry_run else 'removed'} {count}, {size_bytes / 1e6:.1f} MB")
    return 0


def _line(leaving: Leaving) -> str:
    what = "file not in the journal" if leaving.row is None else leaving.row.state
    days = leaving.age_s / 86_400
    return f"{leaving.series_key[:8]}  {what} for {days:.1f} days, {leaving.size_bytes / 1e6:.1f} MB ({leaving.why})"
