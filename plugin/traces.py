"""One OpenTelemetry trace for each generation of a series, made from the journal's timeline and sent by OTLP.

The trace's identifier is derived from series key and generation, so no message between the processes carries it, and a
span that is sent again is the same span. Spans: the series as a whole, each state that it was in, and within these the
stages of work. Nothing in them is of a patient (ADR 0009).

References
----------
https://opentelemetry.io/docs/specs/otlp/ (OTLP over HTTP, protobuf)
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from sgmri.errors import ConfigError
from sgmri.lifecycle import FINAL_STATES, Reason, State
from sgmri.settings import Settings
from worker.journal import Journal
from worker.timeline import BEGINS, Event, Tail, events_of

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
except ModuleNotFoundError as error:
    raise ConfigError(f"expected {error.name} for traces.endpoint, found none; pip install 'sgmri[otel]'") from None

_log = logging.getLogger(__name__)

_BATCH = 500
_ROOT = "root"
_TIMEOUT_S = 10.0
_SCOPE = InstrumentationScope("sgmri", version("sgmri"))
_PROCESS = {State.READING: "sgmri-reading", State.READ: "sgmri-delivery"}
"""Who works while a series is in a state; in all others it is the listener's."""


class Exporter:
    """Sends what is new.

    Parameters
    ----------
    settings
        Where to, and which states are the end.
    journal
        Whose timeline it is.
    """

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._journal = journal
        self._ends = FINAL_STATES | set(_unproved(settings))
        self._tail = Tail(journal, "traces")
        self._otlp = OTLPSpanExporter(endpoint=settings.traces.endpoint, timeout=_TIMEOUT_S)

    def step(self) -> None:
        """Send the spans that have ended since the last time; what the collector does not take is sent again."""
        events = self._tail.new()
        while events:
            batch, events = events[:_BATCH], events[_BATCH:]
            spans = tuple(self._spans(batch))
            if spans and self._otlp.export(spans) is not SpanExportResult.SUCCESS:
                _log.warning("the collector of traces took nothing; %d spans are sent later", len(spans))
                return
            self._tail.done(batch)

    def _spans(self, batch: Sequence[Event]) -> Iterator[ReadableSpan]:
        new = {event.event_id for event in batch}
        for series_key, generation in dict.fromkeys((event.series_key, event.generation) for event in batch):
            yield from self._of_series(events_of(self._journal, series_key, generation), new)

    def _of_series(self, events: Sequence[Event], new: set[int]) -> Iterator[ReadableSpan]:
        """Yield the spans of a series that end with one of the new events."""
        begun: Event | None = None
        for event in events:
            is_new = event.event_id in new
            if event.duration_s is not None and is_new:
                state = State.RECEIVING if begun is None else BEGINS[begun.stage]
                within = _ROOT if begun is None else str(begun.event_id)
                ended = _Ended(name=event.stage, own=str(event.event_id), within=within, state=state)
                yield ended.span(event.at - event.duration_s, event)
            state_now = BEGINS.get(event.stage)
            if state_now is None:
                continue
            if begun is not None and is_new:
                before = BEGINS[begun.stage]
                ended = _Ended(name=before.value, own=str(begun.event_id), within=_ROOT, state=before)
                yield ended.span(begun.at, event)
            if state_now in self._ends and is_new:
                yield _Ended(name="series", own=_ROOT, within=None, state=state_now).span(events[0].at, event)
            begun = event


def _unproved(settings: Settings) -> Iterator[State]:
    """Yield the states in which nothing more happens by these settings, besides the final ones."""
    if not settings.outlets:
        yield State.READ
    if not any(outlet.proves for outlet in settings.outlets):
        yield State.STORED


def trace_id(series_key: str, generation: int) -> int:
    """Return the identifier of a trace: 128 bits."""
    return int.from_bytes(hashlib.sha256(f"{series_key}/{generation}".encode()).digest()[:16])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """What a span is of; ``own`` and ``within`` name it and its parent within the trace."""

    name: str
    own: str
    within: str | None
    state: State

    def span(self, began_at: float, end: Event) -> ReadableSpan:
        """Return the span from a time (seconds since the epoch) to an event."""
        failed = BEGINS.get(end.stage) is State.FAILED
        reason = {} if end.reason == Reason.NONE else {"sgmri.reason": end.reason}
        process = _PROCESS.get(self.state, "sgmri-listener")
        return ReadableSpan(
            name=self.name,
            context=_context(end, self.own),
            parent=None if self.within is None else _context(end, self.within),
            resource=Resource({"service.name": process, "service.version": _SCOPE.version or ""}),
            attributes={
                "sgmri.series": end.series_key[:8],
                "sgmri.generation": end.generation,
                "sgmri.state": self.state.value,
                **reason,
            },
            status=Status(StatusCode.ERROR, end.reason) if failed else Status(StatusCode.UNSET),
            start_time=round(min(began_at, end.at) * 1e9),
            end_time=round(end.at * 1e9),
            instrumentation_scope=_SCOPE,
        )


def _context(event: Event, name: str) -> SpanContext:
    trace = trace_id(event.series_key, event.generation)
    word = f"{event.series_key}/{event.generation}/{name}"
    span = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
