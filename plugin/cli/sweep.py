"""``sgmri sweep``: fetch now what the archive has and we do not know, as the listener does on its schedule."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from dicom_io.spool import Spool
from plugin.archive_sweep import ArchiveSweep, open_archive
from plugin.indexer import received
from plugin.listener import open_journal, spool_dir
from plugin.settings import load
from worker.audit import auditor


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("sweep", help="fetch from the archive of [sweep] what was missed")
    parser.add_argument("--config", type=Path, required=True, help="TOML configuration file")
    parser.add_argument("--dry-run", action="store_true", help="only say what is lacking")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Sweep once; 1 if a series could not be fetched."""
    settings = load(arguments.config)
    journal = open_journal(settings)
    try:
        listener = settings.listener
        spool = Spool(spool_dir(settings), min_free_bytes=listener.min_free_bytes, synced=listener.durability != "none")
        archive = open_archive(settings, spool, lambda instance: journal.receive(received(instance)))
        sweep = ArchiveSweep(settings, journal, archive, auditor(settings))
        if arguments.dry_run:
            lacking = sweep.lacking()
            for one, count in lacking.items():
                print(f"{one.series_key[:8]}  {one.instances} instances at the archive, {count} known here")
            print(f"{len(lacking)} series lacking")
            return 0
        if settings.series.quiet_period_s > 2:
            print(f"looking, and again after {settings.series.quiet_period_s:g} s: what still grows is left")
        swept = sweep.run(_wait)
    finally:
        journal.close()
    print(f"{swept.lacking} series lacking, {swept.fetched} fetched, {swept.failed} failed")
    if swept.failed:
        print("sgmri: run it again, and see the lines above for the reason", file=sys.stderr)
    return int(swept.failed > 0)


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False
