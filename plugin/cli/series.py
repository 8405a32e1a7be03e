"""Find the series that a key on the command line means."""

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from plugin.listener import open_journal
from plugin.settings import load
from sgmri.errors import ConfigError
from sgmri.settings import Settings
from worker.journal import Journal, SeriesRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which series is meant, and in which journal."""
    parser.add_argument("key", metavar="KEY", help="series key of 'sgmri status', or the beginning of it")
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")


@contextmanager
def chosen(arguments: argparse.Namespace) -> Iterator[tuple[Settings, Journal, SeriesRow]]:
    """Open the journal that is meant; yields its settings, itself, and the series. Raises as :func:`one_series`."""
    settings = load(arguments.config)
    with closing(open_journal(settings)) as journal:
        yield settings, journal, one_series(journal, arguments.key)


def one_series(journal: Journal, key: str) -> SeriesRow:
    """Return the series whose key begins so.

    Raises
    ------
    ConfigError
        If none does, or several do.
    """
    rows = journal.beginning_with(key, limit=2)
    if len(rows) != 1:
        raise ConfigError(f"expected the key of one series, found {'several' if rows else 'none'} that begin so")
    return rows[0]
