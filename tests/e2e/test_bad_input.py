"""Bad input beside a good study: each gets its state and reason, and nothing else is harmed."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE

from conformance.phantoms import Phantom, make, make_non_mr, write
from dicom_io.network import echo, settle
from dicom_io.scu import sendable, store
from sgmri.errors import PeerUnavailable, StoreRefused
from sgmri.lifecycle import FINAL_STATES, Reason, State
from tests.e2e.system import System

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7")


def secondary_capture() -> Dataset:
    """Return a picture that travels with a study: accepted, and set aside."""
    dataset = make_non_mr(seed=5)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SECONDARY_CAPTURE
    dataset.Modality = "OT"
    return dataset


def test_every_study_gets_what_it_deserves(system: System, brain: Phantom, tmp_path: Path) -> None:
    """CT and strangers are refused, a capture is SKIPPED, a cut series FAILED; the good study arrives."""
    system.start_pacs()
    system.start_all()
    with pytest.raises(PeerUnavailable, match="rejected"):
        echo(replace(system.listener, calling_ae_title="STRANGER"))
    with pytest.raises(PeerUnavailable, match="rejected"):
        echo(replace(system.listener, ae_title="NOT-US"))

    ct = tmp_path / "ct.dcm"
    make_non_mr().save_as(ct, enforce_file_format=True)
    with pytest.raises(StoreRefused, match="none of the proposed SOP classes"):
        store(system.listener, [sendable(ct)])
    capture = tmp_path / "capture.dcm"
    secondary_capture().save_as(capture, enforce_file_format=True)
    store(system.listener, [sendable(capture)])

    cut = make("knee", seed=9)
    victim = cut.datasets[3]
    victim.PixelData = victim.PixelData[:-2000]
    send_as_they_are(system, cut)
    system.send(brain)

    def ended() -> bool:
        return {row.state for row in system.journal.all_series()} == {State.SKIPPED, State.FAILED, State.COMMITTED}

    system.wait_for(ended, "three ends")
    ends = sorted((str(row.state), str(row.reason)) for row in system.journal.all_series())
    assert ends == [
        (str(State.COMMITTED), str(Reason.NONE)),
        (str(State.FAILED), str(Reason.TRUNCATED_INSTANCE)),
        (str(State.SKIPPED), str(Reason.NOT_MR)),
    ]


def send_as_they_are(system: System, phantom: Phantom) -> None:
    """Send data sets without looking at them, as a broken sender would."""
    ae = AE(ae_title="SCANNER")
    for syntax in {dataset.file_meta.TransferSyntaxUID for dataset in phantom.datasets}:
        ae.add_requested_context(phantom.datasets[0].SOPClassUID, syntax)
    association = ae.associate("127.0.0.1", system.port, ae_title="SGMRI")
    assert association.is_established
    for dataset in phantom.datasets:
        settle(association)
        assert association.send_c_store(dataset).Status == 0x0000
    association.release()


def test_our_own_results_coming_back_are_set_aside(system: System, brain: Phantom) -> None:
    """A PACS that forwards everything sends us our SR and SEG: they are SKIPPED, and no loop begins."""
    system.start_pacs()
    system.start_all()
    system.send(brain)
    row = system.wait(State.COMMITTED)
    outbox = system.state_dir / "state" / "outbox" / row.series_key / "0"
    store(system.listener, [sendable(path) for path in sorted(outbox.glob("*.dcm"))])

    def all_ended() -> bool:
        states = [row.state for row in system.journal.all_series()]
        return len(states) == 3 and set(states) <= FINAL_STATES

    system.wait_for(all_ended, "two series set aside")
    assert sorted(str(row.state) for row in system.journal.all_series()) == ["COMMITTED", "SKIPPED", "SKIPPED"]


def test_several_studies_at_once_all_arrive(system: System) -> None:
    """Three studies, one of them Enhanced, sent together: three commitments."""
    system.start_pacs()
    system.start_all()
    for name, seed in (("brain", 11), ("knee", 12), ("brain-enhanced", 13)):
        phantom = make(name, seed=seed)
        paths = write(phantom, system.state_dir / "scanner" / name)
        store(system.listener, [sendable(path) for path in paths])
    system.wait_for(
        lambda: [row.state for row in system.journal.all_series()] == [State.COMMITTED] * 3, "three commitments"
    )
