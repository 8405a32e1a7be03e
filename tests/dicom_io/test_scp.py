import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, build_role

from dicom_io.commitment import parse_result
from dicom_io.network import echo, rejection
from dicom_io.scp import Callbacks
from dicom_io.services import MR_IMAGE, SERVICES, STORAGE_COMMITMENT, UNCOMPRESSED, Role, Use, for_use
from dicom_io.spool import Spool
from dicom_io.stored import StoredInstance
from sgmri.errors import MalformedInstance, PeerUnavailable
from sgmri.settings import Listener, Peer
from tests import receivers
from tests.receivers import KINDS, Running, mr_instance

MR = MR_IMAGE
Run = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def running(kind: str) -> Run:
    """Run a receiver of each kind: everything here holds for all of them."""
    return partial(receivers.running, kind)


def send(place: Running, dataset: Dataset) -> int | None:
    return receivers.send(place, dataset)[0]


def test_an_instance_is_on_disk_when_success_is_answered(running: Run, tmp_path: Path) -> None:
    """C-STORE answers 0x0000, the file is whole, and the journal's callback was told before."""
    with running(tmp_path / "spool") as place:
        assert send(place, mr_instance()) == 0x0000
        (stored,) = place.stored
        (path,) = place.files()
        assert path.stat().st_size == stored.size_bytes


@pytest.mark.parametrize(
    ("calling", "called", "peers"),
    [
        ("STRANGER", "SGMRI", (Peer(ae_title="SCANNER"),)),
        ("SCANNER", "OTHER", (Peer(ae_title="SCANNER"),)),
        ("SCANNER", "SGMRI", (Peer(ae_title="SCANNER", host="192.0.2.7"),)),
        ("SCANNER", "SGMRI", ()),
    ],
    ids=["unknown calling AE", "wrong called AE", "right AE from another address", "nobody configured"],
)
def test_unknown_peers_are_rejected(
    running: Run, tmp_path: Path, calling: str, called: str, peers: tuple[Peer, ...]
) -> None:
    """Whoever is not configured, by AE title and address, gets no association."""
    with running(tmp_path / "spool", peers=peers) as place, pytest.raises(PeerUnavailable, match="rejected"):
        echo(place.destination(calling=calling, called=called))


def test_a_known_peer_from_its_own_address_is_let_in(running: Run, tmp_path: Path) -> None:
    """C-ECHO succeeds for a peer that calls by its title from its address."""
    with running(tmp_path / "spool", peers=(Peer(ae_title="SCANNER", host="127.0.0.1"),)) as place:
        echo(place.destination())


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("uid", ["../../../evil", "1.2.x"])
def test_a_hostile_uid_is_refused_and_writes_nothing(running: Run, tmp_path: Path, uid: str) -> None:
    """A SOP Instance UID that is a path answers a failure and leaves no file anywhere."""
    from pydicom import config

    dataset = mr_instance()
    with config.disable_value_validation():
        dataset.SOPInstanceUID = uid
        before = set(tmp_path.rglob("*"))
        with running(tmp_path / "spool") as place:
            status = send(place, dataset)
            assert status is not None
            assert status & 0xF000 in (0xA000, 0xC000)
            assert place.stored == []
    assert {path for path in set(tmp_path.rglob("*")) - before if path.is_file()} == set()


def test_below_the_watermark_no_association_for_storage_is_accepted(running: Run, tmp_path: Path) -> None:
    """Too little disk is told before data is sent, as temporary congestion; C-ECHO and commitment go on."""
    with running(Spool(tmp_path / "spool", min_free_bytes=1 << 60)) as place:
        ae = AE(ae_title="SCANNER")
        ae.add_requested_context(MR, ExplicitVRLittleEndian)
        answer = rejection(ae.associate("127.0.0.1", place.scp.port, ae_title="SGMRI"))
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)
        echo(place.destination())
        assert _accepts(place, STORAGE_COMMITMENT, str(ExplicitVRLittleEndian))
        assert place.stored == []


class _FillingSpool(Spool):
    """A spool whose disk fills up after the first question."""

    asked = 0

    def has_room(self, size_bytes: int) -> bool:
        self.asked += 1
        return self.asked == 1


def test_a_disk_that_fills_up_answers_out_of_resources(running: Run, tmp_path: Path) -> None:
    """Below the watermark an instance of an association that was accepted before gets 0xA700, and leaves nothing."""
    with running(_FillingSpool(tmp_path / "spool")) as place:
        assert send(place, mr_instance()) == 0xA700
        assert place.stored == []
        assert not list(tmp_path.rglob("*.part"))


def test_an_oversized_instance_is_refused(running: Run, tmp_path: Path) -> None:
    """Above the configured size C-STORE answers 0xA700."""
    with running(tmp_path / "spool", max_instance_bytes=64) as place:
        assert send(place, mr_instance()) == 0xA700


def test_a_journal_that_fails_is_no_success(kind: str, tmp_path: Path) -> None:
    """If the roof cannot journal, the sender is told so, and sends again later."""

    def fail(instance: StoredInstance) -> None:
        raise RuntimeError("journal is away")

    scp_class, durability = KINDS[kind]
    spool = Spool(tmp_path / "spool")
    settings = Listener(port=0, peers=(Peer(ae_title="SCANNER"),), durability=durability)
    scp = scp_class(settings, spool, Callbacks(stored=fail, committed=lambda result: None))
    scp.start()
    try:
        assert send(Running(scp=scp, spool=spool), mr_instance()) == 0x0110
    finally:
        scp.stop()


def test_every_line_of_the_services_table_is_negotiated(running: Run, tmp_path: Path) -> None:
    """Each SOP class and transfer syntax of the table is accepted, and a CT image is not."""
    with running(tmp_path / "spool") as place:
        for service in for_use(Use.ECHO, Use.READ, Use.SET_ASIDE, role=Role.SCP):
            ae = AE(ae_title="SCANNER")
            for syntax in service.transfer_syntaxes:
                ae.add_requested_context(service.sop_class_uid, syntax)
            association = ae.associate("127.0.0.1", place.scp.port, ae_title="SGMRI")
            accepted = {str(context.transfer_syntax[0]) for context in association.accepted_contexts}
            association.release()
            # pynetdicom merges contexts of one class: ask for the rest one by one
            for syntax in service.transfer_syntaxes:
                if str(syntax) not in accepted:
                    assert _accepts(place, service.sop_class_uid, str(syntax)), (service.name, syntax)
        assert not _accepts(place, "1.2.840.10008.5.1.4.1.1.2", str(ExplicitVRLittleEndian))
        assert not _accepts(place, MR, "1.2.840.10008.1.2.4.100")  # MPEG2


def _accepts(place: Running, sop_class: str, syntax: str) -> bool:
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(sop_class, syntax)
    association = ae.associate("127.0.0.1", place.scp.port, ae_title="SGMRI")
    accepted = bool(association.accepted_contexts)
    if association.is_established:
        association.release()
    return accepted


def test_explicit_little_endian_stands_first() -> None:
    """A sender that offers all uncompressed syntaxes is not made to convert its files."""
    assert all(service.transfer_syntaxes[0] == ExplicitVRLittleEndian for service in SERVICES)
    assert JPEG2000Lossless in for_use(Use.READ, role=Role.SCP)[0].transfer_syntaxes


def test_associations_in_parallel_are_all_served(running: Run, tmp_path: Path) -> None:
    """Four senders at once lose nothing."""
    with running(tmp_path / "spool") as place:
        threads = [
            threading.Thread(target=lambda k=k: [send(place, mr_instance(f"2.25.{k}{n}")) for n in range(5)])
            for k in range(1, 5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({stored.sop_instance_uid for stored in place.stored}) == 20


def test_rubbish_on_the_port_harms_nobody(running: Run, tmp_path: Path) -> None:
    """HTTP and random bytes are dropped, and the next association works."""
    with running(tmp_path / "spool") as place:
        for rubbish in (b"GET / HTTP/1.0\r\n\r\n", bytes(range(256)) * 4):
            with socket.create_connection(("127.0.0.1", place.scp.port), timeout=5) as stream:
                stream.sendall(rubbish)
        echo(place.destination())


def test_a_commitment_result_comes_on_the_peers_own_association(running: Run, tmp_path: Path) -> None:
    """A PACS that proposes the SCP role for storage commitment is accepted, and its N-EVENT-REPORT is told."""
    information = Dataset()
    information.TransactionUID = "2.25.9"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MR, "2.25.101"
    information.ReferencedSOPSequence = [item]
    with running(tmp_path / "spool") as place:
        for syntax in UNCOMPRESSED:
            ae = AE(ae_title="SCANNER")
            ae.add_requested_context(STORAGE_COMMITMENT, syntax)
            role = build_role(STORAGE_COMMITMENT, scp_role=True)
            association = ae.associate("127.0.0.1", place.scp.port, ae_title="SGMRI", ext_neg=[role])
            assert association.is_established
            assert association.accepted_contexts[0].as_scp
            for event_type, status in ((1, 0x0000), (3, 0x0110)):
                response, _ = association.send_n_event_report(
                    information, event_type, STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1"
                )
                assert response.Status == status
            association.release()
        assert [(told.transaction_uid, told.committed) for told in place.committed] == [("2.25.9", ("2.25.101",))] * 2


def test_both_receivers_write_the_same_file(tmp_path: Path) -> None:
    """Whichever receiver an instance came through, its file is the same, byte for byte."""
    files = []
    for kind in KINDS:
        with receivers.running(kind, tmp_path / kind) as place:
            dataset = mr_instance()
            dataset.TextValue = "x" * 70_000
            assert send(place, dataset) == 0x0000
            (path,) = place.files()
            files.append(path.read_bytes())
    assert len(files[0]) > 70_000
    assert files == [files[0]] * len(KINDS)


def test_a_commitment_result_without_a_transaction_is_malformed() -> None:
    """An N-EVENT-REPORT that cannot be a result is refused (PS3.4 J.3.3)."""
    with pytest.raises(MalformedInstance):
        parse_result(1, Dataset())
    information = Dataset()
    information.TransactionUID = "2.25.9"
    with pytest.raises(MalformedInstance):
        parse_result(3, information)
