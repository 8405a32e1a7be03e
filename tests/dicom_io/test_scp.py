import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE

from dicom_io.commitment import CommitmentResult, parse_result
from dicom_io.network import Destination, echo
from dicom_io.scp import Callbacks, StorageScp, admits
from dicom_io.services import SERVICES, Role, Use, for_use
from dicom_io.spool import Spool, StoredInstance
from sgmri.errors import MalformedInstance, PeerUnavailable
from sgmri.settings import Listener, Peer

MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class Running:
    scp: StorageScp
    spool: Spool
    stored: list[StoredInstance] = field(default_factory=list)
    committed: list[CommitmentResult] = field(default_factory=list)

    def destination(self, *, calling: str = "SCANNER", called: str = "SGMRI") -> Destination:
        return Destination(
            ae_title=called, host="127.0.0.1", port=self.scp.port, calling_ae_title=calling, timeout_s=5.0
        )


@contextmanager
def running(
    tmp_path: Path,
    *,
    peers: tuple[Peer, ...] = (Peer(ae_title="SCANNER"),),
    min_free_bytes: int = 0,
    max_instance_bytes: int = 1 << 30,
) -> Iterator[Running]:
    spool = Spool(tmp_path / "spool", min_free_bytes=min_free_bytes)
    stored: list[StoredInstance] = []
    committed: list[CommitmentResult] = []
    settings = Listener(port=0, peers=peers, network_timeout_s=5.0, max_instance_bytes=max_instance_bytes)
    scp = StorageScp(settings, spool, Callbacks(stored=stored.append, committed=committed.append))
    scp.start()
    try:
        yield Running(scp=scp, spool=spool, stored=stored, committed=committed)
    finally:
        scp.stop()


def mr_instance(uid: str = "2.25.101") -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = MR
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = "2.25.1"
    dataset.SeriesInstanceUID = "2.25.2"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def send(place: Running, dataset: Dataset) -> int | None:
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(MR, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", place.scp.port, ae_title="SGMRI")
    assert association.is_established
    response = association.send_c_store(dataset)
    association.release()
    status = response.get("Status")
    return None if status is None else int(status)


def test_an_instance_is_on_disk_when_success_is_answered(tmp_path: Path) -> None:
    """C-STORE answers 0x0000, the file is whole, and the journal's callback was told before."""
    with running(tmp_path) as place:
        assert send(place, mr_instance()) == 0x0000
        (stored,) = place.stored
        assert place.spool.path(stored.series_key, stored.file_name).stat().st_size == stored.size_bytes


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
def test_unknown_peers_are_rejected(tmp_path: Path, calling: str, called: str, peers: tuple[Peer, ...]) -> None:
    """Whoever is not configured, by AE title and address, gets no association."""
    with running(tmp_path, peers=peers) as place, pytest.raises(PeerUnavailable, match="rejected"):
        echo(place.destination(calling=calling, called=called))


def test_a_known_peer_from_its_own_address_is_let_in(tmp_path: Path) -> None:
    """C-ECHO succeeds for a peer that calls by its title from its address."""
    with running(tmp_path, peers=(Peer(ae_title="SCANNER", host="127.0.0.1"),)) as place:
        echo(place.destination())


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("uid", ["../../../evil", "1.2.x"])
def test_a_hostile_uid_is_refused_and_writes_nothing(tmp_path: Path, uid: str) -> None:
    """A SOP Instance UID that is a path answers a failure and leaves no file anywhere."""
    from pydicom import config

    dataset = mr_instance()
    with config.disable_value_validation():
        dataset.SOPInstanceUID = uid
        before = set(tmp_path.rglob("*"))
        with running(tmp_path) as place:
            status = send(place, dataset)
            assert status is not None
            assert status & 0xF000 in (0xA000, 0xC000)
            assert place.stored == []
    assert {path for path in set(tmp_path.rglob("*")) - before if path.is_file()} == set()


def test_the_watermark_answers_out_of_resources(tmp_path: Path) -> None:
    """Below the free-space watermark C-STORE answers 0xA700 and keeps nothing."""
    with running(tmp_path, min_free_bytes=1 << 60) as place:
        assert send(place, mr_instance()) == 0xA700
        assert place.stored == []


def test_an_oversized_instance_is_refused(tmp_path: Path) -> None:
    """Above the configured size C-STORE answers 0xA700."""
    with running(tmp_path, max_instance_bytes=64) as place:
        assert send(place, mr_instance()) == 0xA700


def test_a_journal_that_fails_is_no_success(tmp_path: Path) -> None:
    """If the roof cannot journal, the sender is told so, and sends again later."""

    def fail(instance: StoredInstance) -> None:
        raise RuntimeError("journal is away")

    scp = StorageScp(
        Listener(port=0, peers=(Peer(ae_title="SCANNER"),)),
        Spool(tmp_path / "spool"),
        Callbacks(stored=fail, committed=lambda result: None),
    )
    scp.start()
    try:
        assert send(Running(scp=scp, spool=Spool(tmp_path / "spool")), mr_instance()) == 0x0110
    finally:
        scp.stop()


def test_every_line_of_the_services_table_is_negotiated(tmp_path: Path) -> None:
    """Each SOP class and transfer syntax of the table is accepted, and a CT image is not."""
    with running(tmp_path) as place:
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


def test_associations_in_parallel_are_all_served(tmp_path: Path) -> None:
    """Four senders at once lose nothing."""
    with running(tmp_path) as place:
        threads = [
            threading.Thread(target=lambda k=k: [send(place, mr_instance(f"2.25.{k}{n}")) for n in range(5)])
            for k in range(1, 5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({stored.sop_instance_uid for stored in place.stored}) == 20


def test_rubbish_on_the_port_harms_nobody(tmp_path: Path) -> None:
    """HTTP and random bytes are dropped, and the next association works."""
    with running(tmp_path) as place:
        for rubbish in (b"GET / HTTP/1.0\r\n\r\n", bytes(range(256)) * 4):
            with socket.create_connection(("127.0.0.1", place.scp.port), timeout=5) as stream:
                stream.sendall(rubbish)
        echo(place.destination())


def test_an_empty_list_admits_nobody() -> None:
    """Deny by default: without peers no title and address may call."""
    assert not admits((), "SCANNER", "127.0.0.1")
    assert admits((Peer(ae_title="SCANNER", host="10.0.0.1"),), "SCANNER", "10.0.0.1")


def test_a_commitment_result_without_a_transaction_is_malformed() -> None:
    """An N-EVENT-REPORT that cannot be a result is refused (PS3.4 J.3.3)."""
    with pytest.raises(MalformedInstance):
        parse_result(1, Dataset())
    information = Dataset()
    information.TransactionUID = "2.25.9"
    with pytest.raises(MalformedInstance):
        parse_result(3, information)
