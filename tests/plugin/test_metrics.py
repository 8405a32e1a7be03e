"""Metrics, health and readiness, asked over HTTP of a listener that runs."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from conformance.phantoms import make, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from dicom_io.spool import Spool
from plugin.listener import ListenerService
from plugin.metrics import Metrics
from plugin.monitor import Monitor
from plugin.parts import free_port
from plugin.readiness import Readiness
from plugin.retention import Retention
from sgmri.errors import ConfigError
from sgmri.lifecycle import State
from sgmri.readings import EngineIdentity
from sgmri.settings import Settings, parse
from tests.worker.place import Clock
from tests.worker.test_journal import received
from worker.database import sqlite_url
from worker.delivery import breakers
from worker.journal import Journal
from worker.presence import Presence, present

EXAMPLES = Path(__file__).parents[2] / "examples" / "monitoring"
ENGINE = EngineIdentity(name="classical", version="7", digest="0" * 64)


def get(port: int, path: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def samples(text: str) -> dict[str, float]:
    """Return name{label=value,...} -> number."""
    return {
        sample.name + "".join(f"{{{key}={value}}}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def running(settings: Settings) -> Iterator[ListenerService]:
    service = ListenerService(settings)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def config(directory: Path, port: int, **tables: Any) -> Settings:
    mapping = {
        "listener": {"port": 0, "min_free_bytes": 1, "peers": [{"ae_title": "SCANNER"}]},
        "storage": {"state_dir": str(directory / "state")},
        "series": {"quiet_period_s": 0.5},
        "broker": {"url": "redis://127.0.0.1:1/0"},
        "metrics": {"port": port},
        "destination": [
            {"name": "pacs", "ae_title": "PACS", "port": 1, "commitment": "none"},
            {"name": "far", "ae_title": "FAR", "port": 1, "commitment": "none"},
        ],
    }
    return parse(mapping | tables)


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_listener_tells_what_it_received(tmp_path: Path) -> None:
    """Over HTTP, after a study came twice: counted, queued, timed. Nothing of the patient, no UID and no AE title."""
    phantom, port = make("brain-normal"), free_port()
    paths = write(phantom, tmp_path / "brain")
    with running(config(tmp_path, port)) as service:
        listener = Destination(ae_title="SGMRI", host="127.0.0.1", port=service.port, calling_ae_title="SCANNER")
        for _ in range(2):
            store(listener, [sendable(path) for path in paths])
        wait_for(lambda: [row.state for row in service.journal.all_series()] == [State.QUEUED])
        status, text = get(port, "/metrics")
        assert status == 200
        found = samples(text)
        assert (
            found.items()
            >= {
                "sgmri_stored_instances_total{copy=first}": len(paths),
                "sgmri_stored_instances_total{copy=again}": len(paths),
                "sgmri_received_instances_total": len(paths),
                "sgmri_series{reason=NONE}{state=QUEUED}": 1,
                "sgmri_worklist_series{lane=NORMAL}": 1,
                "sgmri_events_total{reason=NONE}{stage=COMPLETE}": 1,
                "sgmri_state_seconds_count{state=RECEIVING}": 1,
                "sgmri_state_seconds_bucket{le=+Inf}{state=RECEIVING}": 1,
                "sgmri_journal_up": 1,
                "sgmri_broker_up": 0,
            }.items()
        )
        assert found["sgmri_stored_bytes_total"] > 0
        assert found["process_start_time_seconds"] > 0
        secrets = [*phantom.canaries.patient_name.split("^"), phantom.canaries.patient_id, "SCANNER", "PACS"]
        secrets += [str(phantom.datasets[0].StudyInstanceUID), str(phantom.datasets[0].SeriesInstanceUID)]
        assert not [secret for secret in secrets if secret in text + get(port, "/ready")[1]]


def test_a_listener_tells_how_it_is(tmp_path: Path) -> None:
    """Alive, and not ready without broker and model, though instances are received. Without a port it tells nothing."""
    port = free_port()
    with running(config(tmp_path, port)) as service:
        assert get(port, "/health") == (200, '{"alive": true}\n')
        status, body = get(port, "/ready")
        assert status == 503
        assert {one["part"] + one.get("name", ""): one["ready"] for one in json.loads(body)["parts"]} == {
            "journal": True,
            "disk": True,
            "broker": False,
            "model": False,
            "destinationpacs": True,
            "destinationfar": True,
        }
        assert get(port, "/ready/receive")[0] == 200, "instances are received all the same"
        assert get(port, "/metrics/../secret")[0] == 404
        with pytest.raises(ConfigError, match=r"metrics: expected a free address.*choose another metrics.port"):
            ListenerService(config(tmp_path, port))
        service._sweeper.stop()
        assert get(port, "/health")[0] == 503, "nothing would be completed any more: start this process anew"
    with pytest.raises(ConnectionRefusedError):
        get(port, "/health")
    with running(config(tmp_path, 0)), pytest.raises(ConnectionRefusedError):
        get(port, "/health")


@dataclass
class Installation:
    """What a monitor looks at; the disk and the clock are the test's own."""

    directory: Path
    free_bytes: int = 10 << 30
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        settings = config(self.directory, 0)
        self.journal = Journal(sqlite_url(self.directory), clock=self.clock)
        self.breakers = breakers(self.journal, settings)
        retention = Retention(
            settings=settings,
            journal=self.journal,
            spool=Spool(self.directory / "spool"),
            outbox_dir=self.directory / "outbox",
            disk=lambda _: (20 << 30, self.free_bytes),
        )
        self.registry = Metrics(settings, self.journal, retention).registry
        parts = Readiness(settings=settings, journal=self.journal, retention=retention).parts
        self.monitor = Monitor(("::1", 0), registry=self.registry, is_alive=lambda: True, parts=parts)

    def missing(self) -> set[str]:
        """Return the parts that are not ready."""
        status, _, body = self.monitor.answer("/ready", "")
        found = {one["part"] + one.get("name", "") for one in json.loads(body)["parts"] if not one["ready"]}
        assert (status == 200) == (not found)
        return found

    def value(self, sample: str) -> float:
        return samples(self.monitor.answer("/metrics", "")[2].decode())[sample]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.monitor.stop()
    made.journal.close()


def test_a_model_is_there_while_a_process_that_has_it_shows_signs_of_life(installation: Installation) -> None:
    """Not while it is being loaded, nor after the process has ended, nor when it was killed a lease ago."""
    journal = installation.journal
    assert installation.missing() == {"broker", "model"}
    loading = Presence(lambda: journal, ["reading"], lambda: None, lease_s=60.0)
    loading.show()
    assert installation.missing() == {"broker", "model"}
    assert installation.value("sgmri_workers{queue=reading}") == 1
    ready = Presence(lambda: journal, ["reading", "delivery"], lambda: ENGINE, lease_s=60.0)
    ready.start()
    wait_for(lambda: len(present(journal)) == 2)
    assert installation.missing() == {"broker"}
    assert installation.value("sgmri_engines{engine=classical}{version=7}") == 1
    ready.stop()
    assert installation.missing() == {"broker", "model"}
    assert len(present(journal)) == 1
    installation.clock.now += 61.0
    assert present(journal) == ()


def test_each_part_that_is_missing_is_named(installation: Installation) -> None:
    """Disk, destination and journal, each by name, and ready again when it is back; metrics go on without a journal."""
    for _ in range(3):
        installation.breakers.failed("far")
    assert installation.missing() == {"broker", "model", "destinationfar"}
    assert installation.value("sgmri_destination_up{destination=far}") == 0
    assert installation.value("sgmri_destination_up{destination=pacs}") == 1
    installation.breakers.answered("far")
    installation.free_bytes = 0
    assert installation.missing() == {"broker", "model", "disk"}
    assert installation.value("sgmri_disk_full") == 1
    assert installation.monitor.answer("/ready/receive", "")[0] == 503
    installation.free_bytes = 10 << 30
    assert installation.missing() == {"broker", "model"}
    for path in installation.directory.glob("journal.sqlite*"):
        path.unlink()
    (installation.directory / "journal.sqlite").mkdir()
    assert installation.missing() == {"journal", "broker"}
    assert installation.value("sgmri_journal_up") == 0
    assert installation.value("sgmri_disk_free_bytes") == 10 << 30


def test_the_examples_name_what_there_is(installation: Installation) -> None:
    """Dashboard and alert rules parse, and each metric and label in their queries is one that is told."""
    journal = installation.journal
    journal.receive(received(1))
    journal.move(journal.series("abcdefgh12345678"), State.COMPLETE)
    for state in (State.QUEUED, State.READING, State.READ, State.STORED, State.COMMITTED):
        journal.move(journal.series("abcdefgh12345678"), state)
    journal.log(journal.series("abcdefgh12345678"), "answer", duration_s=1.0)
    Presence(lambda: journal, ["reading"], lambda: ENGINE, lease_s=60.0).show()
    told = [sample for family in installation.registry.collect() for sample in family.samples]
    labels: dict[str, set[str]] = {sample.name: set(sample.labels) for sample in told}
    # these have no samples without a broker, and before a delivery
    labels |= {"sgmri_broker_messages": {"queue"}, "sgmri_deliveries": {"destination", "state", "reason"}}
    dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    groups = yaml.safe_load((EXAMPLES / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert yaml.safe_load((EXAMPLES / "prometheus.yml").read_text(encoding="utf-8"))["rule_files"] == ["alerts.yml"]
    assert (len(queries) >= 12, len(rules) >= 8) == (True, True)
    assert all(rule.keys() >= {"alert", "expr", "labels", "annotations"} for rule in rules)
    for expression in [*queries, *(rule["expr"] for rule in rules)]:
        named = re.findall(r"(sgmri_\w+)(?:{([^}]*)})?", expression)
        assert named, expression
        for name, selector in named:
            assert name in labels, expression
            assert set(re.findall(r"(\w+)\s*[=!]~?", selector)) <= labels[name] | {"job", "instance"}, expression
