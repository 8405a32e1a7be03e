"""Look for what people must be told: in the journal's timeline, and in what stands there and on the disk."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from plugin.alerts import Alert, Desk, Kind, Turn
from plugin.retention import Retention
from sgmri.lifecycle import State
from sgmri.settings import Settings
from worker.auditing.verification import reports
from worker.delivery import breakers
from worker.journal import Journal
from worker.timeline import Tail
from worker.worklist import Worklist

_NAME = "alerts"  # what fails while the listener is down is said when it is back


@dataclass(slots=True)
class Watch:
    """Looks again and again.

    Parameters
    ----------
    settings, journal, retention
        Of the listener.
    """

    settings: Settings
    journal: Journal
    retention: Retention
    _tail: Tail = field(init=False)
    _said: dict[tuple[Kind, str], float] = field(default_factory=dict)
    _broken: frozenset[str] = frozenset()
    _verify_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._tail = Tail(self.journal, _NAME)

    def look(self, say: Callable[[tuple[Alert, ...]], int | None]) -> None:
        """Find what is new, and hand it over.

        Parameters
        ----------
        say
            Takes the alerts, which are not found again; returns the first event that is not said yet, for if this
            process is killed it is to be found again. None where all is said.
        """
        events = self._tail.new()
        failed = [
            Alert(
                kind=Kind.SERIES_FAILED,
                turn=Turn.HAPPENED,
                at=event.at,
                subject=event.reason,
                series_key=event.series_key[:8],
                event_id=event.event_id,
            )
            for event in events
            if event.stage == State.FAILED
        ]
        again_from = say((*failed, *self._turns(set(self._standing()))))
        self._tail.done(events, again_from=again_from)

    def _standing(self) -> Iterator[tuple[Kind, str]]:
        away = breakers(self.journal, self.settings).open()
        for outlet in self.settings.outlets:
            if outlet.name in away:
                yield Kind.DESTINATION_DOWN, outlet.name
        if self.retention.is_disk_full():
            yield Kind.DISK_FULL, ""
        if Worklist(journal=self.journal).stalled_s(self.settings.queue.stalled_after_s) is not None:
            yield Kind.READINGS_STALLED, ""
        for host in self._broken_audits():
            yield Kind.AUDIT_BROKEN, host

    def _broken_audits(self) -> frozenset[str]:
        """Return the hosts whose audit log was changed, verified now and then: all of it is read for that."""
        now = self.journal.clock()
        if now >= self._verify_at:
            self._verify_at = now + self.settings.alerts.audit_period_s
            self._broken = frozenset(broken_audits(self.settings))
        return self._broken

    def _turns(self, standing: set[tuple[Kind, str]]) -> Iterator[Alert]:
        """Yield what has begun, ended, or gone on for long since it was last said."""
        now = self.journal.clock()
        for kind, subject in sorted(standing | self._said.keys()):
            if (kind, subject) not in standing:
                del self._said[kind, subject]
                turn = Turn.ENDED
            elif (kind, subject) not in self._said:
                turn = Turn.BEGAN
            elif now - self._said[kind, subject] >= self.settings.alerts.repeat_s:
                turn = Turn.GOES_ON
            else:
                continue
            if turn is not Turn.ENDED:
                self._said[kind, subject] = now
            yield Alert(kind=kind, turn=turn, at=now, subject=subject)


def broken_audits(settings: Settings) -> Iterator[str]:
    """Yield the hosts whose audit log is not what was written; one that cannot be read is no better."""
    try:
        yield from (report.host for report in reports(settings) if report.faults)
    except OSError:
        yield "(cannot be read)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerting:
    """Looks, and lets people know.

    Parameters
    ----------
    watch
        Who looks.
    desks
        One for each channel.
    monotonic
        Seconds that only go forward: a clock that jumps must not keep an alert back.
    """

    watch: Watch
    desks: Sequence[Desk]
    monotonic: Callable[[], float] = time.monotonic

    def step(self) -> None:
        """Look once, and send what is to be sent."""
        self.watch.look(self._put)
        for desk in self.desks:
            desk.post(self.monotonic())

    def _put(self, alerts: tuple[Alert, ...]) -> int | None:
        for desk in self.desks:
            desk.put(alerts, self.monotonic())
        waiting = [desk.waits_from for desk in self.desks]
        return min((first for first in waiting if first is not None), default=None)
