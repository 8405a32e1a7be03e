"""One test for a whole class of leaks: canaries are looked for wherever we write."""

import base64
import re
from pathlib import Path
from urllib.request import urlopen

import pytest

from conformance.phantoms import Phantom
from plugin.cli.main import main
from plugin.parts import free_port
from sgmri.lifecycle import State
from tests.e2e.system import System

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def test_no_canary_leaves_the_objects(system: System, brain: Phantom, capsys: pytest.CaptureFixture[str]) -> None:
    """Name, identifier, birth date and accession number are in no log, message, journal, metric, or status output.

    The whole run logs at DEBUG and includes what makes log lines: a refused instance, a PACS that is down, a series
    that cannot be read. UIDs are looked for in the logs and in the messages too.
    """
    canaries = [
        brain.canaries.patient_name,
        *brain.canaries.patient_name.split("^"),
        brain.canaries.patient_id,
        brain.canaries.patient_birth_date,
        brain.canaries.accession_number,
    ]
    uids = [
        str(brain.datasets[0].StudyInstanceUID),
        str(brain.datasets[0].SeriesInstanceUID),
        str(brain.datasets[0].SOPInstanceUID),
    ]
    pacs, port = system.start_pacs(), free_port()
    system.settings["metrics_port"] = str(port)
    system.configure(pacs.ae_title, 1)  # nothing listens there: the delivery fails first
    system.start("listener")
    system.send(brain)
    system.wait(State.QUEUED)
    system.start("worker-reading", "worker-delivery")
    system.wait_for(lambda: system.journal.all_series()[0].deliveries >= 1, "a failed delivery")
    system.processes.kill(system.children["worker-delivery"])
    system.configure(pacs.ae_title, pacs.port)
    system.start("worker-delivery")
    row = system.wait(State.COMMITTED)

    # the broker's append-only file keeps every command: messages that were consumed too
    appended = b"".join(path.read_bytes() for path in (system.state_dir / "broker").rglob("*.aof"))
    bodies = [base64.b64decode(body) for body in re.findall(rb'"body": ?"([A-Za-z0-9+/=]+)"', appended)]
    assert len(bodies) >= 2, "a bell for the reading and one for the delivery"
    assert main(["status", "--json", "--config", str(system.state_dir / "sgmri.toml")]) == 0
    places = {path.name: path.read_bytes() for path in (system.state_dir / "logs").glob("*.log")}
    places |= {path.name: path.read_bytes() for path in (system.state_dir / "broker").rglob("*") if path.is_file()}
    places |= {"messages": b"".join(bodies), "status": capsys.readouterr().out.encode()}
    for path in ("/metrics", "/ready"):  # a model is loaded, and the destination answers again: ready
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            places[path] = answer.read()
    assert b'sgmri_events_total{reason="NONE",stage="COMMITTED"} 1.0' in places["/metrics"]
    assert b'sgmri_stage_seconds_count{stage="answer"} 1.0' in places["/metrics"]
    assert row.series_key.encode() in places["status"]
    assert any(row.series_key[:8].encode() in text for name, text in places.items() if name.endswith(".log"))
    for name, text in places.items():
        for secret in (*canaries, *uids):
            assert secret.encode() not in text, f"{name} holds a canary"
    journal = b"".join(path.read_bytes() for path in Path(system.state_dir / "state").glob("journal.sqlite*"))
    for canary in canaries:
        assert canary.encode() not in journal, "the journal holds a canary"


def test_the_search_would_find_a_canary(system: System, brain: Phantom) -> None:
    """The same canaries do stand in the spool and in the result objects: the test above can fail."""
    pacs = system.start_pacs()
    system.configure(pacs.ae_title, pacs.port)
    system.start("listener", "worker-reading", "worker-delivery")
    system.send(brain)
    system.wait(State.COMMITTED)
    objects = b"".join(path.read_bytes() for path in (system.state_dir / "state").rglob("*.dcm"))
    assert brain.canaries.patient_name.encode() in objects
    assert brain.canaries.accession_number.encode() in objects
