"""``sgmri drain``: let no reading begin, and those under way end and be delivered, as before an update."""

import argparse
import time
from pathlib import Path
from typing import Any

from plugin.cli.operating import operating
from plugin.listener import open_journal
from plugin.settings import load
from sgmri.lifecycle import State
from sgmri.settings import Settings
from worker import suspension
from worker.journal import Journal
from worker.suspension import Mode

_LOOK_S = 1.0


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("drain", help="let no reading begin, and those under way end and be delivered")
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.add_argument("--wait", action="store_true", help="return when nothing is read or delivered any more")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Drain; with ``--wait`` print what is left whenever it changes."""
    settings = load(arguments.config)
    journal = open_journal(settings)
    try:
        with operating(settings, f"worklist {Mode.FINISHING}"):
            suspension.change(journal, Mode.FINISHING)
        print(f"worklist: {Mode.FINISHING}", flush=True)
        if arguments.wait:
            _wait(journal, settings)
    finally:
        journal.close()
    return 0


def _wait(journal: Journal, settings: Settings) -> None:
    shown = None
    # without a destination, what is read stays in the outbox: that is its end
    states = (State.READING, State.READ) if settings.outlets else (State.READING,)
    while True:
        counts = journal.counts()
        left = {state: counts.get(state, 0) for state in states}
        if left != shown:
            print(" ".join(f"{state}={count}" for state, count in left.items()), flush=True)
            shown = left
        if not any(left.values()):
            return
        time.sleep(_LOOK_S)
