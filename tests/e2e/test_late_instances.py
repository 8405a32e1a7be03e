"""Instances that come after their series was read: a revised report that names the first, and nothing for copies."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.phantoms import Phantom
from dicom_io.objects.sr import DecodedReport, decode_report
from dicom_io.query import Level, find, get
from dicom_io.services import COMPREHENSIVE_3D_SR
from sgmri.lifecycle import State
from tests.e2e.system import System

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SETTLED_S = 3.0  # longer than the quiet period and two sweeps


def part(phantom: Phantom, instances: slice) -> Phantom:
    return replace(phantom, datasets=phantom.datasets[instances])


def reports(system: System, study_instance_uid: str, out: Path) -> dict[str, Dataset]:
    """Fetch every SR of the study from the PACS, by SOP Instance UID."""
    keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": "", "Modality": "SR"}
    found: dict[str, Dataset] = {}
    for match in find(system.reviewer, Level.SERIES, keys):
        directory = out / match["SeriesInstanceUID"]
        directory.mkdir(parents=True)
        for path in get(
            system.reviewer, study_instance_uid, match["SeriesInstanceUID"], [COMPREHENSIVE_3D_SR], directory
        ):
            ds = dcmread(path)
            found[str(ds.SOPInstanceUID)] = ds
    return found


def identifiers(report: DecodedReport) -> dict[str, str]:
    """Return the Tracking Unique Identifier of every box, with its Tracking Identifier."""
    return {box.tracking_uid: box.tracklet_id for box in report.boxes}


def test_late_instances_make_a_report_that_names_the_first(system: System, brain: Phantom, tmp_path: Path) -> None:
    """Four instances come after commitment: a second SR, predecessor the first, the same identifiers for its boxes."""
    system.start_pacs()
    system.start_all()
    system.send(part(brain, slice(0, -4)))
    row = system.wait(State.COMMITTED)
    before = reports(system, row.study_instance_uid, tmp_path / "before")
    assert len(before) == 1

    system.send(part(brain, slice(-4, None)))
    system.wait_for(lambda: system.journal.all_series()[0].generation == 1, "the second generation")
    second = system.wait(State.COMMITTED)
    assert second.instances == len(brain.datasets)
    after = reports(system, row.study_instance_uid, tmp_path / "after")
    assert len(after) == 2
    ((first_uid, first),) = before.items()
    assert after[first_uid] == first
    (revised,) = (report for uid, report in after.items() if uid != first_uid)
    (study,) = revised.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == row.study_instance_uid
    (series,) = study.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (first.SOPClassUID, first_uid)
    assert "PredecessorDocumentsSequence" not in first
    known, now = identifiers(decode_report(first)), identifiers(decode_report(revised))
    assert known
    assert known.items() <= now.items()


def test_copies_of_what_was_read_give_nothing(system: System, brain: Phantom, tmp_path: Path) -> None:
    """After a revision every instance is sent again, one by one and all together: the PACS keeps its two reports."""
    system.start_pacs()
    system.start_all()
    system.send(part(brain, slice(0, -4)))
    system.wait(State.COMMITTED)
    system.send(part(brain, slice(-4, None)))
    system.wait_for(lambda: system.journal.all_series()[0].generation == 1, "the second generation")
    row = system.wait(State.COMMITTED)
    system.send(part(brain, slice(-1, None)))
    system.send(brain)
    time.sleep(SETTLED_S)
    assert system.wait(State.COMMITTED) == row
    assert len(reports(system, row.study_instance_uid, tmp_path / "reports")) == 2
