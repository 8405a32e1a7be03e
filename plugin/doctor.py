"""Checks of a machine: is everything there that sgmri needs, and is nothing in its way."""

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from dicom_io.kinds import ResultKind
from dicom_io.profiles import profile_for
from plugin.listener import open_journal, open_remote_spool
from plugin.rules import load_rules
from sgmri.errors import ConfigError, EngineError, PeerUnavailable, SpoolUnavailable
from sgmri.outlets import Outlet
from sgmri.settings import Settings
from worker.app import create_app
from worker.destinations import open_sender
from worker.engines import create_engine

PACKAGES = ("sgmri", "dicom_io", "worker", "conformance", "benchmark", "plugin")


class Verdict(StrEnum):
    """The outcome of one check."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the examination."""

    name: str
    verdict: Verdict
    text: str


def examine(settings: Settings | None) -> Iterator[Check]:
    """Check the machine, and what the settings name.

    Parameters
    ----------
    settings
        None to look at the machine alone.
    """
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield _check("Python", sys.version_info >= (3, 11), version)
    yield _libraries()
    yield _names()
    yield _runtimes()
    for tool, use in (
        ("redis-server", "a broker of the machine's own"),
        ("Orthanc", "the demo's PACS"),
        ("dciodvfy", "the validator of the tests"),
    ):
        found = shutil.which(tool, path=f"{Path(sys.executable).parent}:/usr/bin:/usr/sbin:/usr/local/bin")
        yield Check(
            name=tool,
            verdict=Verdict.OK if found else Verdict.NOTE,
            text="found" if found else f"not installed; only needed as {use}",
        )
    if settings is not None:
        yield from _services(settings)


def _check(name: str, good: bool, text: str) -> Check:
    return Check(name=name, verdict=Verdict.OK if good else Verdict.FAIL, text=text)


def _libraries() -> Check:
    names = ("pydicom", "pynetdicom", "highdicom", "celery", "redis", "sqlalchemy")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return _check("libraries", True, ", ".join(versions))


def _names() -> Check:
    """Ask that our six top-level names belong to nobody else (ADR 0001): others exist publicly."""
    owners = importlib.metadata.packages_distributions()
    strangers = {name: set(owners.get(name, ())) - {"sgmri"} for name in PACKAGES}
    clashes = [
        f"{name} is also installed by {', '.join(sorted(others))}" for name, others in strangers.items() if others
    ]
    return _check("package names", not clashes, "; ".join(clashes) or "ours alone")


def _runtimes() -> Check:
    installed = {name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)}
    if len(installed) == 2:
        return _check(
            "model runtime",
            False,
            "onnxruntime and onnxruntime-gpu are both installed and break each other; pip uninstall both, "
            "then install one",
        )
    text = ", ".join(sorted(installed)) or "none (fine for a listener, and for the classical engine)"
    return Check(name="model runtime", verdict=Verdict.OK if installed else Verdict.NOTE, text=text)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _services(settings: Settings) -> Iterator[Check]:
    yield _journal(settings)
    if settings.storage.spool_url:
        yield _bucket(settings)
    yield _rules(settings.selection.rules)
    yield _results(settings)
    yield _broker(create_app(settings.broker.url))
    try:
        engine = create_engine(settings.worker.engine, settings.worker)
        yield _check("engine", True, f"{settings.worker.engine}: {engine.describe().name} {engine.describe().version}")
        engine.close()
    except (ConfigError, EngineError) as error:
        yield _check("engine", False, str(error))
    if not settings.listener.peers:
        yield Check(name="peers", verdict=Verdict.NOTE, text="none configured: every association will be rejected")
    if not settings.outlets:
        yield Check(name="destination", verdict=Verdict.NOTE, text="none configured: results stay in the outbox")
    for outlet in settings.outlets:
        yield _destination(settings, outlet)


def _destination(settings: Settings, outlet: Outlet) -> Check:
    name = f"destination {outlet.name}"
    try:
        with closing(open_sender(settings, outlet)) as sender:
            sender.probe()
    except (ConfigError, PeerUnavailable) as error:
        return _check(name, False, str(error))
    return _check(name, True, f"{outlet.ae_title} answers C-ECHO" if outlet.kind == "dimse" else "answers a search")


def _journal(settings: Settings) -> Check:
    try:
        journal = open_journal(settings)
        count = sum(journal.counts().values())
        journal.close()
    except (ConfigError, SQLAlchemyError, OSError) as error:
        return _check("journal", False, f"cannot be opened ({type(error).__name__}); check storage.state_dir")
    return _check("journal", True, f"{count} series")


def _bucket(settings: Settings) -> Check:
    try:
        remote = open_remote_spool(settings)
        assert remote is not None
        remote.probe()
    except (ConfigError, SpoolUnavailable) as error:
        return _check("shared spool", False, str(error))
    return _check("shared spool", True, "answers")


def _rules(path: str) -> Check:
    try:
        load_rules(path)
    except ConfigError as error:
        return _check("rules", False, f"{error}; mend it and try it with sgmri select --rules")
    return _check("rules", True, path or "the built-in rule")


def _results(settings: Settings) -> Check:
    said = []
    for one in settings.outlets or (settings.delivery,):
        try:
            kinds = profile_for(one).kinds
        except ConfigError as error:
            return _check("results", False, str(error))
        viewers = ", ".join(one.viewers) or "no viewer in particular"
        said.append(f"{', '.join(kind for kind in ResultKind if kind in kinds)} for {viewers}")
    return _check("results", True, "; ".join(said))


def _broker(app: Celery) -> Check:
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
    except (OperationalError, OSError) as error:
        return _check("broker", False, f"does not answer ({type(error).__name__}); check broker.url")
    return _check("broker", True, "answers")
