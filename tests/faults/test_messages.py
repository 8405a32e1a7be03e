"""Rows 10, 12 to 17, 25 to 30 and 35 to 37 of the fault table: PDUs, commands and data sets that are wrong."""

import resource
import socket
import struct
import threading
import zlib
from pathlib import Path

import pytest
from pydicom import config
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pynetdicom import AE

from dicom_io.headers import quietly, read_file
from dicom_io.network import echo, settle
from dicom_io.services import MR_IMAGE, VERIFICATION
from dicom_io.spool import Spool
from sgmri.errors import MalformedInstance
from tests import receivers
from tests.faults import wire
from tests.faults.conftest import Run
from tests.receivers import mr_instance

cannot = pytest.mark.pynetdicom_cannot
ABORT_INVALID = (7, bytes([0, 0, 2, 6]))


def leftovers(tmp_path: Path) -> list[Path]:
    """Return the files under the test's folder other than stored instances and segments in use."""
    return [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".dcm", ".segment")]


@cannot("it takes PDUs of any length")
@pytest.mark.parametrize("length", [(1 << 17) + 65, 1 << 31, 0xFFFFFFFF])
def test_a_pdu_longer_than_offered_is_aborted(running: Run, tmp_path: Path, length: int) -> None:
    """Row 10: a P-DATA-TF above our maximum is aborted at its header as an invalid value (PS3.8 9.3.8)."""
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        peer.send(wire.c_store() + wire.pdu(4, b"", length))
        assert peer.pdu() == ABORT_INVALID
        echo(place.destination())


@pytest.mark.parametrize(
    "pdu",
    [
        wire.pdu(4, wire.pdv(1, 3, b"", 0)),
        wire.pdu(4, wire.pdv(1, 3, b"", 1)),
        wire.pdu(4, wire.pdv(1, 3, b"abc", 500)),
        wire.pdu(4, b"\0\0\0"),
        wire.pdu(4, wire.pdv(99, 3, wire.command(field=0x30, message_id=1, data_set=0x101))),
    ],
    ids=["length 0", "length 1", "longer than its PDU", "cut", "unknown context"],
)
def test_items_that_do_not_fit_are_aborted(running: Run, tmp_path: Path, pdu: bytes) -> None:
    """Row 12: a data value item that cannot be, or an unknown presentation context, ends the association."""
    with running(tmp_path / "spool", network_timeout_s=2.0) as place:
        with wire.associated(place) as peer:
            peer.send(pdu)
            answer = peer.pdu()
            assert answer is None or answer[0] == 7
        echo(place.destination())


@pytest.mark.parametrize(
    "command",
    [
        {"sop_class": MR_IMAGE, "field": 1, "priority": 0, "data_set": 0, "instance": "2.25.101"},
        {"field": 1, "message_id": 1, "priority": 0, "data_set": 0},
        {"sop_class": MR_IMAGE, "message_id": 1, "data_set": 0},
        {"sop_class": MR_IMAGE, "field": 0x7777, "message_id": 1, "data_set": 0},
    ],
    ids=["no Message ID", "no SOP UIDs", "no Command Field", "unknown Command Field"],
)
@cannot("it gives no answer, or ends its thread without one")
def test_a_command_that_lacks_something_is_answered(
    running: Run, tmp_path: Path, command: dict[str, int | str]
) -> None:
    """Row 13: never silence: a failure status, or A-ABORT."""
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        peer.send(wire.p_data(1, 3, wire.command(**command)) + wire.data(wire.data_set()))
        status = peer.status()
        assert status is None or status & 0xF000 in (0xA000, 0xC000) or status == 0x0122
        assert place.stored == []
        echo(place.destination())


@cannot("it has no limit on a command set")
def test_a_command_set_without_end_is_aborted(running: Run, tmp_path: Path) -> None:
    """Row 13: a command set of more than 64 KB ends the association."""
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        for _ in range(70):
            peer.send(wire.p_data(1, wire.COMMAND, bytes(1000)))
        assert peer.pdu() == ABORT_INVALID


def test_requests_that_do_not_wait_are_answered_in_order(running: Run, tmp_path: Path) -> None:
    """Row 14: a second C-STORE before the first response is processed after it."""
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        uids = [f"2.25.{number}" for number in range(101, 105)]
        peer.send(b"".join(wire.c_store(uid) + wire.data(wire.data_set(mr_instance(uid))) for uid in uids))
        assert [peer.status() for _ in uids] == [0, 0, 0, 0]
        assert [stored.sop_instance_uid for stored in place.stored] == uids


@pytest.mark.parametrize(
    "message",
    [wire.data(b"nobody asked"), wire.c_store(data_set=0x101), wire.c_store() + wire.c_store()],
    ids=["data without command", "C-STORE without data", "command within data"],
)
def test_a_message_out_of_order_ends_the_association(running: Run, tmp_path: Path, kind: str, message: bytes) -> None:
    """Row 15: data without a command, or the other way round, is aborted."""
    if kind == "pynetdicom":
        pytest.skip("limitation of pynetdicom's receiver: it waits for more, or answers what was not asked")
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        peer.send(message)
        assert peer.pdu() == (7, bytes(4))
        echo(place.destination())
        assert leftovers(tmp_path) == []


@cannot("it keeps in memory whatever comes, to the end")
def test_an_instance_without_end_is_refused(running: Run, tmp_path: Path) -> None:
    """Row 16: above the limit the file goes; what goes on coming is drained for a while, then aborted."""
    with running(tmp_path / "spool", max_instance_bytes=1 << 20) as place:
        with wire.associated(place) as peer:
            assert peer.store(wire.data_set(pixel_bytes=1 << 20)) == 0xA700
            assert leftovers(tmp_path) == []
            assert peer.store(wire.data_set()) == 0x0000
            peer.send(wire.c_store("2.25.102"))
            for _ in range(50):
                peer.send(wire.data(bytes(65_000), last=False))
            assert peer.pdu() in ((7, bytes(4)), None)
        echo(place.destination())
        assert leftovers(tmp_path) == []


def test_a_connection_cut_in_mid_instance_leaves_nothing(running: Run, tmp_path: Path) -> None:
    """Row 17: what was sent of it is removed, and the sender can send it again."""
    content = wire.data_set(pixel_bytes=300_000)
    with running(tmp_path / "spool", network_timeout_s=2.0) as place:
        for hard in (False, True):
            with wire.associated(place) as peer:
                peer.send((wire.c_store() + wire.data(content))[:200_000])
                if hard:
                    peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with wire.associated(place) as peer:
            assert peer.store(content) == 0x0000
        assert len(place.stored) == 1
        assert place.files()[0].read_bytes().endswith(content)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("uid", ["../../../evil", "/etc/evil", "1.2\0.3", "1.2.abc", "1." + "2" * 64])
@pytest.mark.parametrize("where", ["command", "data set", "both"])
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_uid_that_is_none_is_refused(running: Run, tmp_path: Path, kind: str, uid: str, where: str) -> None:
    """Row 25: paths, NUL, letters, 66 characters: 0xA900, and nothing is written anywhere."""
    if kind == "pynetdicom" and where != "data set" and len(uid) > 64:
        pytest.skip("limitation of pynetdicom's receiver: it aborts for a UID in the command that is too long")
    with config.disable_value_validation():
        content = wire.data_set(mr_instance(uid if where != "command" else "2.25.101"))
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        assert peer.store(content, uid if where != "data set" else "2.25.101") == 0xA900
        assert place.stored == []
        assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".segment"] == []


def test_a_command_for_another_instance_is_refused(running: Run, tmp_path: Path) -> None:
    """Row 26: the command's SOP Instance UID is not the data set's: 0xA900 (PS3.4 B.2.3)."""
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        assert peer.store(wire.data_set(), "2.25.102") == 0xA900
        assert leftovers(tmp_path) == []
        assert place.stored == []


def test_a_sop_class_of_another_context_is_not_supported(running: Run, tmp_path: Path) -> None:
    """Row 27: a C-STORE of a SOP class that was not negotiated for its context: 0x0122 (PS3.7 Annex C)."""
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        peer.send(wire.c_store(sop_class="1.2.840.10008.5.1.4.1.1.2") + wire.data(wire.data_set()))
        assert peer.status() == 0x0122


def test_a_private_sop_class_is_not_accepted(running: Run, tmp_path: Path) -> None:
    """Row 27: a context for a private SOP class is refused as unsupported abstract syntax (PS3.8 9.3.3.2)."""
    body = wire.request_body(wire.CONTEXTS + wire.context(5, "1.3.12.2.1107.5.9.1"))
    with running(tmp_path / "spool") as place, wire.calling(place) as peer:
        answer = peer.associate(body)
        assert answer is not None
        assert answer[0] == 2
        assert b"\x21\0\0\x1b\5\0\3\0" in answer[1]


@pytest.mark.parametrize("cut", [1, 500, 100_000])
def test_a_truncated_data_set_is_set_aside(running: Run, tmp_path: Path, cut: int) -> None:
    """Row 28: pixel data cut short but marked last: 0xC000, and what came lies in the quarantine."""
    content = wire.data_set(pixel_bytes=200_000)[:-cut]
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        assert peer.store(content) == 0xC000
        assert place.stored == []
        (kept,) = (tmp_path / "spool" / "quarantine").iterdir()
        assert kept.read_bytes().endswith(content)
        assert peer.store(wire.data_set(pixel_bytes=200_000)) == 0x0000


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_without_its_study_or_series_is_set_aside(running: Run, tmp_path: Path, keyword: str) -> None:
    """Row 29: it cannot be placed: 0xC000 and the quarantine."""
    dataset = mr_instance()
    delattr(dataset, keyword)
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        assert peer.store(wire.data_set(dataset)) == 0xC000
        assert len(list((tmp_path / "spool" / "quarantine").iterdir())) == 1
        assert place.stored == []


def test_twenty_thousand_nested_sequences_are_stored_and_fail_later(running: Run, tmp_path: Path) -> None:
    """Row 30: the listener keeps the bytes; who reads them gets our error, not an exhausted stack."""
    opened = (b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 20_000
    closed = (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * 20_000
    content = wire.data_set()
    place_at = content.index(b"\x20\x00\x0d\x00")
    content = content[:place_at] + opened + closed + content[place_at:]
    with running(tmp_path / "spool") as place:
        with wire.associated(place) as peer:
            assert peer.store(content) == 0x0000
        (path,) = place.files()
        with quietly(), pytest.raises(MalformedInstance):
            read_file(path, header_only=True, max_bytes=1 << 20)


def test_a_deflate_bomb_is_kept_as_it_came(running: Run, tmp_path: Path) -> None:
    """Row 31: 256 MiB of zeros in 256 KB cost the listener no memory."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = squeeze.compress(wire.data_set(pixel_bytes=0) + struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", 1 << 28))
    bomb += b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(256)) + squeeze.flush()
    body = wire.request_body(wire.context(1, MR_IMAGE, DeflatedExplicitVRLittleEndian))
    with running(tmp_path / "spool") as place, wire.calling(place) as peer:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peer.associate(body)
        assert peer.store(bomb) == 0x0000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024
        assert place.files()[0].read_bytes().endswith(bomb)


@pytest.mark.parametrize(
    "odd",
    [
        b"\x20\x00\x11\x00ZZ\x02\x00ab",
        b"\x20\x00\x11\x00DS\x04\x00abc ",
        b"\x20\x00\x11\x00US\x03\x00abc",
        b"\x20\x00\x11\x00IS\x04\x001.5 ",
    ],
    ids=["unknown VR", "text in DS", "US of 3 bytes", "IS 1.5"],
)
def test_odd_values_are_kept(running: Run, tmp_path: Path, odd: bytes) -> None:
    """Row 33: what a tolerant reader can pass over is stored as it came."""
    content = wire.data_set()
    place_at = content.index(b"\x28\x00\x00\x01")
    content = content[:place_at] + odd + content[place_at:]
    with running(tmp_path / "spool") as place, wire.associated(place) as peer:
        assert peer.store(content) == 0x0000
        assert place.files()[0].read_bytes().endswith(content)


def test_the_same_instance_twice_is_one_file(running: Run, tmp_path: Path) -> None:
    """Row 35: sent again, byte for byte, it succeeds and there is one copy."""
    with running(tmp_path / "spool") as place:
        for _ in range(2):
            with wire.associated(place) as peer:
                assert peer.store(wire.data_set()) == 0x0000
        assert [(stored.was_there, stored.differs) for stored in place.stored] == [(False, False), (True, False)]
        assert len({path for path in place.files() if path.exists()}) == 1
        assert leftovers(tmp_path) == []


def test_the_same_uid_with_other_bytes_keeps_both(running: Run, tmp_path: Path) -> None:
    """Row 36: it succeeds, the conflict is told, the first copy is read and the other kept beside it."""
    first, second = wire.data_set(pixel_bytes=1000), wire.data_set(pixel_bytes=2000)
    with running(tmp_path / "spool") as place:
        with wire.associated(place) as peer:
            assert [peer.store(first), peer.store(second)] == [0x0000, 0x0000]
        assert place.stored[1].differs
        path = place.files()[0]
        assert path.read_bytes().endswith(first)
        (other,) = path.parent.glob("*.other")
        assert other.read_bytes().endswith(second)


def test_one_study_over_four_associations_is_one_series(running: Run, tmp_path: Path) -> None:
    """Row 37: instances of a series may come on several associations at once."""
    with running(tmp_path / "spool") as place:
        statuses: list[int | None] = []

        def sender(number: int) -> None:
            uids = [f"2.25.{number}{count}" for count in range(10)]
            statuses.extend(receivers.send(place, *(mr_instance(uid) for uid in uids)))

        threads = [threading.Thread(target=sender, args=(number,)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [0x0000] * 40
        assert len({stored.series_key for stored in place.stored}) == 1
        assert len({path for path in place.files() if path.exists()}) == 40
        later = Spool(tmp_path / "spool")
        assert len(list(later.names())) == 40


def test_echo_and_storage_share_an_association(running: Run, tmp_path: Path) -> None:
    """C-ECHO between two instances is answered, and a request that is not its context's is not taken."""
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(VERIFICATION)
    ae.add_requested_context(MR_IMAGE)
    with running(tmp_path / "spool") as place:
        association = ae.associate("127.0.0.1", place.scp.port, ae_title="SGMRI")
        assert association.send_c_store(mr_instance("2.25.1")).Status == 0
        settle(association)
        assert association.send_c_echo().Status == 0
        settle(association)
        assert association.send_c_store(mr_instance("2.25.2")).Status == 0
        association.release()
        assert len(place.stored) == 2
