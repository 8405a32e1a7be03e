"""A reading worker whose engine reads brains, and does to itself with a knee what it is told to.

Usage: ``python -m tests.faults.odd_worker CONFIG dies|hangs``.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from plugin.settings import load
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, QuestionSet
from sgmri.volume import Anatomy
from tests.faults.ward import serve
from tests.worker.place import NegativeEngine


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
    serve(load(Path(config)), OddEngine(end=end))


if __name__ == "__main__":
    main(*sys.argv[1:])
