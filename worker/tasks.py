"""The two tasks: read a series, deliver its results.

Both begin by taking a series' lease in the journal and end by one conditional change of state, so a message that
comes twice, late or after somebody else's does nothing. Which series is read next is the worklist's decision.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from dicom_io.kinds import FILE_NAME, ResultKind
from dicom_io.profiles import DEFAULT, Profile
from dicom_io.remote_spool import RemoteSpool
from dicom_io.results import write_results
from dicom_io.revision import revise
from dicom_io.rulings import BUILT_IN, Rules
from dicom_io.spool import Spool
from sgmri import logs, readings
from sgmri.audit import Action, AuditEvent, Auditor, Outcome, forget
from sgmri.errors import (
    AuditUnavailable,
    EngineError,
    MemoryShort,
    OutOfMemory,
    SeriesError,
    SgmriError,
    SpoolUnavailable,
    ViewerRuleBroken,
)
from sgmri.interfaces import Engine, ReadingControl
from sgmri.lifecycle import Reason, State
from sgmri.readings import Reading
from sgmri.settings import Settings
from worker.admission import Admission
from worker.app import DELIVER_TASK, READ_TASK, ring_delivery
from worker.bells import ring_for_readings
from worker.credit import Credit
from worker.delivery import Deliverer
from worker.destinations import Senders, targets
from worker.heartbeat import heartbeat
from worker.journal import Change, Journal, SeriesRow
from worker.leases import this_worker
from worker.outbox import READING_FILE as READING_FILE
from worker.outbox import Outbox, ResultRow
from worker.pipeline import read_paths
from worker.removals import removed_generation
from worker.revisions import earlier_readings, edition, leave
from worker.worklist import Worklist, backoff_s

_log = logging.getLogger(__name__)

_RAN_SHORT = frozenset({Reason.OUT_OF_MEMORY, Reason.WORKER_LOST})
"""After these a reading is begun with half the memory: the kernel says nothing to whom it kills for it."""


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
    remote
        Through which series and results come from and go to other machines; None where they share the directories.
    rules
        Who says which question set a volume is asked; the same as the listener's.
    profile
        Which result objects the first destination gets.
    further_profiles
        Form -> which objects other destinations get, where these differ.
    senders
        Who sends to the destinations.
    admission
        Whether there is memory for a reading.
    audit
        Who remembers readings and deliveries.
    """

    settings: Settings
    journal: Journal
    spool: Spool
    outbox_dir: Path
    engine: Callable[[], Engine]
    remote: RemoteSpool | None = None
    rules: Rules = BUILT_IN
    profile: Profile = DEFAULT
    further_profiles: Mapping[str, Profile] = field(default_factory=dict)
    senders: Senders = field(default_factory=Senders)
    admission: Admission = field(default_factory=lambda: Admission("cpu", least_bytes=0))
    audit: Auditor = forget

    def results_dir(self, row: SeriesRow) -> Path:
        """Return where the results of a series' present generation lie."""
        return self.outbox_dir / row.series_key / str(row.generation)

    def is_spool_here(self, row: SeriesRow) -> bool:
        """Tell whether a series was received into the directories of this machine."""
        return (self.spool.root / row.series_key).exists()

    @property
    def outbox(self) -> Outbox:
        """The journal's outgoing half."""
        return Outbox(journal=self.journal, targets=targets(self.settings))


def register(app: Celery, workplace: Callable[[], Workplace]) -> None:
    """Add the two tasks to an application.

    Parameters
    ----------
    app
        Of :func:`worker.app.create_app`.
    workplace
        Called in the process that works (after the fork).
    """
    app.steps["consumer"].add(Credit)

    @app.task(name=READ_TASK)
    def read() -> None:
        place = workplace()
        row = begin_reading(place)
        if row is None:
            return
        # one message is enough for as long as there is work; the listener sees to it that there are more for others
        ring_for_readings(app, Worklist(journal=place.journal), most=1)
        if end_reading(place, row):
            _ring(app, row)

    @app.task(name=DELIVER_TASK)
    def deliver_results(series_key: str, generation: int) -> None:
        deliver_one(workplace(), series_key, generation)


def _ring(app: Celery, row: SeriesRow) -> None:
    try:
        ring_delivery(app, row.series_key, row.generation)
    except OperationalError:
        _log.warning("the broker is away; the sweeper will ring for the delivery")


def begin_reading(place: Workplace) -> SeriesRow | None:
    """Take the next series of the worklist, READING from now on; None where there is none, or memory is short."""
    worklist = Worklist(journal=place.journal)
    try:
        place.admission.require()
    except MemoryShort as error:
        _log.warning("%s", error)
        wait_s = place.settings.worker.sweep_period_s
        worklist.put_off(Reason.MEMORY_SHORT, wait_s)
        time.sleep(wait_s)  # the messages that wait are better taken by somebody else
        return None
    return worklist.take(this_worker(), place.settings.worker.lease_s)


def end_reading(place: Workplace, row: SeriesRow) -> bool:
    """Read a series that was taken; every outcome ends in the journal.

    Returns
    -------
    Whether there are results to deliver now.
    """
    with logs.series(row.series_key[:8]), heartbeat(place.journal, row, place.settings.worker.lease_s) as unwanted:
        try:
            place.audit(AuditEvent(action=Action.READ, who="worker", series_key=row.series_key, detail="begun"))
        except AuditUnavailable as error:
            _log.error("%s", error)
            later = place.journal.clock() + backoff_s(place.settings, row)
            _end(place, row, State.QUEUED, row.reason, attempts=row.attempts - 1, next_try_at=later)
            return False
        results = _read(place, row, unwanted)
        place.audit(_ended(place, row))
        return results


def _ended(place: Workplace, row: SeriesRow) -> AuditEvent:
    after = place.journal.series(row.series_key)
    good = after.state not in (State.FAILED, State.QUEUED)
    return AuditEvent(
        action=Action.READ,
        who="worker",
        outcome=Outcome.SUCCESS if good else Outcome.FAILURE,
        series_key=row.series_key,
        detail=f"ended: {after.state} {after.reason}",
    )


def _read(place: Workplace, row: SeriesRow, unwanted: threading.Event) -> bool:
    try:
        results = _make_results(place, row, unwanted)
    except SeriesError as error:
        reason = error.reason
        _log.warning("series not read: %s", reason)
        _noted(place, lambda: leave(place.journal, row, reason))
        return False
    except SpoolUnavailable as error:
        _log.warning("the reading waits: %s", error)
        later = place.journal.clock() + backoff_s(place.settings, row)
        _end(place, row, State.QUEUED, Reason.SPOOL_UNAVAILABLE, attempts=row.attempts - 1, next_try_at=later)
        return False
    except (EngineError, SoftTimeLimitExceeded, MemoryError) as error:
        if unwanted.is_set():
            _log.warning("readings are suspended, or the series has changed; it is given back")
            _end(place, row, State.QUEUED, row.reason, attempts=row.attempts - 1)
        else:
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
    except SQLAlchemyError:
        raise  # not the series' fault: it is read again when its lease has run out
    except Exception as error:  # noqa: BLE001 - border: the Celery task
        _log.error("reading failed by a bug", exc_info=error)
        _retry_reading(place, row, error)
        return False
    if not results:
        _noted(place, lambda: leave(place.journal, row, Reason.NOTHING_TO_SEND))
        return False
    return _noted(place, lambda: place.outbox.put(row, results))


def _make_results(place: Workplace, row: SeriesRow, unwanted: threading.Event) -> tuple[ResultRow, ...]:
    with _at_hand(place, row) as (here, paths):
        results = _read_and_write(here, row, paths, unwanted)
        if place.remote is not None:
            place.remote.publish_results(row.series_key, here.results_dir(row))
        return results


@contextmanager
def _at_hand(place: Workplace, row: SeriesRow) -> Iterator[tuple[Workplace, Sequence[Path]]]:
    """Have a series' files on this machine, and a place for its results: fetched, where the spool is elsewhere."""
    names = place.journal.file_names(row.series_key)
    if place.remote is None or place.is_spool_here(row):
        yield place, [place.spool.path(row.series_key, name) for name in names]
        return
    with place.remote.series(row.series_key, names) as paths, place.remote.desk() as desk:
        yield replace(place, outbox_dir=desk), paths


def _read_and_write(
    place: Workplace, row: SeriesRow, paths: Sequence[Path], unwanted: threading.Event
) -> tuple[ResultRow, ...]:
    # in the installation's own time zone, as the other times of the study are
    started_at = datetime.fromtimestamp(row.completed_at or row.last_instance_at, UTC).astimezone()

    def timing(stage: str, seconds: float) -> None:
        try:
            place.journal.log(row, stage, duration_s=seconds)
        except SQLAlchemyError as error:
            _log.warning("the timeline lacks a line: the journal is away (%s)", type(error).__name__)

    share = 0.5 ** (row.attempts - 1) if row.reason in _RAN_SHORT else 1.0
    control = ReadingControl(is_cancelled=unwanted.is_set, memory_share=share)
    with place.admission.measured():
        product = read_paths(
            paths, place.engine(), started_at=started_at, control=control, timing=timing, rules=place.rules
        )
    begin = place.journal.clock()
    reading = replace(product.reading, edition=edition(place.journal, row))
    results: list[ResultRow] = []
    for form, profile in {"": place.profile, **place.further_profiles}.items():
        results += write_form(place, row, replace(reading, form=form), paths, profile)
    timing("write objects", place.journal.clock() - begin)
    return tuple(replace(result, position=position) for position, result in enumerate(results))


def write_form(
    place: Workplace, row: SeriesRow, reading: Reading, paths: Sequence[Path], profile: Profile
) -> Iterator[ResultRow]:
    """Write the objects of a reading of a series' present generation, in the form that some destinations get."""
    directory = place.results_dir(row) / reading.form
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    reading = _revising(place, row, reading)
    objects = write_results(reading, paths, directory, profile=profile)
    (directory / READING_FILE).write_text(readings.to_json(reading), encoding="utf-8")
    revised = reading.predecessor.sop_instance_uid if reading.predecessor else None
    for result in objects:
        yield ResultRow(
            kind=str(result.kind),
            form=reading.form,
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            series_instance_uid=result.series_instance_uid,
            file_name=str(result.path.relative_to(place.results_dir(row))),
            position=0,
            predecessor_uid=revised if result.kind is ResultKind.SR else None,
        )


def _revising(place: Workplace, row: SeriesRow, reading: Reading) -> Reading:
    """Let a reading revise the earlier ones of its series that count and that retention has left, in its own form."""
    removed = removed_generation(place.journal, row.series_key)
    earlier = [
        one
        for one in earlier_readings(place.journal, row, delivered=bool(place.settings.outlets))
        if removed is None or one.generation > removed
    ]
    generations = [place.results_dir(replace(row, generation=one.generation)) for one in earlier]
    if place.remote is not None:
        for generation in generations:
            place.remote.fetch_results(row.series_key, generation)
    directories = [generation / reading.form for generation in generations]
    if reading.form:  # a form that came with a later destination has no earlier objects
        directories = [directory for directory in directories if (directory / READING_FILE).exists()]
    texts = [(directory / READING_FILE).read_text(encoding="utf-8") for directory in directories]
    reported = any((directory / FILE_NAME[ResultKind.SR]).exists() for directory in directories[:1])
    return revise(reading, [readings.from_json(text) for text in texts], reported=reported)


def _retry_reading(place: Workplace, row: SeriesRow, error: BaseException) -> None:
    reason = Reason.OUT_OF_MEMORY if isinstance(error, OutOfMemory | MemoryError) else Reason.ENGINE_FAILED
    if row.attempts >= place.settings.worker.max_attempts:
        _log.error("reading given up after %d attempts (%s)", row.attempts, type(error).__name__)
        known = reason is Reason.OUT_OF_MEMORY or (isinstance(error, SgmriError) and error.transient)
        _end(place, row, State.FAILED, reason if known else Reason.ATTEMPTS_EXHAUSTED)
        return
    _log.warning("reading failed (%s); it is tried again", type(error).__name__)
    later = place.journal.clock() + backoff_s(place.settings, row)
    _end(place, row, State.QUEUED, reason, next_try_at=later)


def _end(place: Workplace, row: SeriesRow, state: State, reason: Reason, **change: float) -> None:
    values: Change = {"lease_owner": None, "lease_until": 0.0, "next_try_at": 0.0, **change}
    _noted(place, lambda: place.journal.move(row, state, reason=reason, **values))


def _noted(place: Workplace, change: Callable[[], bool]) -> bool:
    """Make the change that ends a reading, and try it for a lease while the journal's database is away."""
    deadline = time.monotonic() + place.settings.worker.lease_s
    while True:
        try:
            done = change()
            break
        except SQLAlchemyError as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("the journal is away (%s); trying again", type(error).__name__)
            time.sleep(1.0)
    if not done:
        _log.warning("the series has changed meanwhile; this result is dropped")
    return done


def deliver_one(place: Workplace, series_key: str, generation: int) -> None:
    """Deliver the results of a series wherever they still wait for it."""
    with logs.series(series_key[:8]):
        row = _known(place, series_key)
        if row is None or row.generation != generation or row.state not in (State.READ, State.STORED):
            return
        deliverer = Deliverer(journal=place.journal, settings=place.settings, senders=place.senders, audit=place.audit)
        if place.remote is None:
            deliverer.deliver(row, place.results_dir(row))
        else:
            _deliver_fetched(place.remote, place, row, deliverer)


def _deliver_fetched(remote: RemoteSpool, place: Workplace, row: SeriesRow, deliverer: Deliverer) -> None:
    """Deliver results that another machine may have made; beside the spool they stay."""
    with remote.desk() as desk:
        here = place if place.is_spool_here(row) else replace(place, outbox_dir=desk)
        try:
            remote.fetch_results(row.series_key, here.results_dir(row))
        except SpoolUnavailable as error:
            _log.warning("the delivery waits until the sweeper rings again: %s", error)
            return
        deliverer.deliver(row, here.results_dir(row))


def _known(place: Workplace, series_key: str) -> SeriesRow | None:
    try:
        return place.journal.series(series_key)
    except KeyError:
        _log.warning("rung for a series that the journal does not have")
        return None
