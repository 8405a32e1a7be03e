"""The main job, end to end, with a real Redis and a real Orthanc."""

import time
from pathlib import Path

import pytest

from conformance.phantoms import Phantom, make
from dicom_io.query import Level, find
from dicom_io.scu import sendable, store
from sgmri import readings
from sgmri.findings import Finding
from sgmri.geometry import iou
from sgmri.lifecycle import State
from tests.e2e.system import System

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def result_series(system: System, study_instance_uid: str) -> list[str]:
    keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": "", "Modality": ""}
    return sorted(match["Modality"] for match in find(system.reviewer, Level.SERIES, keys) if match["Modality"] != "MR")


def instances(system: System, study_instance_uid: str) -> int:
    series = find(system.reviewer, Level.SERIES, {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": ""})
    keys = {"StudyInstanceUID": study_instance_uid, "SOPInstanceUID": ""}
    return sum(
        len(find(system.reviewer, Level.IMAGE, {**keys, "SeriesInstanceUID": match["SeriesInstanceUID"]}))
        for match in series
    )


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("brain", "grounded"),
        ("knee-enhanced", "classical"),
        # scripts/test-readings
        pytest.param("brain", "classical", marks=pytest.mark.exhaustive),
        pytest.param("knee-enhanced", "grounded", marks=pytest.mark.exhaustive),
    ],
)
def test_a_study_comes_back_as_sr_and_seg(system: System, name: str, engine: str) -> None:
    """Classic and Enhanced, read by rules or by the model: one SR and one SEG, and every planted lesion is boxed."""
    phantom = make(name)
    system.settings["engine"] = engine
    system.start_pacs()
    system.start_all()
    system.send(phantom)
    row = system.wait(State.COMMITTED, State.FAILED, State.SKIPPED, timeout_s=120)
    assert row.state is State.COMMITTED
    assert result_series(system, row.study_instance_uid) == ["SEG", "SR"]
    found = system.state_dir / "state" / "outbox" / row.series_key / "0" / "reading.json"
    boxes = readings.from_json(found.read_text(encoding="utf-8")).findings
    for lesion in phantom.lesions:
        assert any(_overlap(planted, box) for planted in lesion.findings for box in boxes), lesion.label


def _overlap(planted: Finding, seen: Finding) -> bool:
    return planted.frame_index == seen.frame_index and iou(planted.box, seen.box) >= 0.5


def test_a_study_sent_again_makes_no_second_report(system: System, brain: Phantom) -> None:
    """After commitment the same instances come again: no new reading, no new object in the PACS."""
    system.start_pacs()
    system.start_all()
    system.send(brain)
    row = system.wait(State.COMMITTED)
    system.send(brain)
    time.sleep(3.0)  # longer than the quiet period and two sweeps
    assert system.wait(State.COMMITTED) == row
    assert instances(system, row.study_instance_uid) == 2


def test_a_worker_killed_in_mid_task_leaves_exactly_one_report(system: System, brain: Phantom) -> None:
    """Kill -9 of the reading worker and its child while it reads: another reads, and one SR arrives."""
    pacs = system.start_pacs()
    system.configure(pacs.ae_title, pacs.port)
    system.start("listener", "worker-reading", "worker-delivery")
    system.send(brain)
    system.wait_for(lambda: [row.state for row in system.journal.all_series()] == [State.READING], "READING")
    system.processes.kill(system.children["worker-reading"])
    assert system.journal.all_series()[0].state is State.READING
    system.start("worker-reading")
    row = system.wait(State.COMMITTED)
    assert row.attempts == 2
    assert instances(system, row.study_instance_uid) == 2


def test_a_pacs_that_is_down_gets_its_results_when_it_is_back(system: System, brain: Phantom) -> None:
    """The destination is stopped, the reading waits with its reason, and is committed after the restart."""
    from plugin.parts import free_port

    port = free_port()
    system.configure("ORTHANC", port)
    system.start("listener", "worker-reading", "worker-delivery")
    system.send(brain)
    system.wait(State.READ)
    system.wait_for(lambda: system.journal.all_series()[0].deliveries >= 1, "a failed delivery")
    assert system.journal.all_series()[0].reason.value == "PEER_UNAVAILABLE"
    system.start_pacs_at(port)
    row = system.wait(State.COMMITTED)
    assert instances(system, row.study_instance_uid) == 2


def test_a_redis_that_forgets_everything_loses_nothing(system: System, brain: Phantom) -> None:
    """FLUSHALL after the bell was rung and before a worker heard it: the sweeper rings again."""
    import redis

    pacs = system.start_pacs()
    system.configure(pacs.ae_title, pacs.port)
    system.start("listener")
    system.send(brain)
    system.wait(State.QUEUED)
    redis.Redis.from_url(system.broker_url).flushall()
    system.start("worker-reading", "worker-delivery")
    assert system.wait(State.COMMITTED).attempts == 1


def test_a_listener_killed_in_the_quiet_period_goes_on_after_its_restart(system: System, brain: Phantom) -> None:
    """Kill -9 between the last instance and the quiet period's end: the study is read after the restart."""
    system.settings["quiet_period_s"] = "3.0"
    pacs = system.start_pacs()
    system.configure(pacs.ae_title, pacs.port)
    system.start("listener", "worker-reading", "worker-delivery")
    system.send(brain)
    system.wait(State.RECEIVING)  # the journal has it a moment after the answer
    system.processes.kill(system.children["listener"])
    assert system.journal.all_series()[0].state is State.RECEIVING
    system.start("listener")
    row = system.wait(State.COMMITTED)
    assert row.instances == len(brain.datasets)


def test_a_listener_restarted_without_its_journal_indexes_the_spool(system: System, brain: Phantom) -> None:
    """The journal's file is lost: what lies in the spool is indexed again, read, and doubles nothing in the PACS."""
    system.start_pacs()
    system.start_all()
    system.send(brain)
    row = system.wait(State.COMMITTED)
    for part in ("worker-reading", "worker-delivery", "listener"):
        system.processes.kill(system.children[part])
    system.journal.close()
    for path in Path(system.state_dir / "state").glob("journal.sqlite*"):
        path.unlink()
    system.__post_init__()
    system.start("listener", "worker-reading", "worker-delivery")
    system.wait(State.COMMITTED)
    assert instances(system, row.study_instance_uid) == 2


@pytest.mark.parametrize(
    "series",
    [
        pytest.param("classic_mr_brain/ge_signa_fse_pd_ax", marks=pytest.mark.exhaustive),  # scripts/test-readings
        "knee/ge_mr750_mese_sag_te19",
    ],
)
def test_a_real_series_comes_back_as_a_report(system: System, series: str) -> None:
    """A real GE brain (odd UIDs) and a real GE knee (Big Endian) travel the whole way over the network."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data" / series
    if not folder.exists():
        pytest.skip("the shared data are not here")
    system.start_pacs()
    system.start_all()
    store(system.listener, [sendable(path) for path in sorted(folder.iterdir())])
    row = system.wait(State.COMMITTED, State.FAILED, State.SKIPPED)
    assert row.state is State.COMMITTED
    assert "SR" in result_series(system, row.study_instance_uid)
