"""A reading worker whose engine reads brains, and does to itself with a knee what it is told to.

Usage: ``python -m tests.faults.odd_worker CONFIG dies|hangs``.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dicom_io.spool import Spool
from plugin.listener import open_journal, outbox_dir, spool_dir
from plugin.settings import load
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, QuestionSet
from sgmri.volume import Anatomy
from tests.worker.place import NegativeEngine
from worker.app import READING_QUEUE, create_app
from worker.tasks import Workplace, register


@dataclass
class OddEngine(NegativeEngine):
    end: str = "dies"

    def answer(self, frames: Frames, questions: QuestionSet, control: ReadingControl) -> tuple[Answer, ...]:
        if frames.anatomy is Anatomy.KNEE:
            if self.end == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            # deaf to the soft limit, as a call that never comes back from a driver is
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            time.sleep(600.0)
        time.sleep(0.3)
        return super().answer(frames, questions, control)


def main(config: str, end: str) -> None:
    settings = load(Path(config))
    app = create_app(settings.broker.url, time_limit_s=settings.worker.time_limit_s)
    engine = OddEngine(end=end)

    @cache
    def workplace() -> Workplace:
        return Workplace(
            settings=settings,
            journal=open_journal(settings),
            spool=Spool(spool_dir(settings)),
            outbox_dir=outbox_dir(settings),
            engine=lambda: engine,
        )

    register(app, workplace)
    app.worker_main(["worker", "--queues", READING_QUEUE, "--without-gossip", "--without-mingle", "--loglevel", "INFO"])


if __name__ == "__main__":
    main(*sys.argv[1:])
