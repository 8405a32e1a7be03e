"""The lanes of the worklist: which series is read first, and why none waits for ever.

A series is ordered by one moment, the one at which waiting has brought it into the first lane. It never changes while
the series waits, so a database index can hold the order; and only what is queued before that moment can come before it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from sgmri.errors import ConfigError

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class Lane(StrEnum):
    """How urgent a reading is; the first comes first."""

    STAT = "STAT"
    """At once."""
    NORMAL = "NORMAL"
    """In the order of coming."""
    OFF_PEAK = "OFF_PEAK"
    """Not before the off-peak hours begin, and behind the others."""


_STEPS = {lane: step for step, lane in enumerate(Lane)}


def in_first_lane_at(lane: Lane, since: float, ageing_s: float) -> float:
    """Return when waiting has raised a series into the first lane: one lane each ``ageing_s``.

    Parameters
    ----------
    lane
        Where it begins.
    since
        Since when it can be read, in seconds since the epoch.
    ageing_s
        How long it stays in a lane, in seconds.
    """
    return since + _STEPS[lane] * ageing_s


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPeak:
    """The off-peak hours of each day, in the time zone of the machine; over midnight where they end before they begin.

    Parameters
    ----------
    begins, ends
        Time of day; ``ends`` does not belong to them.
    """

    begins: time
    ends: time

    def next_opening(self, now: float) -> float:
        """Return from when on such a series may be read: ``now`` within the hours, else when they next begin.

        Parameters
        ----------
        now
            Seconds since the epoch; so is what is returned.
        """
        local = datetime.fromtimestamp(now, UTC).astimezone()
        at = local.time()
        within = self.begins <= at < self.ends if self.begins < self.ends else at >= self.begins or at < self.ends
        if within:
            return now
        day = local.date() if at < self.begins else local.date() + timedelta(days=1)
        # without a zone: the machine's own, with the offset of that day
        return datetime.combine(day, self.begins).timestamp()


def off_peak(text: str) -> OffPeak | None:
    """Parse off-peak hours such as ``20:00-06:00``; None for an empty text: any hour.

    Raises
    ------
    ConfigError
        If the text is no such thing.
    """
    if not text:
        return None
    found = _WINDOW.fullmatch(text)
    if found is None or text[:5] == text[6:]:
        raise ConfigError(f"expected two different times such as 20:00-06:00, found {text!r}")
    first, second, third, fourth = (int(part) for part in found.groups())
    return OffPeak(begins=time(first, second), ends=time(third, fourth))
