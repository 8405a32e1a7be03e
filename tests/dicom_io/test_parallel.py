"""Jobs run side by side, bounded, and leave nothing behind."""

import threading
from collections.abc import Iterator

import pytest

from dicom_io.parallel import Job, permitted_cores, run_all

WORKERS = [1, 2, 5]


def _threads() -> int:
    return sum(thread.name.startswith("sgmri-decode") for thread in threading.enumerate())


@pytest.mark.parametrize("workers", WORKERS)
def test_every_job_is_run_once(workers: int) -> None:
    """All jobs are done when the call returns, and no thread of it is left."""
    done: list[int] = []
    run_all((lambda number=number: done.append(number) for number in range(40)), workers)  # type: ignore[misc]  # a default is no argument here
    assert sorted(done) == list(range(40))
    assert _threads() == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_few_jobs_are_held_at_a_time(workers: int) -> None:
    """No more jobs are taken from the iterator than the workers and one."""
    taken, done = [0], [0]
    lock = threading.Lock()

    def job() -> None:
        with lock:
            done[0] += 1

    def jobs() -> Iterator[Job]:
        for _ in range(40):
            with lock:
                assert taken[0] - done[0] <= workers
            taken[0] += 1
            yield job

    run_all(jobs(), workers)
    assert done == [40]


@pytest.mark.parametrize("workers", WORKERS)
def test_the_first_failure_in_order_is_raised(workers: int) -> None:
    """Whichever job fails first by the clock, the first in order counts; no further job begins, no thread is left."""
    later_failed = threading.Event()
    begun: list[int] = []

    def job(number: int) -> None:
        begun.append(number)
        if number == 3:
            assert workers == 1 or later_failed.wait(10)
            raise ValueError("third")
        if number == 4:
            later_failed.set()
            raise ValueError("fourth")

    with pytest.raises(ValueError, match="third"):
        run_all((lambda number=number: job(number) for number in range(100)), workers)  # type: ignore[misc]  # as above
    assert max(begun) <= 3 + workers + 1
    assert _threads() == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_an_interrupt_leaves_no_thread(workers: int) -> None:
    """Where taking the next job is interrupted (a cancelled task), the call ends with that, and so do its threads."""

    def jobs() -> Iterator[Job]:
        yield lambda: None
        yield lambda: None
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(jobs(), workers)
    assert _threads() == 0


def test_there_is_a_core() -> None:
    """A process may run somewhere."""
    assert permitted_cores() >= 1
