"""Find the series that a key on the command line means."""

from sgmri.errors import ConfigError
from worker.journal import Journal, SeriesRow

KEY_HELP = "series key of 'sgmri status', or the beginning of it"


def one_series(journal: Journal, key: str) -> SeriesRow:
    """Return the series whose key begins so.

    Raises
    ------
    ConfigError
        If none does, or several do.
    """
    rows = [row for row in journal.all_series() if row.series_key.startswith(key)]
    if len(rows) != 1:
        raise ConfigError(f"expected the key of one series, found {len(rows)} that begin so")
    return rows[0]
