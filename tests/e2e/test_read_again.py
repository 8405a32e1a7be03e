"""An operator has a series read again by another model, and takes that reading back: real PACS, real processes."""

import json
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.phantoms import Phantom, make, write
from dicom_io.kinds import FILE_NAME, ResultKind
from dicom_io.objects.key_objects import decode_key_objects
from dicom_io.objects.sr import DecodedReport, decode_report
from dicom_io.profiles import Profile
from dicom_io.query import Level, find, get
from dicom_io.results import differences_in_files, write_results
from dicom_io.scu import sendable, store
from dicom_io.services import COMPREHENSIVE_3D_SR, KEY_OBJECTS
from plugin.cli.main import main
from sgmri import readings
from sgmri.lifecycle import Reason, State
from tests.e2e.system import System

NEXT_VERSION = """
import sys
from plugin.cli.main import main
from worker.engine import classical

classical.VERSION = "next"
sys.exit(main(["serve", "worker", "--queues", "reading", "--config", sys.argv[1]]))
"""
"""A reading worker whose engine is another version that sees the same."""

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def fetched(system: System, study_instance_uid: str, modality: str, sop_class_uid: str, out: Path) -> list[Dataset]:
    """Fetch every object of a modality in the study from the PACS."""
    keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": "", "Modality": modality}
    found: list[Dataset] = []
    for match in find(system.reviewer, Level.SERIES, keys):
        directory = out / match["SeriesInstanceUID"]
        directory.mkdir(parents=True)
        paths = get(system.reviewer, study_instance_uid, match["SeriesInstanceUID"], [sop_class_uid], directory)
        found += [dcmread(path) for path in paths]
    return found


def places(report: DecodedReport) -> dict[tuple[str, str, str], str]:
    """Return the Tracking Unique Identifier by label, Tracking Identifier and source image."""
    return {(box.label, box.tracklet_id, box.sop_instance_uid): box.tracking_uid for box in report.boxes}


def test_another_model_revises_and_is_taken_back(
    system: System, brain: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second report names the first and keeps identifiers; after its retraction the PACS has the rejection note."""
    system.start_pacs()
    system.start_all()
    system.send(brain)
    row = system.wait(State.COMMITTED)
    system.processes.kill(system.children["worker-reading"])
    config = str(system.state_dir / "sgmri.toml")
    assert main(["reread", row.series_key[:6], "--config", config]) == 0
    system.processes.start("worker-next", [sys.executable, "-c", NEXT_VERSION, config])
    system.wait(State.COMMITTED)

    reports = fetched(system, row.study_instance_uid, "SR", COMPREHENSIVE_3D_SR, tmp_path / "sr")
    by_uid = {ds.SOPInstanceUID: ds for ds in reports}
    assert len(by_uid) == 2
    (revised,) = (ds for ds in reports if "PredecessorDocumentsSequence" in ds)
    named = decode_report(revised).predecessor
    assert named is not None
    first = by_uid[named.sop_instance_uid]
    assert first.DeviceUID != revised.DeviceUID
    assert len(decode_report(first).boxes) > 3
    assert places(decode_report(first)) == places(decode_report(revised))

    assert main(["retract", row.series_key, "--reason", "safety", "--config", config]) == 0
    (note,) = fetched(system, row.study_instance_uid, "KO", KEY_OBJECTS, tmp_path / "ko")
    decoded = decode_key_objects(note)
    assert decoded.rejection is Reason.REJECTED_SAFETY
    rejected = {uid for uid, _ in decoded.objects}
    assert revised.SOPInstanceUID in rejected
    assert named.sop_instance_uid not in rejected
    capsys.readouterr()
    assert main(["status", "--json", "--config", config]) == 0
    (series,) = json.loads(capsys.readouterr().out)["series"]
    assert (series["state"], series["reason"]) == ("RETRACTED", "REJECTED_SAFETY")
    assert [(one["retracted"], one["superseded_by"]) for one in series["readings"]] == [
        (None, None),
        ("REJECTED_SAFETY", None),
    ]


def test_orthanc_stores_every_form_as_it_is(system: System, tmp_path: Path) -> None:
    """Presentation state, capture, page and key objects go to a real PACS, and come back as the reading says."""
    pacs = system.start_pacs()
    system.configure(pacs.ae_title, pacs.port)
    phantom = make("brain-enhanced")
    sources = write(phantom, tmp_path / "sources")
    out = tmp_path / "out"
    assert main(["read", str(tmp_path / "sources"), "--engine", "classical", "--out", str(out)]) == 0
    reading = readings.from_json((out / "reading.json").read_text(encoding="utf-8"))
    assert reading.tracklets
    forms = (ResultKind.PR, ResultKind.SC, ResultKind.PDF, ResultKind.KO)
    written = write_results(reading, sources, out, profile=Profile(kinds=frozenset({ResultKind.SR, *forms})))
    store(system.reviewer, [sendable(one.path) for one in written])
    for one in written:
        there = (reading.study_instance_uid, one.series_instance_uid)
        back = get(system.reviewer, *there, [one.sop_class_uid], tmp_path / one.kind)
        assert len(back) == 1
        assert differences_in_files(reading, {one.kind: back[0]}) == ()
    assert {path.name for path in out.glob("*.dcm")} == {FILE_NAME[one.kind] for one in written}
