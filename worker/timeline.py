"""The journal's timeline as a stream: what is new in it, and how much there is of each kind and how long it took.

Events are numbered as they are written, but on PostgreSQL one may become visible after another that has a higher
number. So the last minutes are looked at again each time; what is older is settled, and counted once.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Float, case, cast, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from sgmri.lifecycle import State
from worker.journal import Journal
from worker.journal_tables import EVENTS, TAILS

BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds of the histograms, in seconds."""

_SETTLED_AFTER_S = 300.0  # no transaction is open for as long
_RECEIVING = ("first instance", "grown", "restored")
BEGINS = {**{state.value: state for state in State}, **dict.fromkeys(_RECEIVING, State.RECEIVING)}
"""Stage -> the state that a series is in from this event on; other stages change no state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a series' timeline, with its number."""

    event_id: int
    series_key: str
    generation: int
    at: float
    stage: str
    duration_s: float | None
    reason: str


class Tail:
    """What is new in the timeline since the last look, each event once, across restarts too.

    Parameters
    ----------
    journal
        Whose timeline it is.
    name
        Under which the journal keeps how far it was looked at: at most 16 letters. Without that it begins now.
    """

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal = journal
        self._this = TAILS.c.name == name
        self._seen: set[int] = set()
        with journal.begin() as connection:
            settled = connection.execute(select(TAILS.c.event_id).where(self._this)).scalar()
            if settled is None:
                settled = connection.execute(select(func.max(EVENTS.c.event_id))).scalar() or 0
                connection.execute(insert(TAILS).values(name=name, event_id=settled))
        self._settled = self._kept = settled

    def new(self) -> tuple[Event, ...]:
        """Return the new events, in their order; they are new until :meth:`done` is told of them."""
        query = select(EVENTS).where(EVENTS.c.event_id > self._settled).order_by(EVENTS.c.event_id)
        with self._journal.look() as connection:
            events = [Event(**row._mapping) for row in connection.execute(query)]
        return tuple(event for event in events if event.event_id not in self._seen)

    def done(self, events: Sequence[Event], *, again_from: int | None = None) -> None:
        """Note that these need not be returned again.

        Parameters
        ----------
        events
            From the beginning of what was new.
        again_from
            Where set, this event and those after it are new after a restart, for the work on them is not done yet.
        """
        self._seen.update(event.event_id for event in events)
        last = max([*self._seen, self._settled])
        keep = last if again_from is None else again_from - 1
        if keep == self._kept:
            return  # nothing to write down
        with self._journal.begin() as connection:
            settled = _last_id(connection, self._journal.clock() - _SETTLED_AFTER_S)
            connection.execute(update(TAILS).where(self._this).values(event_id=keep))
        self._kept = keep
        self._settled = max(self._settled, min(settled, last))
        self._seen = {event_id for event_id in self._seen if event_id > self._settled}


def events_of(journal: Journal, series_key: str, generation: int) -> tuple[Event, ...]:
    """Return the timeline of one generation of a series, oldest first."""
    this = (EVENTS.c.series_key == series_key) & (EVENTS.c.generation == generation)
    with journal.look() as connection:
        found = connection.execute(select(EVENTS).where(this).order_by(EVENTS.c.event_id))
        return tuple(Event(**row._mapping) for row in found)


def _last_id(connection: Connection, until: float) -> int:
    # backwards from the newest: not a look at all of them
    query = select(EVENTS.c.event_id).where(EVENTS.c.at <= until).order_by(EVENTS.c.event_id.desc()).limit(1)
    return connection.execute(query).scalar() or 0


@dataclass(slots=True)
class Durations:
    """A histogram: how many durations are within each bound of ``BUCKETS_S``, of all, and their sum in seconds."""

    within: list[int] = field(default_factory=lambda: [0] * len(BUCKETS_S))
    count: int = 0
    sum_s: float = 0.0

    def add(self, within: Iterable[int], count: int, sum_s: float) -> None:
        """Add what another one holds."""
        self.within = [mine + its for mine, its in zip(self.within, within, strict=True)]
        self.count += count
        self.sum_s += sum_s


@dataclass(slots=True)
class Tally:
    """What has ever happened.

    ``events`` counts by stage and reason. The durations are those of the stages of work, of the time in each state
    that was left, and of the time from the completeness of a series until a state was reached.
    """

    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    stages: dict[str, Durations] = field(default_factory=dict)
    states: dict[str, Durations] = field(default_factory=dict)
    turnaround: dict[str, Durations] = field(default_factory=dict)

    def add(self, connection: Connection, after: int, until: int | None) -> None:
        """Add the events with a number above ``after``, up to ``until`` (None: all)."""
        event, before = EVENTS.alias("event"), EVENTS.alias("before")
        chosen = event.c.event_id > after
        if until is not None:
            chosen &= event.c.event_id <= until
        counts = select(event.c.stage, event.c.reason, func.count()).where(chosen)
        for stage, reason, count in connection.execute(counts.group_by(event.c.stage, event.c.reason)):
            self.events[stage, reason] += count
        _measure(connection, self.stages, event.c.stage, event.c.duration_s, chosen & event.c.duration_s.is_not(None))
        same = (before.c.series_key == event.c.series_key) & (before.c.generation == event.c.generation)
        earlier = EVENTS.alias("earlier")
        last = (
            select(func.max(earlier.c.event_id))
            .where(
                earlier.c.series_key == event.c.series_key,
                earlier.c.generation == event.c.generation,
                earlier.c.event_id < event.c.event_id,
                earlier.c.stage.in_(list(BEGINS)),
            )
            .scalar_subquery()
        )
        passed_s = event.c.at - before.c.at
        left = chosen & event.c.stage.in_(list(BEGINS)) & same & (before.c.event_id == last)
        state = case((before.c.stage.in_(_RECEIVING), State.RECEIVING.value), else_=before.c.stage)
        _measure(connection, self.states, state, passed_s, left)
        ends = [State.READ.value, State.STORED.value, State.COMMITTED.value]
        ended = chosen & event.c.stage.in_(ends) & same & (before.c.stage == State.COMPLETE.value)
        _measure(connection, self.turnaround, event.c.stage, passed_s, ended)


def _measure(
    connection: Connection,
    into: dict[str, Durations],
    label: ColumnElement[str],
    seconds: ColumnElement[float],
    chosen: ColumnElement[bool],
) -> None:
    """Add the durations of what is chosen to those of its label; a clock that was put back made some negative."""
    within = [func.sum(case((seconds <= bound, 1), else_=0)) for bound in BUCKETS_S]
    query = select(label, func.count(), func.sum(cast(seconds, Float)), *within).where(chosen, seconds >= 0)
    for name, count, sum_s, *counts in connection.execute(query.group_by(label)):
        into.setdefault(str(name), Durations()).add([int(one) for one in counts], int(count), float(sum_s))


class Tallies:
    """Keeps the tally of a journal up to date.

    Parameters
    ----------
    journal
        Whose.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._settled = Tally()
        self._settled_id = 0
        self._lock = threading.Lock()  # two who ask at a time must not both settle the same events

    def now(self) -> Tally:
        """Return the tally as of now; costs what has happened since the last call, and in the last minutes."""
        with self._lock, self._journal.look() as connection:
            until = _last_id(connection, self._journal.clock() - _SETTLED_AFTER_S)
            if until > self._settled_id:
                self._settled.add(connection, self._settled_id, until)
                self._settled_id = until
            tally = _copy(self._settled)
            tally.add(connection, self._settled_id, None)
        return tally


def _copy(tally: Tally) -> Tally:
    copy = Tally(events=Counter(tally.events))
    for mine, its in ((copy.stages, tally.stages), (copy.states, tally.states), (copy.turnaround, tally.turnaround)):
        for label, durations in its.items():
            mine.setdefault(label, Durations()).add(durations.within, durations.count, durations.sum_s)
    return copy
