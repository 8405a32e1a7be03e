"""The journal's two databases: SQLite, and a PostgreSQL of the tests' own on a Unix socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from worker.database import sqlite_url
from worker.journal_tables import METADATA


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server: where its programs and its files are."""

    binaries: Path
    directory: Path

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://sgmri@/postgres?host={self.directory}"

    def run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root. Its log takes the output: a pipe would be held open by the server
        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        subprocess.run(
            [str(self.binaries / program), "-D", str(self.directory / "cluster"), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=account.pw_uid if os.geteuid() == 0 else None,
            group=account.pw_gid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
        )

    def start(self, *options: str) -> None:
        said = " ".join([f"-k {self.directory}", "-c fsync=off", *(options or ("-c listen_addresses=",))])
        self.run("pg_ctl", "-w", "-t", "120", "-o", said, "-l", str(self.directory / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "-w", "-m", mode, "stop")


def make_cluster() -> Cluster:
    """Make a cluster that is not yet started; skip where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and os.environ.get("CI") != "true":
        pytest.skip("PostgreSQL is not installed")
    # Not tmp_path: the postgres account must be able to enter it, and a socket's path is at most 107 bytes
    cluster = Cluster(binaries=found[-1].parent, directory=Path(tempfile.mkdtemp(prefix="sgmri-pg-")))
    if os.geteuid() == 0:
        shutil.chown(cluster.directory, "postgres", "postgres")
    cluster.run("initdb", "-U", "sgmri", "-A", "trust", "-E", "UTF8", "-N")
    return cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A server that runs for the session; skip where PostgreSQL is not installed."""
    cluster = make_cluster()
    try:
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(cluster.directory, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Cluster) -> str:
    """An empty database."""
    engine = create_engine(postgres.url)
    METADATA.drop_all(engine)
    engine.dispose()
    return postgres.url


BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))]


@pytest.fixture(params=BOTH)
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each claim holds on both databases."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return str(request.getfixturevalue("postgres_url"))
