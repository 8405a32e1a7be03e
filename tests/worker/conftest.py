"""A PostgreSQL of the tests' own, on a Unix socket in a directory of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


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
