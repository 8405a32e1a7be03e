"""A rule file on the way of a series through a real listener and a reading worker's task."""

import time
from collections.abc import Callable
from pathlib import Path

from conformance.phantoms import make, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from dicom_io.spool import Spool
from plugin.listener import ListenerService, outbox_dir, spool_dir
from plugin.rules import load_rules
from sgmri.lifecycle import Reason, State
from sgmri.settings import parse
from worker.engines import create_engine
from worker.tasks import Workplace, begin_reading, end_reading

RULES = """
[[rule]]
name = "long echoes"
when = 'header.EchoTime > 100 and frames > 10'
leave = true

[[rule]]
name = "what names no body part is a knee here"
when = 'anatomy == "unknown"'
take = "knee-1"
"""


def _wait(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_rules_decide_what_the_listener_queues_and_the_worker_reads(tmp_path: Path) -> None:
    """One series is skipped by a rule; another, which names no body part, is queued by a rule and read as a knee."""
    (tmp_path / "rules.toml").write_text(RULES, encoding="utf-8")
    settings = parse(
        {
            "listener": {"port": 0, "min_free_bytes": 1, "peers": [{"ae_title": "SCANNER"}]},
            "storage": {"state_dir": str(tmp_path / "state")},
            "series": {"quiet_period_s": 0.5},
            "selection": {"rules": str(tmp_path / "rules.toml")},
            "broker": {"url": "redis://127.0.0.1:1/0"},
            "worker": {"sweep_period_s": 0.2},
        }
    )
    nameless = make("knee-normal")
    for ds in nameless.datasets:
        for keyword in ("BodyPartExamined", "ProtocolName", "StudyDescription", "SeriesDescription", "ReceiveCoilName"):
            delattr(ds, keyword)
        ds.pop("AnatomicRegionSequence", None)
    paths = [*write(make("brain-normal"), tmp_path / "brain"), *write(nameless, tmp_path / "knee")]
    service = ListenerService(settings)
    service.start()
    try:
        listener = Destination(ae_title="SGMRI", host="127.0.0.1", port=service.port, calling_ae_title="SCANNER")
        store(listener, [sendable(path) for path in paths])
        _wait(lambda: {row.state for row in service.journal.all_series()} == {State.SKIPPED, State.QUEUED})
        rows = {row.state: row for row in service.journal.all_series()}
        assert rows[State.SKIPPED].reason is Reason.RULE
        assert rows[State.QUEUED].question_set_id == "knee-1"
        place = Workplace(
            settings=settings,
            journal=service.journal,
            spool=Spool(spool_dir(settings)),
            outbox_dir=outbox_dir(settings),
            engine=lambda: create_engine("classical", settings.worker),
            rules=load_rules(settings.selection.rules),
        )
        queued = rows[State.QUEUED]
        reading = begin_reading(place)
        assert reading is not None and reading.series_key == queued.series_key
        assert end_reading(place, reading)
        assert service.journal.series(queued.series_key).state is State.READ
    finally:
        service.stop()
