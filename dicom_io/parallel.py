"""Jobs done side by side, few at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

Job = Callable[[], None]


def permitted_cores() -> int:
    """Return on how many cores this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(jobs: Iterable[Job], workers: int) -> None:
    """Run jobs in threads, and return when all are done.

    At any time at most `workers` jobs run and one more waits; the next one is taken from `jobs` only then, so that what
    the jobs hold in memory is bounded too. After a failure no further job begins, and no thread is left behind.

    Parameters
    ----------
    jobs
        Each must release Python's lock for its work, and be independent of the others.
    workers
        How many threads; with 1 the jobs run one after another in the calling thread.

    Raises
    ------
    Exception
        Of the first job, in the order of `jobs`, that failed; or what `jobs` itself raises.
    """
    if workers == 1:
        for job in jobs:
            job()
        return
    begun: deque[Future[None]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="sgmri-decode") as pool:
        try:
            for job in jobs:
                begun.append(pool.submit(job))
                if len(begun) > workers:
                    begun.popleft().result()
            while begun:
                begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
