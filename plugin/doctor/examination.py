"""The whole examination, in the order in which things depend on each other."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dicom_io.kinds import ResultKind
from dicom_io.profiles import profile_for
from plugin.certificates import examine_certificates
from plugin.doctor.broker import broker
from plugin.doctor.check import Check, fault, good
from plugin.doctor.machine import machine
from plugin.doctor.pages import dashboard
from plugin.doctor.peers import archive, destinations, listener
from plugin.doctor.storage import journal, storage
from plugin.listener import open_remote_spool
from plugin.rules import load_rules
from plugin.settings import load
from sgmri.errors import ConfigError, EngineError, MemoryShort, SpoolUnavailable
from sgmri.settings import Settings
from worker.admission import Admission
from worker.engines import create_engine


def examine(config: Path | None) -> Iterator[Check]:
    """Check the machine, and what a configuration file names; None to look at the machine alone."""
    yield from machine()
    if config is not None:
        yield from examine_site(config)


def examine_site(config: Path, clock: Callable[[], float] = time.time) -> Iterator[Check]:
    """Check what a configuration file names; ``clock`` gives seconds since the epoch."""
    try:
        settings = load(config)
    except ConfigError as error:
        yield fault("configuration", f"{error}; sgmri settings prints every key with its meaning")
        return
    yield good("configuration", str(config))
    yield from storage(settings)
    yield from journal(settings)
    if settings.storage.spool_url:
        yield _bucket(settings)
    yield _rules(settings.selection.rules)
    yield _results(settings)
    yield from broker(settings, clock)
    yield from _engine(settings)
    yield from _certificates(settings)
    yield from listener(settings)
    yield from destinations(settings)
    yield from archive(settings)
    yield from dashboard(settings)


def _bucket(settings: Settings) -> Check:
    try:
        remote = open_remote_spool(settings)
        assert remote is not None
        remote.probe()
    except (ConfigError, SpoolUnavailable) as error:
        return fault("shared spool", str(error))
    return good("shared spool", "answers")


def _rules(path: str) -> Check:
    try:
        load_rules(path)
    except ConfigError as error:
        return fault("rules", f"{error}; mend it and try it with sgmri select --rules")
    return good("rules", path or "the built-in rule")


def _results(settings: Settings) -> Check:
    said = []
    for one in settings.outlets or (settings.delivery,):
        kinds = profile_for(one).kinds
        viewers = ", ".join(one.viewers) or "no viewer in particular"
        said.append(f"{', '.join(kind for kind in ResultKind if kind in kinds)} for {viewers}")
    return good("results", "; ".join(said))


def _engine(settings: Settings) -> Iterator[Check]:
    worker = settings.worker
    try:
        engine = create_engine(worker.engine, worker, served_key=os.environ.get("SGMRI_SERVED_KEY", ""))
    except (ConfigError, EngineError) as error:
        yield fault("engine", f"{error} (a machine that only listens or delivers needs no engine)")
        return
    identity = engine.describe()
    engine.close()
    yield good("engine", f"{worker.engine}: {identity.name} {identity.version}")
    try:
        Admission("cpu", worker.min_free_memory_bytes).require()
    except MemoryShort as error:
        yield fault("memory", f"{error}, or lower worker.min_free_memory_bytes")


def _certificates(settings: Settings) -> Iterator[Check]:
    for examined in examine_certificates(settings):
        if examined.problems:
            yield fault(examined.name, "; ".join(examined.problems))
        else:
            yield good(examined.name, examined.text)
