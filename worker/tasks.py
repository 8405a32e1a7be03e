"""The two tasks: read a series, deliver its results.

Both begin by taking the series' lease in the journal and end by one conditional change of state, so a message that
comes twice, late or after somebody else's does nothing.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from dicom_io.kinds import ResultKind
from dicom_io.profiles import DEFAULT, Profile
from dicom_io.results import write_results
from dicom_io.revision import revise
from dicom_io.rulings import BUILT_IN, Rules
from dicom_io.spool import Spool
from sgmri import logs, readings
from sgmri.errors import EngineError, SeriesError, SgmriError, ViewerRuleBroken
from sgmri.interfaces import Engine
from sgmri.lifecycle import Reason, State
from sgmri.readings import Reading
from sgmri.settings import Settings
from worker.app import DELIVER_TASK, READ_TASK, ring_delivery
from worker.delivery import deliver
from worker.journal import Journal, SeriesRow
from worker.outbox import Outbox, ResultRow
from worker.pipeline import read_paths
from worker.removals import removed_generation
from worker.revisions import earlier_readings, edition, leave

_log = logging.getLogger(__name__)

READING_FILE = "reading.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a worker process needs.

    Parameters
    ----------
    settings
        The configuration.
    journal
        The truth.
    spool
        Where the instances lie.
    outbox_dir
        Where results are written: ``<outbox_dir>/<series key>/<generation>/``.
    engine
        Makes (or returns) the engine, on first use, in the process that reads.
    rules
        Who says which question set a volume is asked; the same as the listener's.
    profile
        Which result objects the destination gets.
    """

    settings: Settings
    journal: Journal
    spool: Spool
    outbox_dir: Path
    engine: Callable[[], Engine]
    rules: Rules = BUILT_IN
    profile: Profile = DEFAULT

    def results_dir(self, row: SeriesRow) -> Path:
        """Return where the results of a series' present generation lie."""
        return self.outbox_dir / row.series_key / str(row.generation)


def register(app: Celery, workplace: Callable[[], Workplace]) -> None:
    """Add the two tasks to an application.

    Parameters
    ----------
    app
        Of :func:`worker.app.create_app`.
    workplace
        Called in the process that works (after the fork).
    """

    @app.task(name=READ_TASK)
    def read(series_key: str, generation: int) -> None:
        place = workplace()
        if read_one(place, series_key, generation):
            _ring(app, series_key, generation)

    @app.task(name=DELIVER_TASK)
    def deliver_results(series_key: str, generation: int) -> None:
        deliver_one(workplace(), series_key, generation)


def _ring(app: Celery, series_key: str, generation: int) -> None:
    try:
        ring_delivery(app, series_key, generation)
    except OperationalError:
        _log.warning("the broker is away; the sweeper will ring for the delivery")


def read_one(place: Workplace, series_key: str, generation: int) -> bool:
    """Read a series if it still waits for it.

    Returns
    -------
    Whether there are results to deliver now.
    """
    with logs.series(series_key[:8]):
        row = _lease(place, series_key, generation, State.QUEUED)
        if row is None:
            return False
        with _heartbeat(place, row):
            return _read(place, row)


def _read(place: Workplace, row: SeriesRow) -> bool:
    try:
        results = _make_results(place, row)
    except SeriesError as error:
        _log.warning("series not read: %s", error.reason)
        _noted(leave(place.journal, row, error.reason))
        return False
    except (EngineError, SoftTimeLimitExceeded) as error:
        _retry_reading(place, row, error)
        return False
    except ViewerRuleBroken as error:
        _log.error("%s", error)
        _end(place, row, State.FAILED, Reason.VIEWER_RULE)
        return False
    except SgmriError as error:
        _log.error("reading failed", exc_info=error)
        _end(place, row, State.FAILED, Reason.INTERNAL)
        return False
    except Exception as error:  # noqa: BLE001 - border: the Celery task
        _log.error("reading failed by a bug", exc_info=error)
        _retry_reading(place, row, error)
        return False
    if not results:
        _noted(leave(place.journal, row, Reason.NOTHING_TO_SEND))
        return False
    return _noted(Outbox(journal=place.journal).put(row, results))


def _make_results(place: Workplace, row: SeriesRow) -> tuple[ResultRow, ...]:
    paths = [place.spool.path(row.series_key, name) for name in place.journal.file_names(row.series_key)]
    # in the installation's own time zone, as the other times of the study are
    started_at = datetime.fromtimestamp(row.completed_at or row.last_instance_at, UTC).astimezone()

    def timing(stage: str, seconds: float) -> None:
        place.journal.log(row, stage, duration_s=seconds)

    product = read_paths(paths, place.engine(), started_at=started_at, timing=timing, rules=place.rules)
    directory = place.results_dir(row)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    begin = place.journal.clock()
    reading = _revising(place, row, replace(product.reading, edition=edition(place.journal, row)))
    objects = write_results(reading, paths, directory, profile=place.profile)
    (directory / READING_FILE).write_text(readings.to_json(reading), encoding="utf-8")
    timing("write objects", place.journal.clock() - begin)
    revised = reading.predecessor.sop_instance_uid if reading.predecessor else None
    return tuple(
        ResultRow(
            kind=str(result.kind),
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            series_instance_uid=result.series_instance_uid,
            file_name=result.path.name,
            position=position,
            predecessor_uid=revised if result.kind is ResultKind.SR else None,
        )
        for position, result in enumerate(objects)
    )


def _revising(place: Workplace, row: SeriesRow, reading: Reading) -> Reading:
    """Let a reading revise the earlier ones of its series that count and that retention has left."""
    removed = removed_generation(place.journal, row.series_key)
    earlier = [
        one
        for one in earlier_readings(place.journal, row, delivered=bool(place.settings.delivery.ae_title))
        if removed is None or one.generation > removed
    ]
    paths = (place.results_dir(replace(row, generation=one.generation)) / READING_FILE for one in earlier)
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return revise(
        reading, [readings.from_json(text) for text in texts], reported=any(e.has_report for e in earlier[:1])
    )


def _retry_reading(place: Workplace, row: SeriesRow, error: BaseException) -> None:
    transient = isinstance(error, SgmriError) and error.transient
    if row.attempts >= place.settings.worker.max_attempts:
        _log.error("reading given up after %d attempts (%s)", row.attempts, type(error).__name__)
        _end(place, row, State.FAILED, Reason.ENGINE_FAILED if transient else Reason.ATTEMPTS_EXHAUSTED)
        return
    _log.warning("reading failed (%s); it is tried again", type(error).__name__)
    wait_s = place.settings.delivery.retry_first_s * 3 ** (row.attempts - 1)
    _end(place, row, State.QUEUED, Reason.ENGINE_FAILED, next_try_at=place.journal.clock() + wait_s)


def _end(place: Workplace, row: SeriesRow, state: State, reason: Reason, *, next_try_at: float = 0.0) -> None:
    _noted(place.journal.move(row, state, reason=reason, lease_owner=None, lease_until=0.0, next_try_at=next_try_at))


def _noted(done: bool) -> bool:
    if not done:
        _log.warning("the series has changed meanwhile; this result is dropped")
    return done


def deliver_one(place: Workplace, series_key: str, generation: int) -> None:
    """Deliver the results of a series if they still wait for it."""
    with logs.series(series_key[:8]):
        if not place.settings.delivery.ae_title:
            return
        row = _lease(place, series_key, generation, State.READ, State.STORED)
        if row is None:
            return
        with _heartbeat(place, row):
            try:
                deliver(place.journal, place.settings, row, place.results_dir(row))
            except Exception as error:  # noqa: BLE001 - border: the Celery task
                _log.error("delivery failed by a bug; it is tried again", exc_info=error)
                later = place.journal.clock() + place.settings.delivery.retry_max_s
                place.journal.move(
                    row, row.state, reason=Reason.INTERNAL, next_try_at=later, lease_owner=None, lease_until=0.0
                )


def _lease(place: Workplace, series_key: str, generation: int, *states: State) -> SeriesRow | None:
    try:
        row = place.journal.series(series_key)
    except KeyError:
        _log.warning("rung for a series that the journal does not have")
        return None
    now = place.journal.clock()
    if row.generation != generation or row.state not in states or row.next_try_at > now:
        return None
    owner = f"{socket.gethostname()[:32]}/{os.getpid()}/{threading.get_ident() % 1_000_000}"
    return place.journal.take_lease(row, owner, place.settings.worker.lease_s)


@contextmanager
def _heartbeat(place: Workplace, row: SeriesRow) -> Iterator[None]:
    """Renew the lease while the work goes on."""
    stop = threading.Event()
    lease_s = place.settings.worker.lease_s

    def beat() -> None:
        while not stop.wait(lease_s / 4):
            if not place.journal.renew_lease(row.series_key, row.lease_owner or "", lease_s):
                return

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
