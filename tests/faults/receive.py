"""Run a receiver in a process of its own, to be killed or traced: ``python -m tests.faults.receive KIND SPOOL``."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicom_io.spool import Spool
from tests import receivers
from tests.receivers import Running

_ROOT = Path(__file__).parents[2]


class _Elsewhere:
    """Stands for a receiver in another process."""

    def __init__(self, port: int) -> None:
        self.port = port


@contextmanager
def elsewhere(
    kind: str, spool: Path, *, under: Sequence[str] = ()
) -> Iterator[tuple[Running, "subprocess.Popen[str]"]]:
    """Start a receiver as a process, under a tool if given; it is killed at the end."""
    process = subprocess.Popen(
        [*under, sys.executable, "-m", "tests.faults.receive", kind, str(spool)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    with process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield Running(scp=_Elsewhere(port), spool=Spool(spool)), process  # type: ignore[arg-type]
        finally:
            process.kill()


if __name__ == "__main__":
    with receivers.running(sys.argv[1], Path(sys.argv[2])) as here:
        print(here.scp.port, flush=True)  # noqa: T201 - to whoever started it
        time.sleep(600)
