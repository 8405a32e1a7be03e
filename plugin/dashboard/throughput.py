"""How many series are read, and how long each stage takes: medians and 95th percentiles, per scanner too.

A scanner is named by a key that is derived of its manufacturer, model, station name and serial number: the same
device has the same key, and the key tells nobody its name.
"""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from dicom_io.header_values import read_values
from plugin.dashboard.desk import Desk, desk_of, page
from sgmri.errors import SeriesError
from worker import watching
from worker.watching import Stage

_LINES = 20_000
"""Of all timelines together, the newest: about a thousand series."""
_DAY_S = 86_400.0
_HOUR_S = 3_600.0
_MAX_LOOKS = 200
"""Series whose scanner is looked up for one page; the others' stand under "not looked up"."""
_KEPT = 4096
_DEVICE = ("Manufacturer", "ManufacturerModelName", "StationName", "DeviceSerialNumber")
_WHOLE = "turn-around"
_PARTS_OF_IT = ("deciding", "waiting", "reading", "sending")
"""From the last instance's quiet period to the results at the destination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How long something takes: how often it was seen, median and 95th percentile."""

    name: str
    count: int
    p50_s: float
    p95_s: float


@dataclass(kw_only=True)
class Scanners:
    """The scanners of series, looked up once in an image of each."""

    _known: "OrderedDict[str, str]" = field(default_factory=OrderedDict)

    def of(self, series_key: str, paths: Sequence[Path]) -> str:
        """Return the key of the scanner that a series comes from."""
        if series_key not in self._known:
            self._known[series_key] = _scanner(paths)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[series_key]

    def __contains__(self, series_key: str) -> bool:
        return series_key in self._known


def _scanner(paths: Sequence[Path]) -> str:
    try:
        found = read_values(paths[:1], _DEVICE)
    except (SeriesError, OSError):
        return "unknown"
    values = [str(value) for keyword in _DEVICE for value in found.get(keyword, ())]
    if not values:
        return "unknown"
    digest = hashlib.sha256("\x1f".join(values).encode()).digest()
    return base64.b32encode(digest[:5]).decode().lower()


def overview(request: Request) -> Response:
    """Show the figures of the last day, or of the hours asked for."""
    desk, now = desk_of(request), desk_of(request).clock()
    asked = request.query_params.get("hours", "24")
    hours = min(max(int(asked), 1), 24 * 31) if asked.isascii() and asked.isdecimal() and len(asked) < 5 else 24
    stages = watching.stages(desk.journal, since=now - hours * _HOUR_S, limit=_LINES)
    whole = _turn_arounds(stages)
    return page(
        request,
        "throughput.html",
        hours=hours,
        stages=[*_spreads((one.name, one.duration_s) for one in stages), *_spreads(whole_of(whole))],
        scanners=_by_scanner(desk, request.app.state.scanners, whole),
        by_hour=_by_hour(stages, now),
        limit=_LINES,
    )


def whole_of(turn_arounds: Iterable[tuple[str, float]]) -> Iterable[tuple[str, float]]:
    """Return the turn-arounds of all series under one name."""
    return ((_WHOLE, duration_s) for _, duration_s in turn_arounds)


def _turn_arounds(stages: Sequence[Stage]) -> list[tuple[str, float]]:
    """Return the series key and turn-around, in seconds, of each series that was sent; sums over its stages."""
    sums: dict[str, float] = {}
    sent = set()
    for stage in stages:
        if stage.name in _PARTS_OF_IT:
            sums[stage.series_key] = sums.get(stage.series_key, 0.0) + stage.duration_s
        if stage.name == _PARTS_OF_IT[-1]:
            sent.add(stage.series_key)
    return [(key, duration_s) for key, duration_s in sums.items() if key in sent]


def _spreads(durations: Iterable[tuple[str, float]]) -> list[Spread]:
    by_name: dict[str, list[float]] = {}
    for name, duration_s in durations:
        by_name.setdefault(name, []).append(duration_s)
    found = []
    for name, values in by_name.items():
        p50_s, p95_s = np.percentile(values, (50, 95))
        found.append(Spread(name=name, count=len(values), p50_s=float(p50_s), p95_s=float(p95_s)))
    return found


def _by_scanner(desk: Desk, scanners: Scanners, turn_arounds: Sequence[tuple[str, float]]) -> list[Spread]:
    durations, looks = [], 0
    rows = {row.series_key: row for row in desk.journal.series_of([key for key, _ in turn_arounds[-_KEPT:]])}
    for key, duration_s in reversed(turn_arounds):
        name = "not looked up"
        if key in rows and (key in scanners or looks < _MAX_LOOKS):
            looks += key not in scanners
            name = scanners.of(key, desk.paths(rows[key]))
        durations.append((name, duration_s))
    return sorted(_spreads(durations), key=lambda one: -one.count)


def _by_hour(stages: Sequence[Stage], now: float) -> list[tuple[float, int]]:
    """Return the beginning of each of the last 24 hours, and how many readings ended in it; the newest first."""
    this_hour = now // _HOUR_S
    ended = [int(this_hour - stage.ended_at // _HOUR_S) for stage in stages if stage.name == "reading"]
    return [((this_hour - ago) * _HOUR_S, ended.count(ago)) for ago in range(int(_DAY_S / _HOUR_S))]
