"""Leases: who works on something, and the sign of life that keeps it theirs."""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

_log = logging.getLogger(__name__)


def this_worker() -> str:
    """Return a name under which this process may hold a lease: another one each time."""
    # two hosts may have one name, and processes of one number: the last part tells them apart
    return f"{socket.gethostname()[:32]}/{os.getpid()}/{uuid.uuid4().hex[:12]}"


@contextmanager
def kept_alive(renew: Callable[[float], bool], lease_s: float) -> Iterator[None]:
    """Renew a lease while the work goes on; a journal that is away meanwhile does not end it.

    Parameters
    ----------
    renew
        Renews it for so many seconds; False once it is another's.
    lease_s
        For how long.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(lease_s / 4):
            try:
                if not renew(lease_s):
                    return
            except SQLAlchemyError as error:
                _log.warning("the journal is away (%s); the work goes on", type(error).__name__)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
