"""Kill -9 at random points under continuous sending; at the end nothing is lost and nothing is there twice.

    scripts/test-kill [--rounds N] [--seed S] [--journal sqlite|postgresql|URL] [--durability strict|journal]

Listener (with its sweeper), both workers (whole, parent alone or child alone), broker, PACS and, where the journal lies
in one of our own, PostgreSQL are real processes; a supervisor starts again what is down. The seed fixes what is killed,
how, when and for how long; the processes' own timing is theirs.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from sgmri.lifecycle import FINAL_STATES
from tests.faults.kill_parts import Installation
from tests.faults.kill_sender import Sender
from tests.faults.kill_verdict import Verdict, judge
from worker.journal import Journal

_MOST_UNDER_WAY = 12
_QUIET_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run came to."""

    series: int
    sent_again: int
    acknowledged: int
    killed: dict[str, int]
    fell: dict[str, int]
    was_quiet: bool
    verdict: Verdict

    @property
    def is_good(self) -> bool:
        """Whether it became quiet and nothing went wrong."""
        return self.was_quiet and self.verdict.is_good

    def __str__(self) -> str:
        """Return one line a figure."""
        lines = [
            f"series sent: {self.series}, and again: {self.sent_again}",
            f"instances answered with Success: {self.acknowledged}",
        ]
        lines += [f"killed {name}: {count}" for name, count in self.killed.items()]
        lines += [f"ended by itself, {name}: {count}" for name, count in self.fell.items() if count]
        lines += [f"{name.replace('_', ' ')}: {count}" for name, count in asdict(self.verdict).items()]
        return "\n".join([*lines, "nothing lost, nothing twice" if self.is_good else "FAILED"])


def run(installation: Installation, *, rounds: int, seed: int, longest_pause_s: float = 4.0) -> Figures:
    """Kill for some rounds, wait until all is quiet, and count.

    Parameters
    ----------
    installation
        Freshly made; it is closed at the end.
    rounds
        How many kills.
    seed
        Of what is killed, how, when and for how long.
    longest_pause_s
        Between two kills.
    """
    luck = random.Random(seed)  # noqa: S311 - reproducible, not secret
    directory = installation.directory
    try:
        journal = _open(installation)
        sender = Sender(directory / "scanner", installation.listener, lambda: _under_way(journal) < _MOST_UNDER_WAY)
        _wait(lambda: sender.series > 0 and _under_way(journal) > 0, 120.0)
        for _ in range(rounds):
            time.sleep(luck.uniform(0.1, longest_pause_s))
            name = luck.choice(sorted(installation.parts))
            how = luck.choice(["all", "parent", "children"]) if name.startswith("worker") else "all"
            installation.kill(name, how, luck.uniform(0.0, 2.0))
        finished = sender.finish(_QUIET_S)
        was_quiet = finished and _wait(lambda: _is_quiet(journal, sender.series), _QUIET_S)
        verdict = judge(journal, directory / "state", sender.acknowledged, installation.reviewer, directory / "scratch")
        journal.close()
        return Figures(
            series=sender.series,
            sent_again=sender.sent_again,
            acknowledged=len(sender.acknowledged),
            killed={name: part.killed for name, part in installation.parts.items()},
            fell={name: part.fell for name, part in installation.parts.items()},
            was_quiet=was_quiet,
            verdict=verdict,
        )
    finally:
        installation.close()


def _open(installation: Installation) -> Journal:
    deadline = time.monotonic() + 60.0
    while True:
        try:
            return Journal(installation.journal_url)
        except SQLAlchemyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _under_way(journal: Journal) -> int:
    try:
        return sum(count for state, count in journal.counts().items() if state not in FINAL_STATES)
    except SQLAlchemyError:
        return _MOST_UNDER_WAY


def _is_quiet(journal: Journal, series: int) -> bool:
    try:
        states = [row.state for row in journal.all_series()]
    except SQLAlchemyError:
        return False
    return len(states) == series and all(state in FINAL_STATES for state in states)


def _wait(ready: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def main() -> int:
    """Run it as a program; 1 if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--journal", default="sqlite", help="sqlite, postgresql, or a URL (that server is not killed)")
    parser.add_argument("--durability", choices=["strict", "journal"], default="strict")
    parser.add_argument("--pacs", choices=["auto", "orthanc", "embedded"], default="auto")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sgmri-kill-"))
    installation = Installation(
        directory / "run", pacs=options.pacs, journal=options.journal, durability=options.durability
    )
    figures = run(installation, rounds=options.rounds, seed=options.seed)
    print(figures)  # noqa: T201 - its output
    if figures.is_good:
        shutil.rmtree(directory)
        return 0
    print(f"everything is kept in {directory}")  # noqa: T201 - its output
    return 1


if __name__ == "__main__":
    sys.exit(main())
