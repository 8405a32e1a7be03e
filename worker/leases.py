"""Leases: who works on something, and the sign of life that keeps it theirs."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def this_worker() -> str:
    """Return the name under which this thread of this process holds leases."""
    return f"{socket.gethostname()[:32]}/{os.getpid()}/{threading.get_ident() % 1_000_000}"


@contextmanager
def kept_alive(renew: Callable[[float], bool], lease_s: float) -> Iterator[None]:
    """Renew a lease while the work goes on.

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
            if not renew(lease_s):
                return

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
