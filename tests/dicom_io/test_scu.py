import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom.pdu_primitives import P_DATA

from conformance.pacs import PacsBehaviour, SmallPacs
from conformance.phantoms import make, write
from dicom_io.commitment import request
from dicom_io.network import Destination, associate, echo, settle, status_of
from dicom_io.query import Level, find, get
from dicom_io.scu import sendable, store
from dicom_io.services import MR_IMAGE, UNCOMPRESSED, VERIFICATION
from sgmri.errors import MalformedInstance, PeerUnavailable, StoreRefused


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write(make("brain"), tmp_path_factory.mktemp("brain"))


def destination(pacs: SmallPacs) -> Destination:
    return Destination(
        ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port, calling_ae_title="SGMRI", timeout_s=5.0
    )


def small(tmp_path: Path, behaviour: PacsBehaviour | None = None) -> SmallPacs:
    return SmallPacs("SMALLPACS", directory=tmp_path, peers={"SGMRI": ("127.0.0.1", 1)}, behaviour=behaviour)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[SmallPacs]:
    with small(tmp_path) as running:
        yield running


def test_what_is_stored_is_found_and_fetched_back(pacs: SmallPacs, files: tuple[Path, ...], tmp_path: Path) -> None:
    """Every instance arrives, C-FIND lists the series, C-GET returns the same data sets."""
    taken: list[str] = []
    store(destination(pacs), [sendable(path) for path in files], stored=lambda one: taken.append(one.sop_instance_uid))
    sent = {str(dataset.SOPInstanceUID): dataset for dataset in map(dcmread, files)}
    assert set(taken) == set(sent)
    study = str(next(iter(sent.values())).StudyInstanceUID)
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": "", "Modality": ""}
    (series,) = find(destination(pacs), Level.SERIES, keys)
    assert series["Modality"] == "MR"
    fetched = get(destination(pacs), study, series["SeriesInstanceUID"], [MR_IMAGE], tmp_path / "fetched")
    assert {str(dcmread(path).SOPInstanceUID) for path in fetched} == set(sent)
    assert all(dcmread(path) == sent[str(dcmread(path).SOPInstanceUID)] for path in fetched)


class SlowToWake(threading.Event):
    """What pynetdicom's own thread of an association waits for, on a machine that has other work."""

    def wait(self, timeout: float | None = None) -> bool:
        woken = super().wait(timeout)
        time.sleep(0.05)
        return woken


def test_a_response_is_heard_though_the_associations_thread_wakes_late(
    pacs: SmallPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages one straight after the other each get their response, when one settles in between."""
    with associate(destination(pacs), [(VERIFICATION, UNCOMPRESSED)]) as association:
        send_pdu = association.dul.send_pdu

        def send_and_be_away(pdu: P_DATA) -> None:
            send_pdu(pdu)
            time.sleep(0.2)  # until the response has come

        monkeypatch.setattr(association.dul, "send_pdu", send_and_be_away)
        late = SlowToWake()
        late.set()
        association._reactor_checkpoint = late
        for _ in range(5):
            settle(association)
            assert status_of(association.send_c_echo()) == 0x0000


def test_an_unknown_study_matches_nothing(pacs: SmallPacs) -> None:
    """No match is an empty answer, not an error."""
    assert find(destination(pacs), Level.SERIES, {"StudyInstanceUID": "2.25.404", "SeriesInstanceUID": ""}) == ()


def test_storing_twice_is_no_error(pacs: SmallPacs, files: tuple[Path, ...]) -> None:
    """A delivery that is repeated succeeds."""
    for _ in range(2):
        store(destination(pacs), [sendable(files[0])])


def test_nobody_there_is_transient(files: tuple[Path, ...]) -> None:
    """A closed port raises the transient error, for every service."""
    nobody = Destination(ae_title="NOBODY", host="127.0.0.1", port=1, timeout_s=2.0)
    for call in (
        lambda: echo(nobody),
        lambda: store(nobody, [sendable(files[0])]),
        lambda: find(nobody, Level.STUDY, {"StudyInstanceUID": ""}),
        lambda: request(nobody, "2.25.7", [(MR_IMAGE, "2.25.1")]),
    ):
        with pytest.raises(PeerUnavailable) as caught:
            call()
        assert caught.value.transient


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, PeerUnavailable),
        (0x0110, PeerUnavailable),
        (0xA900, StoreRefused),
        (0xC001, StoreRefused),
        (0x0122, StoreRefused),
    ],
)
def test_the_status_decides_what_happens(
    tmp_path: Path, files: tuple[Path, ...], status: int, error: type[Exception]
) -> None:
    """Out of resources is tried again; a refusal carries its status (PS3.4 B.2.3)."""
    with small(tmp_path, PacsBehaviour(store_status=status)) as pacs, pytest.raises(error):
        store(destination(pacs), [sendable(files[0])])


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_is_a_success(tmp_path: Path, files: tuple[Path, ...], status: int) -> None:
    """Coercion and discarded elements are stored all the same."""
    with small(tmp_path, PacsBehaviour(store_status=status)) as pacs:
        store(destination(pacs), [sendable(files[0])])


def test_a_file_that_is_no_dicom_cannot_be_sent(tmp_path: Path) -> None:
    """The error says what was expected; the file's content is not quoted."""
    path = tmp_path / "notes.txt"
    path.write_text("patient CANARY")
    with pytest.raises(MalformedInstance) as caught:
        sendable(path)
    assert "CANARY" not in str(caught.value)


def test_a_commitment_request_is_taken(pacs: SmallPacs) -> None:
    """The N-ACTION is answered with success."""
    request(destination(pacs), "2.25.7", [(MR_IMAGE, "2.25.1")])
