"""What leaves the disk by itself: old series by policy, delivered ones when the disk is nearly full, orphans.

Nothing leaves whose results still await the destination. The journal says first that files go, then they go
(:mod:`worker.removals`), so a kill in between is mended by the next pass. Rows stay: a study that is sent again is
known, and is not read a second time unless somebody asks for it.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dicom_io.remote_spool import RemoteSpool
from dicom_io.spool import Spool
from dicom_io.stored import KEY_LENGTH
from sgmri import logs
from sgmri.audit import Action, AuditEvent, Auditor, forget
from sgmri.errors import SpoolUnavailable
from sgmri.lifecycle import State
from sgmri.settings import Settings
from worker import removals
from worker.journal import Journal, SeriesRow
from worker.removals import Removal

_log = logging.getLogger(__name__)

_DAY_S = 86_400.0
_STEP_S = 0.2  # the sweeper has other work than to delete
_FULL_AGAIN_S = 60.0


class Why(StrEnum):
    """Why something leaves the disk."""

    AGE = "age"
    DISK_FULL = "disk full"
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Something that leaves.

    Parameters
    ----------
    series_key
        Whose it is.
    why
        Which rule says so.
    age_s
        For how long nothing has changed of it.
    size_bytes
        Of its files.
    row
        The series; None for an orphan.
    path
        The orphan; None for a series.
    """

    series_key: str
    why: Why
    age_s: float
    size_bytes: int
    row: SeriesRow | None = None
    path: Path | None = None


def total_and_free(path: Path) -> tuple[int, int]:
    """Return the size of a path's disk and what is free of it, in bytes."""
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The policy, and what carries it out.

    Parameters
    ----------
    settings
        The configuration.
    journal, spool, outbox_dir
        Where the series stand and lie.
    remote
        Where series and results lie as well; None where nowhere.
    disk
        Tells the size of a path's disk and what is free of it, in bytes.
    audit, who
        Who remembers what left, and in whose name it leaves.
    """

    settings: Settings
    journal: Journal
    spool: Spool
    outbox_dir: Path
    remote: RemoteSpool | None = None
    disk: Callable[[Path], tuple[int, int]] = total_and_free
    audit: Auditor = forget
    who: str = "listener"

    def finish(self) -> None:
        """End the removals that a killed process began; call it before anything is received."""
        for removal in removals.begun(self.journal):
            with logs.series(removal.series_key[:8]):
                self._remove(removal)

    def clean(self) -> Iterator[Leaving]:
        """Let go what is to go, one at a time; yields what has gone."""
        return (leaving for leaving in self.steps() if leaving is not None)

    def steps(self) -> Iterator[Leaving | None]:
        """Do the same in small steps; yields None after each in which nothing has gone."""
        self.finish()
        for leaving in self._looked_at():
            yield leaving if leaving is not None and self._let_go(leaving) else None
        yield from self.make_room()

    def is_disk_full(self) -> bool:
        """Tell whether the disk is at its high-water mark."""
        return self._is_above(self.settings.retention.high_water_percent)

    def make_room(self) -> Iterator[Leaving]:
        """Let delivered series go, the oldest first, if the disk is at its high-water mark, until it is at the low."""
        if not self.is_disk_full():
            return
        _log.warning("the disk is at its high-water mark; series that were delivered leave it, the oldest first")
        for leaving in self.delivered():
            if self._let_go(leaving):
                yield leaving
            if not self._is_above(self.settings.retention.low_water_percent):
                return
        _log.error("nothing more may leave the disk, and it is still above its low-water mark")

    # -- what goes ----------------------------------------------------------------------------------------------

    def old(self) -> Iterator[Leaving]:
        """Yield what is older than the policy keeps it: series, then orphans."""
        return (leaving for leaving in self._looked_at() if leaving is not None)

    def _looked_at(self) -> Iterator[Leaving | None]:
        keys = self._keys()
        rows = removals.known(self.journal, keys)
        for key, row in rows.items():
            keep_s = self._days(row) * _DAY_S
            # The row first: the disk is asked only of what is old by it
            old = keep_s and self.journal.clock() - row.updated_at >= keep_s
            leaving = self._leaving(key, row, Why.AGE) if old else None
            yield leaving if leaving is not None and leaving.age_s >= keep_s else None
        for key in keys if self.settings.retention.orphan_days else []:
            yield None
            yield from self._orphans(key, is_known=key in rows)

    def delivered(self) -> Iterator[Leaving]:
        """Yield the series that the destination answers for, the oldest first."""
        for key, row in sorted(self._rows().items(), key=lambda pair: pair[1].updated_at):
            if self._is_delivered(row):
                yield self._leaving(key, row, Why.DISK_FULL)

    def would_go(self) -> Iterator[Leaving]:
        """Yield what :meth:`clean` would let go now, by age and, if the disk is that full, to make room."""
        gone: set[str] = set()
        total, free = self.disk(self.spool.root)
        for leaving in self.old():
            gone.add(leaving.series_key)
            free += leaving.size_bytes if leaving.why is Why.AGE else 0
            yield leaving
        marks = self.settings.retention
        if not self._exceeds(total, free, marks.high_water_percent):
            return
        for leaving in self.delivered():
            if not self._exceeds(total, free, marks.low_water_percent):
                return
            if leaving.series_key not in gone:
                free += leaving.size_bytes
                yield leaving

    def _rows(self) -> dict[str, SeriesRow]:
        """Return the series that have anything on the disk; what is not on it costs nothing."""
        return removals.known(self.journal, self._keys())

    def _keys(self) -> list[str]:
        places = [path for root in (self.spool.root, self.outbox_dir) if root.exists() for path in root.iterdir()]
        on_disk = {path.name for path in places if len(path.name) == KEY_LENGTH and path.is_dir()}
        return sorted(on_disk.union(self.spool.segments.keys()))

    def _days(self, row: SeriesRow) -> float:
        """Return how long a series is kept; 0 for ever."""
        retention = self.settings.retention
        if self._is_delivered(row):
            return retention.committed_days
        if row.state not in (State.SKIPPED, State.FAILED):
            return 0.0
        if removals.awaits_destination(self.journal, self.settings, row):
            return 0.0
        return retention.skipped_days if row.state is State.SKIPPED else retention.failed_days

    def _is_delivered(self, row: SeriesRow) -> bool:
        return row.lease_until <= self.journal.clock() and removals.is_delivered(self.journal, self.settings, row)

    def _leaving(self, key: str, row: SeriesRow, why: Why) -> Leaving:
        directories = [path for path in (self.spool.root / key, self.outbox_dir / key) if path.exists()]
        # What was sent again after a removal is as old as its directory
        changed_at = max([row.updated_at, *(path.stat().st_mtime for path in directories)])
        size_bytes = sum(file.stat().st_size for path in directories for file in path.rglob("*") if file.is_file())
        age_s = self.journal.clock() - changed_at
        return Leaving(series_key=key, why=why, age_s=age_s, size_bytes=size_bytes, row=row)

    def _orphans(self, key: str, *, is_known: bool) -> Iterator[Leaving]:
        names = {Path(name).stem for name in self.journal.file_names(key)}
        # Of a series that is known the outbox holds what its readings left
        roots = [self.spool.root] if is_known else [self.spool.root, self.outbox_dir]
        for path in [path for root in roots for path in (root / key).rglob("*")]:
            if path.name.partition(".")[0] in names or not path.is_file():
                continue
            age_s = self.journal.clock() - path.stat().st_mtime
            if age_s >= self.settings.retention.orphan_days * _DAY_S:
                size_bytes = path.stat().st_size
                yield Leaving(series_key=key, why=Why.ORPHAN, age_s=age_s, size_bytes=size_bytes, path=path)

    # -- letting go ---------------------------------------------------------------------------------------------

    def _let_go(self, leaving: Leaving) -> bool:
        with logs.series(leaving.series_key[:8]):
            if leaving.path is not None:
                return self._set_aside(leaving.path)
            assert leaving.row is not None
            removal = removals.begin(self.journal, leaving.row)
            if removal is None:
                return False
            # Before the files go: what a kill leaves of them is removed without another word
            self.audit(
                AuditEvent(action=Action.DELETE, who=self.who, series_key=leaving.series_key, detail=leaving.why)
            )
            if not self._remove(removal):
                return False
            _log.info(
                "%s for %.1f days: %d bytes have left the disk (%s)",
                *(leaving.row.state, leaving.age_s / _DAY_S, leaving.size_bytes, leaving.why),
            )
            return True

    def _set_aside(self, path: Path) -> bool:
        try:
            self.spool.quarantine.keep(path)
        except OSError as error:
            _log.error("a file that the journal does not know cannot be set aside (errno %s)", error.errno)
            return False
        _log.warning("a file that the journal does not know is in the quarantine")
        return True

    def _remove(self, removal: Removal) -> bool:
        try:
            names = removals.file_names(self.journal, removal)
            if self.remote is not None:
                self.remote.remove(removal.series_key, names, removal.generation)
            self.spool.remove(removal.series_key, names)
            results = self.outbox_dir / removal.series_key
            for directory in results.glob("*"):
                if directory.name.isdecimal() and int(directory.name) <= removal.generation:
                    shutil.rmtree(directory)
            if results.exists() and not any(results.iterdir()):
                results.rmdir()
        except SpoolUnavailable as error:
            _log.error("files cannot be removed; the next pass goes on: %s", error)
            return False
        except OSError as error:
            _log.error("files cannot be removed (errno %s); the next pass goes on", error.errno)
            return False
        removals.end(self.journal, removal)
        return True

    def _is_above(self, percent: float) -> bool:
        return self._exceeds(*self.disk(self.spool.root), percent)

    def _exceeds(self, total_bytes: int, free_bytes: int, percent: float) -> bool:
        # At the listener's own watermark new instances are refused: before that, what may go goes
        used_percent = 100.0 * (total_bytes - free_bytes) / total_bytes
        return used_percent >= percent or free_bytes < self.settings.listener.min_free_bytes


@dataclass(slots=True)
class Tidier:
    """Carries a retention out in small steps, between the sweeps.

    Parameters
    ----------
    retention
        What it carries out.
    monotonic
        Seconds that only go forward: a clock that jumps must not stop it.
    """

    retention: Retention
    monotonic: Callable[[], float] = time.monotonic
    _under_way: Iterator[Leaving | None] | None = None
    _next_at: float = field(default=float("-inf"))
    _next_full_at: float = field(default=float("-inf"))

    def step(self) -> None:
        """Go on with a pass, or begin one when it is time or the disk is full."""
        now = self.monotonic()
        if self._under_way is None:
            if now < self._next_at and not (now >= self._next_full_at and self.retention.is_disk_full()):
                return
            self._under_way = self.retention.steps()
            self._next_at = now + self.retention.settings.retention.period_s
            self._next_full_at = now + _FULL_AGAIN_S
        for _ in self._under_way:
            if self.monotonic() - now >= _STEP_S:
                return
        self._under_way = None
