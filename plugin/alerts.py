"""Alerts: what is to be said, gathered into few messages, and not lost while nobody can be told.

Each channel has a desk of its own: what happens is put on it, and goes out as one message when it has waited for more
to say and the last message is long enough ago.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from sgmri.errors import AlertUndelivered
from sgmri.settings_monitoring import Alerts

_log = logging.getLogger(__name__)

_NAMED = 10
"""A message names no more series; it says how many there are."""


class Kind(StrEnum):
    """What is wrong."""

    SERIES_FAILED = "series-failed"
    DESTINATION_DOWN = "destination-down"
    DISK_FULL = "disk-full"
    READINGS_STALLED = "readings-stalled"
    AUDIT_BROKEN = "audit-broken"
    TEST = "test"


class Turn(StrEnum):
    """Which way it went."""

    HAPPENED = "happened"
    BEGAN = "began"
    GOES_ON = "goes on"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing to be said; nothing in it is of a patient.

    Parameters
    ----------
    kind, turn
        What, and which way it went.
    subject
        Of what: a reason, or a destination's name.
    at
        When, in seconds since the epoch.
    series_key
        The first eight characters of a series' key; empty where it is about none.
    event_id
        The timeline's event that it is about; None where there is none.
    """

    kind: Kind
    turn: Turn
    at: float
    subject: str = ""
    series_key: str = ""
    event_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a message says of one kind and subject, with how often it happened."""

    kind: Kind
    turn: Turn
    subject: str
    count: int
    series: tuple[str, ...]
    first_at: float
    last_at: float

    @property
    def text(self) -> str:
        """The line for people."""
        when = datetime.fromtimestamp(self.last_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{when}  {_SAYS[self.kind](self)}"


def _failed(line: Line) -> str:
    more = f" and {line.count - len(line.series)} more" if line.count > len(line.series) else ""
    return f"{line.count} series FAILED ({line.subject}): {', '.join(line.series)}{more}; see sgmri status"


def _standing(name: str, remedy: str) -> Callable[[Line], str]:
    def say(line: Line) -> str:
        subject = f" {line.subject}" if line.subject else ""
        ended = line.turn is Turn.ENDED
        again = f", {line.count} times since the last message" if line.count > 1 else ""
        return f"{name}{subject}: {line.turn}{again}{'' if ended else f'; {remedy}'}"

    return say


_SAYS: dict[Kind, Callable[[Line], str]] = {
    Kind.SERIES_FAILED: _failed,
    Kind.DESTINATION_DOWN: _standing("destination down", "its results wait in the outbox; sgmri doctor asks it"),
    Kind.DISK_FULL: _standing("disk at its high-water mark", "delivered series leave; soon C-STORE answers 0xA700"),
    Kind.READINGS_STALLED: _standing("readings do not go on", "series wait and nobody reads; do reading workers run?"),
    Kind.AUDIT_BROKEN: _standing("audit log broken", "keep it as it is, and look at it with sgmri audit verify"),
    Kind.TEST: lambda line: "a test by sgmri alerts test; nothing is wrong",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes out at once.

    Parameters
    ----------
    site
        What the installation is called.
    at
        When it was written, in seconds since the epoch.
    lines
        What it says.
    """

    site: str
    at: float
    lines: tuple[Line, ...]

    @property
    def subject(self) -> str:
        """One line on all of it."""
        kinds = dict.fromkeys(f"{line.kind}{' ended' if line.turn is Turn.ENDED else ''}" for line in self.lines)
        return f"[{self.site}] {', '.join(kinds)}"

    @property
    def text(self) -> str:
        """All of it, for people."""
        return "\n".join(line.text for line in self.lines) + "\n"


def compose(site: str, at: float, alerts: Iterable[Alert]) -> Message:
    """Gather alerts into a message: one line for each kind and subject, with what became of it last."""
    grouped: dict[tuple[Kind, str], list[Alert]] = {}
    for alert in alerts:
        grouped.setdefault((alert.kind, alert.subject), []).append(alert)
    lines = []
    for (kind, subject), those in grouped.items():
        turns = Counter(alert.turn for alert in those)
        begun = turns[Turn.HAPPENED] or turns[Turn.BEGAN] or 1
        named = tuple(dict.fromkeys(alert.series_key for alert in those if alert.series_key))[:_NAMED]
        lines.append(
            Line(
                kind=kind,
                turn=those[-1].turn,
                subject=subject,
                count=begun,
                series=named,
                first_at=those[0].at,
                last_at=those[-1].at,
            )
        )
    return Message(site=site, at=at, lines=tuple(lines))


class Channel(Protocol):
    """A way to people."""

    name: str

    def send(self, message: Message) -> None:
        """Send it; raises :class:`sgmri.errors.AlertUndelivered` if it cannot be known to have arrived."""


@dataclass(slots=True)
class Desk:
    """Gathers what is to be said on one channel.

    Parameters
    ----------
    channel
        Where it goes.
    settings
        How long it waits, and the least time between two messages.
    """

    channel: Channel
    settings: Alerts
    _waiting: list[Alert] = field(default_factory=list)
    _waits_since: float = 0.0
    _next_at: float = float("-inf")

    @property
    def waits_from(self) -> int | None:
        """The first event of the timeline that waits to be said; None where none does."""
        return min((alert.event_id for alert in self._waiting if alert.event_id is not None), default=None)

    def put(self, alerts: Sequence[Alert], now: float) -> None:
        """Put alerts on it."""
        if alerts and not self._waiting:
            self._waits_since = now
        self._waiting += alerts

    def post(self, now: float) -> None:
        """Send what waits, if it is time; what cannot be sent waits on.

        Parameters
        ----------
        now
            Seconds of a clock that only goes forward; so for :meth:`put`.
        """
        if not self._waiting or now - self._waits_since < self.settings.group_s or now < self._next_at:
            return
        self._next_at = now + self.settings.group_s
        message = compose(self.settings.site, max(alert.at for alert in self._waiting), self._waiting)
        try:
            self.channel.send(message)
        except AlertUndelivered as error:
            _log.error("an alert could not be sent by %s, and waits: %s", self.channel.name, error)
            return
        _log.info("an alert of %d lines was sent by %s", len(message.lines), self.channel.name)
        self._waiting.clear()
        self._next_at = now + self.settings.pause_s
