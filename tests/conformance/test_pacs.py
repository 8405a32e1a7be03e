import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from time import monotonic, sleep

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    Comprehensive3DSRStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    SegmentationStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from conformance import pacs_archive
from conformance.pacs import PacsBehaviour, SmallPacs
from conformance.phantoms import CANARIES, make, make_non_mr
from dicom_io.network import rejection, settle
from sgmri.errors import ConfigError

PACS, US = "SMALLPACS", "TESTER"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
PEERS = {US: ("127.0.0.1", 1)}


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[SmallPacs]:
    with SmallPacs(PACS, directory=tmp_path / "pacs", peers=PEERS) as running:
        yield running


@contextmanager
def associated(
    pacs: SmallPacs,
    *sop_classes: str,
    calling: str = US,
    called: str = PACS,
    scp_roles: Sequence[str] = (),
    received: list[Dataset] | None = None,
) -> Iterator[Association]:
    """Open an association to the PACS; with ``received``, take what a C-GET stores."""

    def keep(event: evt.Event) -> int:
        assert received is not None
        ds = event.dataset
        ds.file_meta = event.file_meta
        received.append(ds)
        return 0x0000

    ae = AE(ae_title=calling)
    for uid in sop_classes:
        ae.add_requested_context(uid, UNCOMPRESSED)
    association = ae.associate(
        "127.0.0.1",
        pacs.port,
        ae_title=called,
        ext_neg=[build_role(uid, scp_role=True) for uid in scp_roles],
        evt_handlers=[(evt.EVT_C_STORE, keep)] if received is not None else [],
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
            association.join(timeout=10)


def store(pacs: SmallPacs, datasets: Sequence[Dataset]) -> list[int]:
    with associated(pacs, *{str(ds.SOPClassUID) for ds in datasets}) as association:
        assert association.is_established
        statuses = []
        for ds in datasets:
            settle(association)
            statuses.append(int(association.send_c_store(ds).Status))
        return statuses


def query(level: str, **keys: object) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def find(pacs: SmallPacs, identifier: Dataset) -> tuple[list[Dataset], int]:
    """Return the rows and the final status of a C-FIND."""
    rows, final = [], -1
    with associated(pacs, StudyRootQueryRetrieveInformationModelFind) as association:
        for status, row in association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind):
            final = int(status.Status)
            if final == 0xFF00:
                assert row is not None
                rows.append(row)
    return rows, final


def get(pacs: SmallPacs, identifier: Dataset, sop_class_uid: str) -> tuple[list[Dataset], Dataset]:
    """Return what a C-GET stored with us, and its final response."""
    received: list[Dataset] = []
    contexts = (StudyRootQueryRetrieveInformationModelGet, sop_class_uid)
    with associated(pacs, *contexts, scp_roles=[sop_class_uid], received=received) as association:
        responses = [s for s, _ in association.send_c_get(identifier, StudyRootQueryRetrieveInformationModelGet)]
    return received, responses[-1]


class Listener:
    """Takes storage commitment reports, as the SCU that asked for them would."""

    def __init__(self) -> None:
        self.reports: Queue[tuple[int, Dataset, str, float]] = Queue()
        self.refusals = 0

    @contextmanager
    def running(self) -> Iterator[tuple[str, int]]:
        ae = AE(ae_title=US)
        ae.require_called_aet = True
        ae.add_supported_context(StorageCommitmentPushModel, UNCOMPRESSED, scu_role=False, scp_role=True)
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)])
        assert server is not None and server.socket is not None
        try:
            yield server.socket.getsockname()
        finally:
            ae.shutdown()

    def _take(self, event: evt.Event) -> tuple[int, None]:
        if self.refusals:
            self.refusals -= 1
            return 0x0110, None
        assert event.event_type is not None
        caller = str(event.assoc.requestor.ae_title)
        self.reports.put((event.event_type, event.event_information, caller, monotonic()))
        return 0x0000, None


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def ask(pacs: SmallPacs, references: Sequence[Dataset], **changes: object) -> tuple[int, str]:
    """Send an N-ACTION and return its status and the transaction UID; ``changes`` spoil the request."""
    ds = Dataset()
    ds.TransactionUID = generate_uid(prefix=None)
    ds.ReferencedSOPSequence = list(references)
    with associated(pacs, StorageCommitmentPushModel) as association:
        status, _ = association.send_n_action(
            ds,
            int(str(changes.get("action_type", 1))),
            StorageCommitmentPushModel,
            str(changes.get("instance", StorageCommitmentPushModelInstance)),
        )
    return int(status.Status), str(ds.TransactionUID)


def test_echo_is_answered(pacs: SmallPacs) -> None:
    """C-ECHO succeeds on a running PACS."""
    with associated(pacs, Verification) as association:
        assert association.send_c_echo().Status == 0x0000


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", PACS), (US, "OTHERPACS")])
def test_wrong_ae_titles_are_rejected(pacs: SmallPacs, calling: str, called: str) -> None:
    """An unknown calling AE title, or a called one that is not ours, gets no association."""
    with associated(pacs, Verification, calling=calling, called=called) as association:
        assert rejection(association)
        assert not association.is_established


def test_small_messages_are_sent_at_once(pacs: SmallPacs) -> None:
    """The sockets of accepted associations have Nagle's algorithm switched off."""
    with associated(pacs, Verification) as association:
        assert association.is_established
        assert pacs._server is not None
        (accepted,) = pacs._server.active_associations
        assert accepted.dul.socket is not None and accepted.dul.socket.socket is not None
        assert accepted.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_storage_classes_and_syntaxes_are_accepted(pacs: SmallPacs) -> None:
    """MR, Enhanced MR, SR, SEG and label map SEG can be proposed, plain and compressed."""
    classes = [MRImageStorage, EnhancedMRImageStorage, Comprehensive3DSRStorage, SegmentationStorage, LABEL_MAP]
    ae = AE(ae_title=US)
    for uid in classes:
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless):
            ae.add_requested_context(uid, syntax)
    association = ae.associate("127.0.0.1", pacs.port, ae_title=PACS)
    assert len(association.accepted_contexts) == len(ae.requested_contexts)
    assert {str(context.abstract_syntax) for context in association.accepted_contexts} == set(map(str, classes))
    association.release()
    association.join(timeout=10)


def test_results_of_every_kind_are_stored(pacs: SmallPacs) -> None:
    """SR, SEG and label map SEG, which pynetdicom's tables do not all have, reach the archive."""
    results = []
    for number, uid in enumerate(map(UID, (Comprehensive3DSRStorage, SegmentationStorage, LABEL_MAP))):
        ds = make_non_mr()
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{number + 1}")
        results.append(ds)
    assert store(pacs, results) == [0x0000] * 3
    assert pacs.archive.sop_class_of("2.25.3") == LABEL_MAP


def test_stored_phantom_comes_back_equal(pacs: SmallPacs) -> None:
    """C-GET of a series returns every instance with the attributes and pixels that were stored."""
    phantom = make("knee-nonsquare")
    assert store(pacs, phantom.datasets) == [0x0000] * 22
    series = phantom.datasets[0]
    identifier = query("SERIES", StudyInstanceUID=series.StudyInstanceUID, SeriesInstanceUID=series.SeriesInstanceUID)
    received, final = get(pacs, identifier, MRImageStorage)
    assert (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (0, 22, 0)
    by_uid = {str(ds.SOPInstanceUID): ds for ds in received}
    assert [by_uid[str(ds.SOPInstanceUID)] for ds in phantom.datasets] == list(phantom.datasets)


def test_c_get_at_image_level_returns_one_multi_frame_instance(pacs: SmallPacs) -> None:
    """C-GET by SOP Instance UID returns just that instance, although the study holds more."""
    (ds,) = make("brain-enhanced").datasets
    other = make_non_mr()
    other.StudyInstanceUID = ds.StudyInstanceUID
    assert store(pacs, [ds, other]) == [0x0000, 0x0000]
    identifier = query(
        "IMAGE",
        StudyInstanceUID=ds.StudyInstanceUID,
        SeriesInstanceUID=ds.SeriesInstanceUID,
        SOPInstanceUID=ds.SOPInstanceUID,
    )
    received, final = get(pacs, identifier, EnhancedMRImageStorage)
    assert final.Status == 0x0000
    assert received == [ds]


def test_c_get_of_nothing_succeeds_and_without_a_key_is_refused(pacs: SmallPacs) -> None:
    """A retrieval of an unknown study transfers nothing; one without a study UID never means everything."""
    store(pacs, [make_non_mr()])
    received, final = get(pacs, query("STUDY", StudyInstanceUID="1.2.3"), MRImageStorage)
    assert (received, final.Status) == ([], 0x0000)
    received, final = get(pacs, query("STUDY", StudyInstanceUID=""), MRImageStorage)
    assert (received, final.Status) == ([], 0xA900)


def test_find_returns_one_row_for_each_entity_of_the_level(pacs: SmallPacs) -> None:
    """Study, series and image level count studies, series and instances, and return the keys asked for."""
    brain, ct = make("brain").datasets, make_non_mr()
    ct.StudyInstanceUID = brain[0].StudyInstanceUID
    store(pacs, [*brain, ct, *make("brain-enhanced").datasets])
    study_uid = brain[0].StudyInstanceUID

    keys = {"NumberOfStudyRelatedSeries": "", "NumberOfStudyRelatedInstances": "", "ModalitiesInStudy": ""}
    rows, final = find(pacs, query("STUDY", StudyInstanceUID="", PatientName="", StudyComments="", **keys))
    assert (len(rows), final) == (2, 0x0000)
    (row,) = (row for row in rows if row.StudyInstanceUID == study_uid)
    assert (row.NumberOfStudyRelatedSeries, row.NumberOfStudyRelatedInstances) == (2, 23)
    assert list(row.ModalitiesInStudy) == ["CT", "MR"]
    assert str(row.PatientName) == CANARIES.patient_name
    assert (row.QueryRetrieveLevel, row.RetrieveAETitle, row.InstanceAvailability) == ("STUDY", PACS, "ONLINE")
    assert "PatientID" not in row  # not asked for

    rows, _ = find(
        pacs,
        query(
            "SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", Modality="", NumberOfSeriesRelatedInstances=""
        ),
    )
    assert {(r.Modality, r.NumberOfSeriesRelatedInstances) for r in rows} == {("MR", 22), ("CT", 1)}
    assert len(rows) == 2

    rows, _ = find(
        pacs,
        query(
            "IMAGE",
            StudyInstanceUID=study_uid,
            SeriesInstanceUID=brain[0].SeriesInstanceUID,
            SOPInstanceUID="",
            SOPClassUID="",
        ),
    )
    assert sorted(r.SOPInstanceUID for r in rows) == sorted(ds.SOPInstanceUID for ds in brain)
    assert {r.SOPClassUID for r in rows} == {MRImageStorage}


def test_find_matches_single_values_and_lists_of_uids(pacs: SmallPacs) -> None:
    """A single value must be equal, a list of UIDs contains, an empty key or a lone asterisk matches all."""
    brain = make("brain").datasets
    store(pacs, brain)
    study_uid, series_uid = brain[0].StudyInstanceUID, brain[0].SeriesInstanceUID
    for patient_id, expected in ((CANARIES.patient_id, 1), ("CANARY-ID", 0), ("*", 1), ("", 1)):
        rows, final = find(pacs, query("STUDY", StudyInstanceUID="", PatientID=patient_id))
        assert (len(rows), final) == (expected, 0x0000)
    assert len(find(pacs, query("STUDY", StudyInstanceUID="", ModalitiesInStudy="MR"))[0]) == 1
    assert len(find(pacs, query("STUDY", StudyInstanceUID="", ModalitiesInStudy="SR"))[0]) == 0
    two = [brain[0].SOPInstanceUID, brain[5].SOPInstanceUID, "1.2.3"]
    keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": two}
    rows, _ = find(pacs, query("IMAGE", **keys))
    assert {r.SOPInstanceUID for r in rows} == set(two[:2])
    assert find(pacs, query("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID=""))[0] == []


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        (query("SERIES", SeriesInstanceUID=""), 0xA900),
        (query("IMAGE", StudyInstanceUID="1.2", SOPInstanceUID=""), 0xA900),
        (query("IMAGE", StudyInstanceUID=["1.2", "1.3"], SeriesInstanceUID="1.4"), 0xA900),
        (query("PATIENT", PatientID=""), 0xA900),
        (query("STUDY", PatientName="CANARY*"), 0xC000),
        (query("STUDY", StudyDate="20260101-20260201"), 0xC000),
    ],
)
def test_queries_that_would_be_answered_wrongly_are_refused(
    pacs: SmallPacs, identifier: Dataset, expected: int
) -> None:
    """Missing keys of higher levels, wildcards and ranges are failures, never an empty list of matches."""
    store(pacs, [make_non_mr()])
    assert find(pacs, identifier) == ([], expected)


def test_same_instance_stored_twice_is_one(pacs: SmallPacs) -> None:
    """A resent instance replaces the first."""
    ds = make_non_mr()
    assert store(pacs, [ds, ds]) == [0x0000, 0x0000]
    assert len(pacs.archive) == 1


def test_instance_that_is_not_what_the_request_says_is_refused(pacs: SmallPacs) -> None:
    """A data set without its study, or under another SOP class, is refused and not kept."""
    ds = make_non_mr()
    del ds.StudyInstanceUID
    assert store(pacs, [ds]) == [0xA900]
    assert len(pacs.archive) == 0


def test_file_names_come_from_no_header(pacs: SmallPacs, tmp_path: Path) -> None:
    """Files lie flat under hashed names, whatever the UIDs are, and nothing half-written stays."""
    store(pacs, make("brain-enhanced").datasets)
    (path,) = (tmp_path / "pacs").iterdir()
    assert len(path.stem) == 40
    assert set(path.stem) <= set("0123456789abcdef")
    assert path.suffix == ".dcm"


def test_restart_keeps_instances(tmp_path: Path) -> None:
    """What was stored is found again by a new PACS on the same directory, and by the same one started again."""
    phantom = make("brain")
    pacs = SmallPacs(PACS, directory=tmp_path, peers=PEERS)
    with pacs:
        store(pacs, phantom.datasets)
    (tmp_path / "abandoned.part").write_bytes(b"half")
    with pacs:
        assert len(pacs.archive) == 22
        with associated(pacs, Verification) as association:
            assert association.send_c_echo().Status == 0x0000
    with SmallPacs(PACS, directory=tmp_path, peers=PEERS) as again:
        assert len(again.archive) == 22
        rows, _ = find(again, query("STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances=""))
        assert [row.NumberOfStudyRelatedInstances for row in rows] == [22]
    assert not list(tmp_path.glob("*.part"))


def test_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    """A file that is no DICOM instance stops the PACS instead of vanishing from its answers."""
    (tmp_path / "note.dcm").write_bytes(b"no DICOM")
    with pytest.raises(ConfigError, match="only stored instances"):
        SmallPacs(PACS, directory=tmp_path, peers=PEERS)


def test_life_cycle_errors_say_what_to_do(tmp_path: Path) -> None:
    """No peers, a port before the start, a second start and a taken port are configuration errors."""
    with pytest.raises(ConfigError, match="at least one peer"):
        SmallPacs(PACS, directory=tmp_path, peers={})
    pacs = SmallPacs(PACS, directory=tmp_path, peers=PEERS)
    pacs.stop()
    with pytest.raises(ConfigError, match="not started"):
        _ = pacs.port
    with pacs:
        with pytest.raises(ConfigError, match="running one"):
            pacs.start()
        taken = SmallPacs(PACS, directory=tmp_path / "other", peers=PEERS, port=pacs.port)
        with pytest.raises(ConfigError, match="choose another port"):
            taken.start()
    pacs.stop()


@pytest.mark.parametrize(("status", "kept"), [(0xA700, 0), (0xC000, 0), (0xB000, 1)])
def test_store_status_can_be_ordered(tmp_path: Path, status: int, kept: int) -> None:
    """A failure is answered and stores nothing; a warning is answered and stores."""
    with SmallPacs(PACS, directory=tmp_path, peers=PEERS, behaviour=PacsBehaviour(store_status=status)) as pacs:
        assert store(pacs, [make_non_mr()]) == [status]
        assert len(pacs.archive) == kept


def test_full_archive_and_lost_directory_are_out_of_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing more can be kept, the sender hears 0xA700 and may try again (PS3.4 B.2.3)."""
    directory = tmp_path / "pacs"
    with SmallPacs(PACS, directory=directory, peers=PEERS) as pacs:
        monkeypatch.setattr(pacs_archive, "MAX_INSTANCES", 1)
        assert store(pacs, [make_non_mr(), make_non_mr(seed=1)]) == [0x0000, 0xA700]
        monkeypatch.undo()
        shutil.rmtree(directory)
        assert store(pacs, [make_non_mr(seed=2)]) == [0xA700]
        assert len(pacs.archive) == 1


# pynetdicom 3.0.4 drops the socket of a refused connection without closing it
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("refuses", ["association", "role"])
def test_undeliverable_report_is_given_up_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture, refuses: str) -> None:
    """A peer that is not there, or will not be SCU, is given up after a while, with a warning without a name in it."""
    ae = AE(ae_title=US)
    ae.add_supported_context(StorageCommitmentPushModel, UNCOMPRESSED)  # no role selection: we stay SCP ourselves
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None and server.socket is not None
    address = server.socket.getsockname()
    if refuses == "association":
        ae.shutdown()
    impatient = PacsBehaviour(commitment_patience_s=1.5)
    with SmallPacs(PACS, directory=tmp_path, peers={US: address}, behaviour=impatient) as pacs:
        assert ask(pacs, [reference(MRImageStorage, "1.2.3")])[0] == 0x0000
        ends = monotonic() + 20
        while "could not be delivered" not in caplog.text and monotonic() < ends:
            sleep(0.1)
    ae.shutdown()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("conformance")]
    assert any("could not be delivered" in message for message in ours)
    assert any("role of SCU" in message for message in ours) == (refuses == "role")
    assert not any(US in message or "1.2.3" in message for message in ours)


def test_stopping_closes_a_connection_that_has_asked_for_nothing_yet(tmp_path: Path) -> None:
    """A peer that has connected but not sent its A-ASSOCIATE-RQ is cut off; no thread ends with an exception."""
    with SmallPacs(PACS, directory=tmp_path, peers=PEERS) as pacs:
        connection = socket.create_connection(("127.0.0.1", pacs.port), timeout=10)
        sleep(0.2)  # the acceptor's thread has begun
    with connection:
        assert connection.recv(1) == b""


def test_commitment_of_stored_instances_arrives_on_a_new_association(tmp_path: Path) -> None:
    """The PACS calls back as SCP and reports every instance under the transaction UID, event type 1."""
    listener = Listener()
    datasets = make("brain").datasets
    with listener.running() as address, SmallPacs(PACS, directory=tmp_path, peers={US: address}) as pacs:
        store(pacs, datasets)
        status, transaction_uid = ask(pacs, [reference(ds.SOPClassUID, ds.SOPInstanceUID) for ds in datasets])
        assert status == 0x0000
        event_type, report, caller, _ = listener.reports.get(timeout=20)
    assert (event_type, report.TransactionUID, caller) == (1, transaction_uid, PACS)
    kept = [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence]
    assert kept == [ds.SOPInstanceUID for ds in datasets]
    assert "FailedSOPSequence" not in report


def test_commitment_reports_each_missing_instance(tmp_path: Path) -> None:
    """Event type 2 names what is kept and, with its reason, what is not there or of another class."""
    listener = Listener()
    ds, other = make_non_mr(), make_non_mr(seed=1)
    with listener.running() as address, SmallPacs(PACS, directory=tmp_path, peers={US: address}) as pacs:
        store(pacs, [ds, other])
        wanted = [
            reference(ds.SOPClassUID, ds.SOPInstanceUID),
            reference(MRImageStorage, "2.25.404"),
            reference(MRImageStorage, other.SOPInstanceUID),
        ]
        assert ask(pacs, wanted)[0] == 0x0000
        event_type, report, _, _ = listener.reports.get(timeout=20)
    assert event_type == 2
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [ds.SOPInstanceUID]
    failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in report.FailedSOPSequence}
    assert failed == {"2.25.404": 0x0112, other.SOPInstanceUID: 0x0119}


def test_commitment_can_be_late(tmp_path: Path) -> None:
    """With a delay the report comes after it, on what is stored by then."""
    listener = Listener()
    ds = make_non_mr()
    behaviour = PacsBehaviour(commitment_delay_s=1.0)
    with (
        listener.running() as address,
        SmallPacs(PACS, directory=tmp_path, peers={US: address}, behaviour=behaviour) as pacs,
    ):
        asked_at = monotonic()
        assert ask(pacs, [reference(ds.SOPClassUID, ds.SOPInstanceUID)])[0] == 0x0000
        store(pacs, [ds])
        event_type, _, _, came_at = listener.reports.get(timeout=20)
    assert event_type == 1
    assert came_at - asked_at >= 1.0


def test_commitment_can_fail_and_can_be_silent(tmp_path: Path) -> None:
    """Ordered failures fail every instance with 0x0110; an ordered silence stays one."""
    listener = Listener()
    ds = make_non_mr()
    wanted = [reference(ds.SOPClassUID, ds.SOPInstanceUID)]
    with listener.running() as address:
        failing = PacsBehaviour(commitment_failures=True)
        with SmallPacs(PACS, directory=tmp_path, peers={US: address}, behaviour=failing) as pacs:
            store(pacs, [ds])
            ask(pacs, wanted)
            event_type, report, _, _ = listener.reports.get(timeout=20)
            assert (event_type, report.FailedSOPSequence[0].FailureReason) == (2, 0x0110)
        silent = PacsBehaviour(answers_commitment=False)
        with SmallPacs(PACS, directory=tmp_path, peers={US: address}, behaviour=silent) as pacs:
            assert ask(pacs, wanted)[0] == 0x0000
            with pytest.raises(Empty):
                listener.reports.get(timeout=1.5)


def test_commitment_report_is_sent_again_until_it_is_taken(tmp_path: Path) -> None:
    """A peer that cannot take the report for some seconds, as when it restarts, gets it in the end."""
    listener = Listener()
    listener.refusals = 4
    ds = make_non_mr()
    with listener.running() as address, SmallPacs(PACS, directory=tmp_path, peers={US: address}) as pacs:
        store(pacs, [ds])
        ask(pacs, [reference(ds.SOPClassUID, ds.SOPInstanceUID)])
        assert listener.reports.get(timeout=20)[0] == 1


@pytest.mark.parametrize(
    ("references", "changes", "expected"),
    [
        ([], {}, 0x0115),
        ([reference("1.2.3", "")], {}, 0x0115),
        ([reference("1.2.3", "1.2.4")], {"action_type": 2}, 0x0123),
        ([reference("1.2.3", "1.2.4")], {"instance": "1.2.3"}, 0x0112),
    ],
)
def test_malformed_commitment_requests_are_refused(
    pacs: SmallPacs, references: list[Dataset], changes: dict[str, object], expected: int
) -> None:
    """Requests without references, with another action or at another instance are answered with their reason."""
    assert ask(pacs, references, **changes)[0] == expected


def test_stop_does_not_wait_for_an_unreachable_peer(tmp_path: Path) -> None:
    """A PACS whose commitment report is due much later stops at once."""
    behaviour = PacsBehaviour(commitment_delay_s=600.0)
    with SmallPacs(PACS, directory=tmp_path, peers=PEERS, behaviour=behaviour) as pacs:
        assert ask(pacs, [reference(MRImageStorage, "1.2.3")])[0] == 0x0000
        started = monotonic()
        pacs.stop()
        assert monotonic() - started < 10
