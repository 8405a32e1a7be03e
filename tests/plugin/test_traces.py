"""Traces as a collector receives them: OTLP over HTTP, parsed by the protocol's own messages."""

import gzip
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from conformance.phantoms import make, write
from dicom_io.spool import Spool
from plugin.traces import Exporter, trace_id
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings, parse
from tests.http_servers import serving
from tests.worker.place import Clock, NegativeEngine, Place, small
from tests.worker.test_worklist import queue
from worker.database import sqlite_url
from worker.journal import Journal, SeriesRow
from worker.tasks import Workplace


@dataclass
class Collector:
    """A real little collector: keeps every span that it took with the service that it is of."""

    url: str = ""
    status: int = 200
    spans: list[tuple[str, Span]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(attributes["service.name"], span) for span in scope.spans]

    def named(self) -> dict[str, Span]:
        return {span.name: span for _, span in self.spans}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if collector.status == 200:
                collector.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with serving(Handler) as url:
        collector.url = f"{url}/v1/traces"
        yield collector


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(sqlite_url(tmp_path), clock=Clock())
    yield journal
    journal.close()


def settings_for(collector: Collector, **tables: object) -> Settings:
    return parse({"traces": {"endpoint": collector.url}, **tables})


@contextmanager
def ward(directory: Path, journal: Journal, settings: Settings) -> Iterator[Place]:
    """Lend a place where series are read and delivered."""
    engine, clock = NegativeEngine(), journal.clock
    assert isinstance(clock, Clock)
    workplace = Workplace(
        settings=settings,
        journal=journal,
        spool=Spool(directory / "spool"),
        outbox_dir=directory / "outbox",
        engine=lambda: engine,
    )
    yield Place(workplace=workplace, clock=clock, engine=engine)
    workplace.senders.close()


def test_a_series_is_one_trace_from_receipt_to_delivery(tmp_path: Path, journal: Journal, collector: Collector) -> None:
    """One trace: the series, within it its states, within these the stages of work, each of the process that did it.

    The identifier follows from series key and generation. No name, identifier or UID is in what is sent.
    """
    phantom = make("brain-normal")
    pacs = small(tmp_path)
    pacs.start()
    to = [{"name": "pacs", "ae_title": "SMALLPACS", "port": pacs.port, "commitment": "none"}]
    settings = settings_for(collector, destination=to)
    exporter = Exporter(settings, journal)
    with ward(tmp_path, journal, settings) as place:
        place.receive(*write(phantom, tmp_path / "brain"))
        exporter.step()
        assert set(collector.named()) == {"RECEIVING", "COMPLETE"}, "what has ended is sent, before all has"
        place.clock.now += 30
        assert place.read()
        place.clock.now += 5
        place.deliver()
        row = place.row
    pacs.stop()
    exporter.step()
    exporter.step()
    assert len(collector.spans) == len({span.span_id for _, span in collector.spans}), "each span once"
    _look_at(collector, row)
    ds, sent = phantom.datasets[0], b"".join(collector.bodies)
    for secret in (str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), *phantom.canaries.patient_name.split("^")):
        assert secret.encode() not in sent


def _look_at(collector: Collector, row: SeriesRow) -> None:
    spans = collector.named()
    states = {"RECEIVING", "COMPLETE", "QUEUED", "READING", "READ"}
    stages = {"describe", "decode", "render", "answer", "write objects"}
    assert set(spans) == {"series", "store"} | states | stages
    assert {span.trace_id for span in spans.values()} == {trace_id(row.series_key, 0).to_bytes(16)}
    root = spans["series"]
    assert root.parent_span_id == b""
    assert {spans[name].parent_span_id for name in states} == {root.span_id}
    assert {spans[name].parent_span_id for name in stages} == {spans["READING"].span_id}
    assert spans["store"].parent_span_id == spans["READ"].span_id
    lasted_s = {name: (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 for name, span in spans.items()}
    assert (lasted_s["QUEUED"], lasted_s["READ"], lasted_s["series"]) == (30, 5, 35)
    assert lasted_s["answer"] > 0
    services = {span.name: service for service, span in collector.spans}
    assert services["RECEIVING"] == services["series"] == "sgmri-listener"
    assert (services["answer"], services["store"]) == ("sgmri-reading", "sgmri-delivery")
    attributes = {one.key: one.value.string_value or one.value.int_value for one in root.attributes}
    assert attributes == {"sgmri.series": row.series_key[:8], "sgmri.generation": 0, "sgmri.state": "STORED"}


def test_what_the_collector_does_not_take_is_sent_later_and_once(
    journal: Journal, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """After the collector was away, and across a restart; what failed is an error that says why."""
    settings = settings_for(collector)
    exporter = Exporter(settings, journal)
    collector.status = 400
    journal.move(queue(journal, "abcdefgh12345678"), State.FAILED, reason=Reason.ENGINE_FAILED)
    exporter.step()
    assert "spans are sent later" in caplog.text
    assert not collector.spans
    collector.status = 200
    Exporter(settings, journal).step()
    Exporter(settings, journal).step()
    assert sorted(span.name for _, span in collector.spans) == ["COMPLETE", "QUEUED", "RECEIVING", "series"]
    root = collector.named()["series"]
    assert (root.status.code, root.status.message) == (Status.STATUS_CODE_ERROR, "ENGINE_FAILED")


def test_a_series_that_is_read_again_is_another_trace(journal: Journal, collector: Collector) -> None:
    """Late instances open a generation of their own, and a trace of its own."""
    exporter = Exporter(settings_for(collector), journal)
    row = queue(journal, "abcdefgh12345678")
    again = queue(journal, "abcdefgh12345678", sop_instance_uid="2.25.4")
    assert (row.generation, again.generation) == (0, 1)
    exporter.step()
    traces = {span.trace_id for _, span in collector.spans}
    assert traces == {trace_id("abcdefgh12345678", generation).to_bytes(16) for generation in (0, 1)}


def test_without_the_extra_all_goes_on_but_traces() -> None:
    """The listener's modules load where OpenTelemetry is not installed; who asks for traces is told what to install."""
    code = """
import sys
sys.modules["opentelemetry"] = None
import plugin.listener
from plugin.observers import observers
from sgmri.errors import ConfigError
from sgmri.settings import parse
assert list(observers(parse({}), None, None)) == []
try:
    list(observers(parse({"traces": {"endpoint": "http://127.0.0.1:4318/v1/traces"}}), None, None))
except ConfigError as error:
    sys.exit("pip install 'sgmri[otel]'" not in str(error))
sys.exit(2)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
