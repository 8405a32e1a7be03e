"""Fetch what was missed: MR series of an archive that the journal does not know completely (ADR 0026).

Runs in a thread of the listener process, at its start and on a schedule, and once for ``sgmri sweep``.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from dicom_io.archive import Archive, ArchivedSeries, DimseArchive
from dicom_io.network import Destination
from dicom_io.services import Role, Use, for_use
from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance, read_header
from plugin.periodic import Periodic
from sgmri import logs
from sgmri.audit import Action, AuditEvent, Auditor, Outcome
from sgmri.errors import ConfigError, MalformedInstance, PeerUnavailable, SgmriError
from sgmri.lanes import off_peak
from sgmri.outlets import Outlet
from sgmri.settings import Settings
from worker.destinations import open_web
from worker.journal import Journal
from worker.removals import known

_log = logging.getLogger(__name__)

_MOST_TRIES = 3
"""A series that lacks instances even then has some that cannot be had: it is left until it grows, or the next start."""
_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one run did, in series."""

    lacking: int
    fetched: int
    failed: int


class ArchiveSweep:
    """Compares an archive with the journal, and fetches the difference.

    Parameters
    ----------
    settings
        Window, limit, and how long a series must have been unchanged.
    journal
        What we know.
    archive
        Who is asked.
    audit
        Who remembers that it was asked.
    """

    def __init__(self, settings: Settings, journal: Journal, archive: Archive, audit: Auditor) -> None:
        self._settings = settings
        self._journal = journal
        self._archive = archive
        self._audit = audit
        self._tries: Counter[ArchivedSeries] = Counter()

    def lacking(self) -> dict[ArchivedSeries, int]:
        """Return the series that the journal does not know completely, and how many instances of each it knows.

        Raises
        ------
        SgmriError
            If the archive does not answer.
        """
        days = self._settings.sweep.window_days
        listed = dict.fromkeys(self._archive.series(self._today() - timedelta(days=days) if days else None))
        rows = known(self._journal, [one.series_key for one in listed])
        counts = {one: rows[one.series_key].instances if one.series_key in rows else 0 for one in listed}
        return {one: count for one, count in counts.items() if count < one.instances}

    def run(self, wait: Callable[[float], bool]) -> Swept:
        """Fetch what is lacking and has not changed for a quiet period, at the archive and here.

        A series that a scanner still sends to the archive, or anyone to us, would be read twice.

        Parameters
        ----------
        wait
            Waits so many seconds; true when there is no time left.

        Raises
        ------
        SgmriError
            If the archive does not answer.
        """
        found = {one: count for one, count in self.lacking().items() if self._tries[one] < _MOST_TRIES}
        chosen = sorted(found, key=self._tries.__getitem__)[: self._settings.sweep.max_series]
        fetched = failed = 0
        if chosen and not wait(self._settings.series.quiet_period_s):
            for one in chosen:
                if wait(0.0):
                    break
                if not self._is_unchanged(one, found[one]):
                    continue
                self._tries[one] += 1
                if self._fetch(one):
                    fetched += 1
                else:
                    failed += 1
        _log.info("sweep of the archive: %d series lacking, %d fetched, %d failed", len(found), fetched, failed)
        outcome = Outcome.FAILURE if failed else Outcome.SUCCESS
        self._audit(
            AuditEvent(action=Action.QUERY, who="listener", outcome=outcome, detail="archive sweep", count=fetched)
        )
        return Swept(lacking=len(found), fetched=fetched, failed=failed)

    def _is_unchanged(self, one: ArchivedSeries, count: int) -> bool:
        row = known(self._journal, [one.series_key]).get(one.series_key)
        return (row.instances if row else 0) == count and one in self._archive.study(one.study_instance_uid)

    def _fetch(self, one: ArchivedSeries) -> bool:
        with logs.series(one.series_key[:8]):
            try:
                self._archive.fetch(one)
            except SgmriError as error:
                _log.warning("a series could not be fetched from the archive: %s", error)
                return False
            except OSError as error:
                _log.error("the spool cannot be written (errno %s); the series is fetched later", error.errno)
                return False
            _log.info("a series was fetched from the archive: it had %d instances", one.instances)
            return True

    def _today(self) -> date:
        return datetime.fromtimestamp(self._journal.clock(), UTC).astimezone().date()


class SweepThread:
    """Runs the sweep at the start and on its schedule, until it is stopped.

    Parameters
    ----------
    settings
        The schedule.
    sweep
        What is run.
    """

    def __init__(self, settings: Settings, sweep: ArchiveSweep) -> None:
        self._settings = settings
        self._sweep = sweep
        again_s = min(_AGAIN_S, settings.sweep.period_s)
        self._periodic = Periodic("archive-sweep", self._step, again_s, first_s=0.0)

    def start(self) -> None:
        """Begin to sweep in a thread."""
        self._periodic.start()

    def stop(self) -> None:
        """End after the series in hand, or leave it to the next start if it takes long."""
        self._periodic.stop()

    def _step(self) -> float | None:
        try:
            self._sweep.run(self._periodic.wait)
        except SgmriError as error:
            _log.warning("the archive was not swept: %s", error)
            return None
        return self.pause_s(time.time())

    def pause_s(self, now: float) -> float:
        """Return how long after ``now`` (epoch, seconds) the next run comes."""
        next_at = now + self._settings.sweep.period_s
        hours = off_peak(self._settings.sweep.hours)
        return (hours.next_opening(next_at) if hours else next_at) - now


def open_archive(settings: Settings, spool: Spool, stored: Callable[[StoredInstance], object]) -> Archive:
    """Return the archive that the settings name.

    Parameters
    ----------
    settings
        Where it is.
    spool, stored
        Where instances go that we fetch ourselves, and who is told.

    Raises
    ------
    ConfigError
        If there is none, its secret cannot be read, or the library for DICOMweb is not installed.
    """
    sweep = settings.sweep
    if sweep.ae_title:
        return DimseArchive(archive_peer(settings), settings.listener.ae_title)
    if not sweep.url:
        raise ConfigError("sweep: expected an archive in sweep.ae_title or sweep.url, found none; name one")
    agent = open_web(archive_outlet(settings), sweep.timeout_s)
    from dicom_io.web_archive import WebArchive  # needs the extra

    accepted = {service.sop_class_uid for service in for_use(Use.READ, Use.SET_ASIDE, role=Role.SCP)}

    def keep(encoded: bytes) -> None:
        try:
            instance = read_header(encoded)
        except MalformedInstance as error:
            _log.warning("an instance of the archive is left: %s", error)
            return
        if instance.sop_class_uid not in accepted:
            return
        if len(encoded) > settings.listener.max_instance_bytes or not spool.has_room(len(encoded)):
            raise PeerUnavailable(
                f"expected room for an instance of {len(encoded)} bytes, found none (listener.min_free_bytes, "
                "max_instance_bytes); free disk space"
            )
        stored(spool.store(instance, encoded))

    return WebArchive(agent, keep)


def archive_peer(settings: Settings) -> Destination:
    """Return whom to call for an archive that is asked with C-FIND."""
    sweep = settings.sweep
    return Destination(
        ae_title=sweep.ae_title,
        host=sweep.host,
        port=sweep.port,
        calling_ae_title=settings.listener.ae_title,
        timeout_s=sweep.timeout_s,
    )


def archive_outlet(settings: Settings) -> Outlet:
    """Return an archive that is asked over the web, in the form of a destination, for who opens those."""
    sweep = settings.sweep
    return Outlet(
        name="sweep", kind="stow", url=sweep.url, authentication=sweep.authentication, secret_file=sweep.secret_file
    )
