"""The worker process: Celery with our two tasks, the engine loaded in the process that reads."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

from celery import Celery, signals

from dicom_io.rulings import Rules
from dicom_io.spool import Spool
from plugin.listener import open_journal, open_remote_spool, outbox_dir, ship_audit, spool_dir
from plugin.logging import set_up
from plugin.rules import load_rules
from sgmri.errors import ConfigError, EngineError, SgmriError
from sgmri.interfaces import AskedEngine
from sgmri.settings import Settings, Worker
from worker.admission import Admission
from worker.app import ALONE, DELIVERY_QUEUE, READING_QUEUE, create_app
from worker.audit import auditor
from worker.destinations import first_profile, further_profiles, open_sender
from worker.engines import ENGINES, chosen_device, create_engine
from worker.presence import Presence
from worker.tasks import Workplace, register

_log = logging.getLogger(__name__)

QUEUES = (READING_QUEUE, DELIVERY_QUEUE)


def worker_app(settings: Settings, queues: Sequence[str] = QUEUES) -> Celery:
    """Make the Celery application with its tasks.

    Journal and engine are opened after the fork; the engine as soon as a process that reads has begun.

    Parameters
    ----------
    settings
        The configuration.
    queues
        Which queues are to be served.

    Raises
    ------
    ConfigError
        If the settings name an engine, viewer or rules that there are not.
    """
    if settings.worker.engine not in ENGINES:
        raise ConfigError(f"worker.engine: expected one of {', '.join(ENGINES)}, found {settings.worker.engine!r}")
    rules = load_rules(settings.selection.rules)
    reads = READING_QUEUE in queues
    app = create_app(
        settings.broker.url,
        time_limit_s=settings.worker.time_limit_s,
        processes=settings.worker.readings_per_gpu if reads else 1,
    )

    engine = cache(lambda: open_engine(settings.worker))
    once = threading.Lock()

    @cache
    def made() -> Workplace:
        return replace(open_workplace(settings, rules), engine=engine, audit=auditor(settings, "worker"))

    def workplace() -> Workplace:
        with once:  # the tasks and the sign of life share one
            return made()

    @cache
    def presence() -> Presence:
        return Presence(
            lambda: workplace().journal,
            queues,
            lambda: engine().describe() if engine.cache_info().currsize else None,
            settings.worker.lease_s,
        )

    @signals.worker_process_shutdown.connect(weak=False)
    def _release(**_: object) -> None:
        if presence.cache_info().currsize:
            presence().stop()
        if made.cache_info().currsize:
            made().senders.close()

    def begin(**_: object) -> None:
        # in the process that works, for neither a thread nor a CUDA context survives a fork
        presence().start()
        if reads:
            _load(workplace)

    register(app, workplace)
    # in a process that works, for a thread does not survive a fork
    signals.worker_process_init.connect(
        lambda **_: ship_audit(settings, threading.Event()), weak=False, dispatch_uid="sgmri-audit"
    )
    signals.worker_process_init.connect(begin, weak=False, dispatch_uid="sgmri")
    return app


def open_workplace(settings: Settings, rules: Rules) -> Workplace:
    """Open what a process needs that reads, or is asked; the engine on first use."""
    return Workplace(
        settings=settings,
        journal=open_journal(settings),
        spool=Spool(spool_dir(settings)),
        outbox_dir=outbox_dir(settings),
        remote=open_remote_spool(settings),
        engine=cache(lambda: open_engine(settings.worker)),
        rules=rules,
        admission=Admission(_device(settings.worker), settings.worker.min_free_memory_bytes),
        profile=first_profile(settings),
        further_profiles=further_profiles(settings),
    )


def open_engine(worker: Worker) -> AskedEngine:
    """Make the engine that the settings name; raises as :func:`worker.engines.create_engine`."""
    return create_engine(worker.engine, worker, served_key=_served_key())


def _load(workplace: Callable[[], Workplace]) -> None:
    """Load the model before the first reading asks for it, and so before its time limit runs."""
    try:
        workplace().engine()
    except SgmriError as error:
        _log.error("the engine is not ready (%s); the next reading tries again", error)


def _device(worker: Worker) -> str:
    # the other engines compute on the CPU, or elsewhere; and only this one's stack has torch
    return chosen_device(worker.device) if worker.engine == "grounded" else "cpu"


def _served_key() -> str:
    """Return the model server's key; from the environment alone, so that it stands in no file and no log."""
    return os.environ.get("SGMRI_SERVED_KEY", "")


def check_engine(settings: Settings) -> None:
    """Make the engine once in a process of its own, golden cases included, and let it go again.

    Not in this process: its children are forked, and neither CUDA nor the model's threads survive that.

    Raises
    ------
    ConfigError, EngineError
        If the engine may not work on this machine, with the reason: then no worker is started.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_probe, args=(settings, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        kind, text = ours.recv()
    except EOFError:
        kind, text = "engine", "the engine's process ended without a word; most often memory"
    process.join()
    if kind:
        raise (ConfigError if kind == "config" else EngineError)(text)


def _probe(settings: Settings, answer: Connection) -> None:
    """Make the engine and say what came of it: ("", "") or the kind of the error and its text."""
    set_up(settings.log)
    try:
        open_engine(settings.worker).close()
        answer.send(("", ""))
    except ConfigError as error:
        answer.send(("config", str(error)))
    except SgmriError as error:
        answer.send(("engine", str(error)))


def run(settings: Settings, queues: Sequence[str]) -> None:
    """Work until told to stop (SIGTERM ends after the task in hand); a worker that reads is checked first.

    Parameters
    ----------
    settings
        The configuration.
    queues
        Which queues to serve: "reading", "delivery" or both.

    Raises
    ------
    ConfigError, EngineError
        If the engine may not work on this machine.
    """
    app = worker_app(settings, queues)
    if READING_QUEUE in queues:
        check_engine(settings)
    if DELIVERY_QUEUE in queues:
        for outlet in settings.outlets:
            open_sender(settings, outlet).close()  # a secret that is missing ends this process, not each delivery

    @signals.setup_logging.connect(weak=False)
    def _own_logging(**_: object) -> None:
        set_up(settings.log)

    Path(settings.storage.state_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
    app.worker_main(
        [
            "worker",
            "--queues",
            ",".join(queues),
            "--hostname",
            f"{'-'.join(queues)}@%h",
            *ALONE,
            "--loglevel",
            settings.log.level,
        ]
    )
