"""Find the series that a key on the command line means."""

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from plugin.listener import open_journal
from plugin.settings import load
from sgmri.errors import ConfigError, SgmriError
from sgmri.settings import Settings
from worker.journal import Journal, SeriesRow
from worker.removals import removed_generation


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


def require_files(journal: Journal, row: SeriesRow, spool: Path) -> None:
    """Check that a series that is to be read again still has its instances.

    Raises
    ------
    SgmriError
        If retention has removed them, and they were not all sent again.
    """
    names = journal.file_names(row.series_key)
    there = sum((spool / row.series_key / name).exists() for name in names)
    if there < len(names) and removed_generation(journal, row.series_key) is not None:
        raise SgmriError(
            f"expected the {len(names)} instances of the series in the spool, found {there}: retention removes them "
            "(sgmri settings, [retention]); have the series sent again, then repeat this command"
        )
