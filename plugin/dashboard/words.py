"""What the pages say of times, states and what was done: words of ours, never a value that somebody sent."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sgmri.lifecycle import Reason

SAID: Mapping[str, str] = MappingProxyType(
    {
        "retried": "The series is tried again.",
        "cancelled": "The series is cancelled: nothing more is done for it until somebody retries it.",
        "replayed": "The series is queued for another reading.",
        "moved": "The series is in its new lane.",
        "suspended": "No reading begins; those under way are given back to the worklist.",
        "drained": "No reading begins; those under way end and are delivered.",
        "resumed": "Readings begin again at the listener's next sweep.",
        "verified": "The model was verified.",
    }
)
"""What was done, by the word in the address."""


def age(seconds: float) -> str:
    """Write a duration in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def duration(seconds: float | None) -> str:
    """Write a measured duration: milliseconds where it is short; a dash where there is none."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else age(seconds)


def moment(at: float | None) -> str:
    """Write a time of day and date in the machine's own time zone; a dash for none."""
    return "–" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def why(reason: Reason) -> str:
    """Write a coded reason; nothing where there is none."""
    return "" if reason is Reason.NONE else reason.value


FILTERS: dict[str, Callable[..., Any]] = {"age": age, "duration": duration, "moment": moment, "why": why}
