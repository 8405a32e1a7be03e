"""The state directory and the journal: can they be used, are they safe there, and does everybody see the same."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from dicom_io.syncing import make_directory
from plugin.doctor.check import Check, fault, good, note
from plugin.doctor.clocks import clock_check
from plugin.doctor.secrets import is_weak
from plugin.listener import open_journal, outbox_dir, spool_dir
from sgmri.errors import ConfigError
from sgmri.settings import Settings
from worker.database import open_database
from worker.journal import Journal
from worker.removals import removed_generation

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_OVER_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "fuse.sshfs"})
_POSTGRES_PORT = 5432
_ASK_S = 2.0
_NEWEST = 20


def storage(settings: Settings, mounts: Path = Path("/proc/mounts")) -> Iterator[Check]:
    """Check where spool and outbox lie.

    Parameters
    ----------
    settings
        Where that is.
    mounts
        The mounted file systems (``proc_pid_mounts(5)``).
    """
    state_dir = Path(settings.storage.state_dir)
    try:
        make_directory(state_dir)
        with tempfile.TemporaryFile(dir=state_dir) as stream:
            stream.write(b"x")
    except OSError as error:
        yield fault(
            "state directory",
            f"expected a directory that this user can write, found {state_dir}: {error.strerror}; make it, give it to "
            "the user that runs sgmri, or change storage.state_dir",
        )
        return
    if state_dir.stat().st_mode & 0o007:
        yield note("state directory", f"patient data that every user of this machine can enter; chmod 700 {state_dir}")
    yield _file_system(settings, _kind(state_dir, mounts))
    yield _free(settings, state_dir)


def _file_system(settings: Settings, kind: str) -> Check:
    name, state_dir = "file system", settings.storage.state_dir
    if kind in _IN_MEMORY:
        return fault(
            name,
            f"expected {state_dir} on a disk, found {kind}, which a restart empties; mount a volume there, or change "
            "storage.state_dir",
        )
    if kind in _OVER_NETWORK and not settings.storage.journal_url:
        return fault(
            name,
            f"expected the SQLite journal on a local disk, found {kind}, on which its locks do not hold; put the "
            "journal into PostgreSQL (storage.journal_url), or the state directory on a local disk",
        )
    spool = spool_dir(settings)
    devices = {path.stat().st_dev for path in (spool, *spool.glob("*")) if path.is_dir()}
    if len(devices) > 1:
        return fault(
            name,
            f"expected all of {spool} on one file system, found {len(devices)}, between which files cannot be renamed; "
            "mount the volume at storage.state_dir instead of below the spool",
        )
    return good(name, kind)


def _kind(path: Path, mounts: Path) -> str:
    """Return the type of the file system of a path: that of the longest mount point above it, the last one mounted."""
    here, found = path.resolve(), (-1, "unknown")
    for line in mounts.read_text(encoding="utf-8").splitlines():
        _, point, kind, *_ = line.split()
        place = Path(point.replace("\\040", " "))
        if here.is_relative_to(place) and len(place.parts) >= found[0]:
            found = len(place.parts), kind
    return found[1]


def _free(settings: Settings, state_dir: Path) -> Check:
    usage = shutil.disk_usage(state_dir)
    least = settings.listener.min_free_bytes
    if usage.free < least:
        return fault(
            "disk",
            f"expected {least} bytes free (listener.min_free_bytes), found {usage.free}, so that every C-STORE is "
            "refused (0xA700); free disk space (sgmri clean --dry-run), or lower the limit",
        )
    return good("disk", f"{usage.free >> 20} MiB free")


def journal(settings: Settings) -> Iterator[Check]:
    """Check that the journal can be opened, and that what it speaks of lies here."""
    address = settings.storage.journal_url
    if not address and not Path(settings.storage.state_dir).is_dir():
        return  # said already
    try:
        url = make_url(address) if address else None
        if url is not None:
            open_database(address).dispose()  # names a missing driver; nothing is connected yet
            if trouble := _server(url):
                yield fault("journal", trouble)
                return
        with closing(open_journal(settings)) as opened:
            yield good("journal", f"{sum(opened.counts().values())} series")
            if url is not None and is_weak(url.host, url.password):
                yield fault(
                    "journal access",
                    "expected a password of its own for a database that others can reach, found none or one that "
                    "anybody would try; set another, in SGMRI_JOURNAL_URL",
                )
            if url is not None and url.get_backend_name() == "postgresql":
                with opened.look() as connection:
                    seconds = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
                yield clock_check("the database", float(seconds), opened.clock())
            yield _shared(settings, opened)
    except ArgumentError:
        yield fault("journal", "expected an SQLAlchemy URL in storage.journal_url, found another text; correct it")
    except ConfigError as error:
        yield fault("journal", str(error))
    except (SQLAlchemyError, OSError) as error:
        yield fault(
            "journal",
            f"expected a journal that can be opened, found {type(error).__name__}; check user, password and database "
            "in storage.journal_url (empty: that storage.state_dir can be written and the file is a journal)",
        )


def _server(url: URL) -> str:
    """Return why a database's server cannot be reached; empty if it can, or is none."""
    if url.host is None or url.get_backend_name() == "sqlite":
        return ""
    port = url.port or _POSTGRES_PORT
    try:
        socket.create_connection((url.host, port), timeout=_ASK_S).close()
    except OSError as error:
        return (
            f"expected the database's server at {url.host}:{port}, found {error.strerror or type(error).__name__}; "
            "check host and port in storage.journal_url, that it runs and listens there, and the firewall between"
        )
    return ""


def _shared(settings: Settings, opened: Journal) -> Check:
    """Look for the files of the newest series: who has another spool than the listener has none of them."""
    spool, outbox = spool_dir(settings), outbox_dir(settings)
    rows = [row for row in opened.newest(_NEWEST) if removed_generation(opened, row.series_key) is None]
    waiting = any((spool / "segments").glob("*"))  # of a listener with durability "journal"
    there = [row for row in rows if (spool / row.series_key).is_dir() or (outbox / row.series_key).is_dir()]
    if rows and not there and not waiting:
        return fault(
            "spool",
            f"expected the files of the newest series in {spool}, found none of {len(rows)}; mount the listener's "
            "state directory here at the same path (every host needs the same storage.state_dir and journal)",
        )
    if not os.access(spool if spool.exists() else Path(settings.storage.state_dir), os.R_OK | os.W_OK | os.X_OK):
        return fault(
            "spool", f"expected to read and write {spool}, found no right to; run all parts as one user, or chown it"
        )
    return good("spool", f"the files of {len(there)} of the {len(rows)} newest series are here")
