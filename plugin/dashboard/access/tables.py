"""The tables of local users and of sessions: beside the journal on PostgreSQL, a file of their own elsewhere."""

from pathlib import Path

from sqlalchemy import Column, Engine, Float, MetaData, String, Table

from dicom_io.syncing import make_directory
from sgmri.settings import Settings
from worker.database import open_database

_METADATA = MetaData()

USERS = Table(
    "access_users",
    _METADATA,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_digest", String(256), nullable=False),
)
SESSIONS = Table(
    "access_sessions",
    _METADATA,
    # Of the browser's token only the digest is kept: who reads the table cannot log in with it
    Column("token_digest", String(64), primary_key=True),
    Column("name", String(160), nullable=False, index=True),
    Column("role", String(16), nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)


def open_tables(settings: Settings) -> Engine:
    """Open the database, and make the tables where there are none.

    Raises
    ------
    ConfigError
        If ``storage.journal_url`` cannot be used.
    """
    url = settings.storage.journal_url
    if not url or url.startswith("sqlite"):
        directory = Path(settings.storage.state_dir)
        make_directory(directory)
        path = directory / "access.sqlite"
        path.touch(mode=0o600)
        url = f"sqlite:///{path}"
    engine = open_database(url)
    _METADATA.create_all(engine)
    return engine
