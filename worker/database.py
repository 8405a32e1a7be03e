"""Open the journal's database: SQLite in WAL mode on one machine, PostgreSQL by URL on several."""

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from sgmri.errors import ConfigError
from sgmri.settings import Settings

_RESTART_S = 10.0
_FILE_NAME = "journal.sqlite"


def sqlite_url(state_dir: Path) -> str:
    """Return the URL of the journal in a state directory."""
    return f"sqlite:///{state_dir / _FILE_NAME}"


def journal_url(settings: Settings) -> str:
    """Return the URL of the journal that the settings name."""
    return settings.storage.journal_url or sqlite_url(Path(settings.storage.state_dir))


def set_aside_if_damaged(state_dir: Path) -> Path | None:
    """Give the SQLite journal of a state directory another name if it is damaged; the spool makes a new one.

    Returns
    -------
    Where it lies now; None if it is whole, locked, or not there.
    """
    path = state_dir / _FILE_NAME
    if not path.exists() or _is_whole(path):
        return None
    aside = path.with_name(f"{_FILE_NAME}.damaged-{int(time.time())}")
    for suffix in ("-wal", "-shm", ""):  # the log first: it must never be taken for a new file's
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError:
        return True  # locked, or the disk refuses: whoever opens it says so
    except sqlite3.DatabaseError:
        return False


def open_database(url: str) -> Engine:
    """Return an engine for a URL.

    Raises
    ------
    ConfigError
        If the URL cannot be used; its text is not quoted, for it may hold a password.
    """
    try:
        return _engine(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            "storage.journal_url: expected an SQLAlchemy URL whose driver is installed, found "
            f"{type(error).__name__}; correct it, or pip install 'sgmri[postgres]'"
        ) from None


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return _server(url)
    # One connection a use: SQLite connections must not cross threads or forks, and opening one is cheap
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 30.0})

    @event.listens_for(engine, "connect")
    def _configure(connection: object, record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]  # DB-API connection, which has no type
        # The instance's file is the durable truth of a receipt; the index survives a process's death with NORMAL
        connection.isolation_level = None  # type: ignore[attr-defined]  # the driver must not begin by itself
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Writers wait for each other at BEGIN instead of failing at their first UPDATE (SQLITE_BUSY)
        options = connection.get_execution_options()
        if options.get("durable", False):
            connection.exec_driver_sql("PRAGMA synchronous=FULL")  # of this connection, which is used once
        connection.exec_driver_sql("BEGIN" if options.get("reads_only", False) else "BEGIN IMMEDIATE")

    return engine


def _server(url: str) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Dialect, record: object, arguments: list[Any], options: dict[str, Any]) -> DBAPIConnection:
        # A server that restarts is waited for; one that is gone without a word is noticed (libpq's own names)
        options = {"connect_timeout": 5, "keepalives_idle": 30, "tcp_user_timeout": 30_000, **options}
        deadline = time.monotonic() + _RESTART_S
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.25)

    return engine
