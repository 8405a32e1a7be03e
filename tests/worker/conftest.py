"""A PostgreSQL of the tests' own, on a Unix socket in a directory of its own; and a worker's place."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.phantoms import make, write
from dicom_io.spool import Spool
from sgmri.interfaces import Engine
from sgmri.settings import Settings, parse
from tests.worker.place import Clock, NegativeEngine, Place
from worker.database import sqlite_url
from worker.journal import Journal
from worker.tasks import Workplace


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _as_postgres() -> dict[str, int]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid}


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Start a cluster and return its SQLAlchemy URL; skip where PostgreSQL is not installed."""
    binaries = _binaries()
    if binaries is None and os.environ.get("CI") != "true":
        pytest.skip("PostgreSQL is not installed")
    assert binaries is not None
    # Not tmp_path: the postgres account must be able to enter it, and a socket's path is at most 107 bytes
    directory = Path(tempfile.mkdtemp(prefix="sgmri-pg-"))
    account = _as_postgres()
    if account:
        os.chown(directory, account["user"], account["group"])
    try:
        cluster = str(directory / "cluster")
        run = [str(binaries / "initdb"), "-D", cluster, "-U", "sgmri", "-A", "trust", "-E", "UTF8", "-N"]
        subprocess.run(run, check=True, capture_output=True, cwd="/", **account)  # type: ignore[call-overload]  # ids
        options = f"-k {directory} -c listen_addresses= -c fsync=off"
        control = [str(binaries / "pg_ctl"), "-D", cluster, "-w"]
        log = str(directory / "log")
        subprocess.run(
            [*control, "-o", options, "-l", log, "start"], check=True, stdout=subprocess.DEVNULL, cwd="/", **account
        )  # type: ignore[call-overload]  # ids
        try:
            yield f"postgresql+psycopg://sgmri@/postgres?host={directory}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/", **account)  # type: ignore[call-overload]  # ids
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[[Settings], Place]]:
    """Make a place with other settings than the defaults."""
    clock, engine = Clock(), NegativeEngine()
    journal = Journal(sqlite_url(tmp_path), clock=clock)

    def made(settings: Settings) -> Place:
        def the_engine() -> Engine:
            return engine

        workplace = Workplace(
            settings=settings,
            journal=journal,
            spool=Spool(tmp_path / "spool"),
            outbox_dir=tmp_path / "outbox",
            engine=the_engine,
        )
        return Place(workplace=workplace, clock=clock, engine=engine)

    yield made
    journal.close()


@pytest.fixture
def place(make_place: Callable[[Settings], Place]) -> Place:
    """A place without a destination."""
    return make_place(parse({}))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Instances of a healthy brain, from inferior to superior."""
    return write(make("brain-normal"), tmp_path_factory.mktemp("brain"))
