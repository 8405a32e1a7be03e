"""What Prometheus is told: derived from the journal when it asks, so that it holds for every process and host.

No label is of a patient, a study or a peer: states, reasons, stages, lanes and queues are words of ours, destinations
are the names in the settings.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from dicom_io.stored import StoredInstance
from plugin.retention import Retention
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings
from worker import census, suspension
from worker.app import DELIVERY_QUEUE, READING_QUEUE
from worker.bells import depth
from worker.delivery import breakers
from worker.journal import Journal
from worker.presence import present
from worker.suspension import Mode
from worker.timeline import BUCKETS_S, Durations, Tallies
from worker.worklist import Worklist


class Metrics:
    """The metrics of an installation, as its listener knows them.

    Parameters
    ----------
    settings, journal, retention
        Of the listener.
    """

    def __init__(self, settings: Settings, journal: Journal, retention: Retention) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._stored = Counter(
            "sgmri_stored_instances",
            "Instances that this listener process answered with Success; copy: first, again, or differs (other bytes)",
            ["copy"],
            registry=self.registry,
        )
        self._stored_bytes = Counter(
            "sgmri_stored_bytes", "Bytes of these, as they lie on the disk", registry=self.registry
        )
        for copy in ("first", "again", "differs"):
            self._stored.labels(copy)
        self.registry.register(_Installation(settings, journal, retention))

    def stored(self, instance: StoredInstance) -> None:
        """Count an instance that was stored."""
        copy = "differs" if instance.differs else "again" if instance.was_there else "first"
        self._stored.labels(copy).inc()
        self._stored_bytes.inc(instance.size_bytes)


class _Installation(Collector):
    """Asks journal, broker and disk."""

    def __init__(self, settings: Settings, journal: Journal, retention: Retention) -> None:
        self._settings = settings
        self._journal = journal
        self._retention = retention
        self._tallies = Tallies(journal)

    def describe(self) -> Iterable[Metric]:
        """Name nothing: nobody is asked while the product starts."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; without the journal those that need none."""
        yield _gauge("sgmri_build_info", "Always 1", [({"version": version("sgmri")}, 1)])
        yield from self._disk()
        yield from self._broker()
        try:
            found = [*self._series(), *self._worklist(), *self._destinations(), *self._workers(), *self._history()]
        except SQLAlchemyError:
            yield _gauge("sgmri_journal_up", "Whether the journal could be read", [({}, 0)])
            return
        yield _gauge("sgmri_journal_up", "Whether the journal could be read", [({}, 1)])
        yield from found

    def _disk(self) -> Iterator[Metric]:
        total, free = self._retention.disk(self._retention.spool.root)
        yield _gauge("sgmri_disk_size_bytes", "Size of the spool's disk", [({}, total)])
        yield _gauge("sgmri_disk_free_bytes", "Free on the spool's disk", [({}, free)])
        full = self._retention.is_disk_full()
        yield _gauge("sgmri_disk_full", "Whether the disk is at its high-water mark", [({}, full)])

    def _broker(self) -> Iterator[Metric]:
        depths = {queue: depth(self._settings.broker.url, queue) for queue in (READING_QUEUE, DELIVERY_QUEUE)}
        known = [({"queue": queue}, count) for queue, count in depths.items() if count is not None]
        yield _gauge("sgmri_broker_up", "Whether the broker answered", [({}, len(known) == len(depths))])
        yield _gauge("sgmri_broker_messages", "Messages that wait", known)

    def _series(self) -> Iterator[Metric]:
        found = census.take(self._journal)
        by_state = [({"state": state, "reason": reason}, n) for (state, reason), n in found.series.items()]
        yield _gauge("sgmri_series", "Series in each state", by_state)
        now = self._journal.clock()
        ages = [
            ({"state": state}, max(0.0, now - found.since[state]) if state in found.since else 0.0)
            for state in census.WAITING
        ]
        yield _gauge("sgmri_oldest_seconds", "For how long the oldest series in a state has not changed", ages)
        yield _counter("sgmri_received_instances", "Instances ever received, each once", [({}, found.instances)])
        names = {outlet.name for outlet in self._settings.outlets}
        deliveries = [
            ({"destination": destination, "state": state, "reason": reason}, n)
            for (destination, state, reason), n in found.deliveries.items()
            if destination in names
        ]
        yield _gauge("sgmri_deliveries", "Readings by how far they have come at a destination", deliveries)

    def _worklist(self) -> Iterator[Metric]:
        worklist = Worklist(journal=self._journal)
        lanes = [({"lane": lane.value}, n) for lane, n in worklist.by_lane().items()]
        yield _gauge("sgmri_worklist_series", "Series that wait for their reading", lanes)
        mode = suspension.look(self._journal).mode
        modes = [({"mode": one.value}, one is mode) for one in Mode]
        yield _gauge("sgmri_worklist_mode", "1 for what becomes of readings now", modes)
        stalled_s = worklist.stalled_s(self._settings.queue.stalled_after_s)
        yield _gauge("sgmri_worklist_stalled_seconds", "For how long readings have not gone on", [({}, stalled_s or 0)])

    def _destinations(self) -> Iterator[Metric]:
        away = breakers(self._journal, self._settings).open()
        reached = [({"destination": outlet.name}, outlet.name not in away) for outlet in self._settings.outlets]
        yield _gauge("sgmri_destination_up", "0 while a destination cannot be reached and is only probed", reached)

    def _workers(self) -> Iterator[Metric]:
        workers = present(self._journal)
        queues = [
            ({"queue": queue}, sum(queue in one.queues for one in workers)) for queue in (READING_QUEUE, DELIVERY_QUEUE)
        ]
        yield _gauge("sgmri_workers", "Worker processes that show signs of life", queues)
        engines: dict[tuple[str, str], int] = {}
        for one in workers:
            if one.engine:
                engines[one.engine, one.engine_version] = engines.get((one.engine, one.engine_version), 0) + 1
        loaded = [({"engine": name, "version": its}, n) for (name, its), n in engines.items()]
        yield _gauge("sgmri_engines", "Worker processes that have an engine loaded", loaded)

    def _history(self) -> Iterator[Metric]:
        tally = self._tallies.now()
        # from 0 on: Prometheus sees no increase where a counter begins with its first failure
        counts = {(State.FAILED.value, reason.value): 0 for reason in Reason} | tally.events
        events = [({"stage": stage, "reason": reason}, n) for (stage, reason), n in counts.items()]
        yield _counter("sgmri_events", "Lines of the timelines of all series, ever", events)
        yield _histogram("sgmri_stage_seconds", "Duration of each stage of work", "stage", tally.stages)
        yield _histogram(
            "sgmri_state_seconds", "Time that series spent in a state that they left", "state", tally.states
        )
        yield _histogram("sgmri_turnaround_seconds", "From complete series to this state", "until", tally.turnaround)


_Samples = Iterable[tuple[Mapping[str, str], float]]


def _gauge(name: str, doc: str, samples: _Samples) -> Metric:
    return _with(GaugeMetricFamily(name, doc), name, samples)


def _counter(name: str, doc: str, samples: _Samples) -> Metric:
    return _with(CounterMetricFamily(name, doc), f"{name}_total", samples)


def _with(family: Metric, name: str, samples: _Samples) -> Metric:
    for labels, number in samples:
        family.add_sample(name, dict(labels), float(number))
    return family


def _histogram(name: str, doc: str, label: str, by_label: Mapping[str, Durations]) -> Metric:
    family = HistogramMetricFamily(name, doc, labels=[label])
    for one, durations in sorted(by_label.items()):
        bounds = [(str(bound), float(count)) for bound, count in zip(BUCKETS_S, durations.within, strict=True)]
        family.add_metric([one], [*bounds, ("+Inf", float(durations.count))], durations.sum_s)
    return family
