"""The worker process: Celery with our two tasks, the engine loaded in the process that reads."""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from celery import Celery, signals

from dicom_io.spool import Spool
from plugin.listener import open_journal, outbox_dir, spool_dir
from plugin.logging import set_up
from sgmri.errors import ConfigError
from sgmri.settings import Settings
from worker.app import DELIVERY_QUEUE, READING_QUEUE, create_app
from worker.engines import ENGINES, create_engine
from worker.tasks import Workplace, register

_log = logging.getLogger(__name__)

QUEUES = (READING_QUEUE, DELIVERY_QUEUE)


def worker_app(settings: Settings) -> Celery:
    """Make the Celery application with its tasks; journal and engine are opened after the fork, on first use."""
    if settings.worker.engine not in ENGINES:
        raise ConfigError(f"worker.engine: expected one of {', '.join(ENGINES)}, found {settings.worker.engine!r}")
    app = create_app(settings.broker.url, time_limit_s=settings.worker.time_limit_s)

    @cache
    def workplace() -> Workplace:
        engine = cache(lambda: create_engine(settings.worker.engine))
        return Workplace(
            settings=settings,
            journal=open_journal(settings),
            spool=Spool(spool_dir(settings)),
            outbox_dir=outbox_dir(settings),
            engine=engine,
        )

    register(app, workplace)
    return app


def run(settings: Settings, queues: Sequence[str]) -> None:
    """Work until told to stop (SIGTERM ends after the task in hand).

    Parameters
    ----------
    settings
        The configuration.
    queues
        Which queues to serve: "reading", "delivery" or both.
    """
    app = worker_app(settings)

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
            "--without-gossip",
            "--without-mingle",
            "--loglevel",
            settings.log.level,
        ]
    )
