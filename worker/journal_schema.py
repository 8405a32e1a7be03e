"""Make the journal's tables in an empty database; refuse a journal of another version of the product."""

from sqlalchemy import Connection, Engine, insert, inspect, select
from sqlalchemy.exc import OperationalError

from sgmri.errors import ConfigError
from worker.journal_tables import METADATA, SCHEMA, SERIES, WORKLIST

VERSION = 1
"""Counted up with each change of :mod:`worker.journal_tables` after the first release."""

_LOCK = 0x5347_4D52  # any number that other users of the database are unlikely to take


def prepare(engine: Engine, now: float) -> None:
    """Make the tables where there are none; several processes may come at once.

    Parameters
    ----------
    engine
        The database.
    now
        Seconds since the epoch.

    Raises
    ------
    ConfigError
        If the database does not answer, or its journal is of another version.
    """
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                # CREATE TABLE IF NOT EXISTS of two processes at once fails there; SQLite has locked by BEGIN
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            is_new = _is_empty(connection)
            METADATA.create_all(connection)  # where there is a journal: tables that came later
            if is_new:
                connection.execute(insert(SCHEMA).values(version=VERSION))
                connection.execute(insert(WORKLIST).values(name="readings", mode="RUNNING", mode_since=now))
    except OperationalError as error:
        raise ConfigError(
            f"storage.journal_url: expected a database that answers, found {type(error.orig).__name__}; is it running, "
            "and may this user open it?"
        ) from None


def _is_empty(connection: Connection) -> bool:
    """Tell whether there is no journal yet.

    Raises
    ------
    ConfigError
        If there is one of another version.
    """
    tables = inspect(connection)
    if tables.has_table(SCHEMA.name):
        found = connection.execute(select(SCHEMA.c.version)).scalar_one()
    elif tables.has_table(SERIES.name):
        found = 0
    else:
        return True
    if found != VERSION:
        raise ConfigError(
            f"expected a journal of version {VERSION}, found {'an older' if found < VERSION else 'a newer'} one of "
            f"version {found}; run the version of sgmri that made it, or see 'Upgrading' in docs/operations.md"
        )
    return False
