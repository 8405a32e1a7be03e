"""Rows 1 to 11 of the fault table: who calls, how many, how slowly, and what they say first."""

import os
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from dicom_io.network import echo
from dicom_io.services import MR_IMAGE
from sgmri.errors import PeerUnavailable
from sgmri.settings import Peer
from tests.faults import wire
from tests.faults.conftest import Run
from tests.receivers import Running

cannot = pytest.mark.pynetdicom_cannot
PEERS = (Peer(ae_title="SCANNER"), Peer(ae_title="OTHER"))


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (wire.request_body(called="ELSE"), (1, 1, 7)),
        (wire.request_body(calling="STRANGER"), (1, 1, 3)),
    ],
    ids=["row 1: called AE title", "row 2: calling AE title"],
)
def test_titles_that_are_not_known_are_rejected(
    running: Run, tmp_path: Path, body: bytes, answer: tuple[int, int, int]
) -> None:
    """Rows 1 and 2: the rejection says whether our title or theirs is not recognised (PS3.8 9.3.4)."""
    with running(tmp_path / "spool") as place, wire.calling(place) as peer:
        assert peer.associate(body) == (3, bytes([0, *answer]))


def test_another_address_is_rejected(running: Run, tmp_path: Path) -> None:
    """Row 2: a known title from another address than its own is not recognised."""
    peers = (Peer(ae_title="SCANNER", host="192.0.2.7"),)
    with running(tmp_path / "spool", peers=peers) as place, wire.calling(place) as peer:
        assert peer.associate() == (3, bytes([0, 1, 1, 3]))


@cannot("it neither compares the protocol version nor the application context name")
@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (wire.request_body(version=2), (1, 2, 2)),
        (wire.request_body().replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9"), (1, 1, 2)),
    ],
    ids=["protocol version", "application context"],
)
def test_another_protocol_is_rejected(running: Run, tmp_path: Path, body: bytes, answer: tuple[int, int, int]) -> None:
    """Rows 1 and 2: an unknown protocol version or application context is rejected with its own reason."""
    with running(tmp_path / "spool") as place, wire.calling(place) as peer:
        assert peer.associate(body) == (3, bytes([0, *answer]))


def test_too_many_associations_are_rejected_for_now(running: Run, tmp_path: Path) -> None:
    """Row 3: above the limit the answer is "local limit exceeded", and a place that is free again is given."""
    with running(tmp_path / "spool", max_associations=3) as place, ExitStack() as held:
        peers = [held.enter_context(wire.associated(place)) for _ in range(3)]
        with wire.calling(place) as fourth:
            assert fourth.associate() == (3, bytes([0, 2, 3, 2]))
        peers[0].send(wire.RELEASE_RQ)
        assert peers[0].pdu() == (6, bytes(4))
        peers[0].stream.close()
        deadline = time.monotonic() + 20
        while not _is_served(place):
            assert time.monotonic() < deadline


def _is_served(place: Running) -> bool:
    try:
        echo(place.destination())
    except PeerUnavailable:
        return False
    return True


@cannot("it counts all peers together")
def test_a_peer_that_takes_all_it_can_leaves_room_for_others(running: Run, tmp_path: Path) -> None:
    """Row 3: of 200 associations of one peer, at most its share is accepted, and another peer is served."""
    limits = {"max_associations": 8, "max_associations_per_peer": 100}
    with running(tmp_path / "spool", peers=PEERS, **limits) as place, ExitStack() as held:
        answers = [held.enter_context(wire.calling(place)).associate() for _ in range(200)]
        assert sum(answer is not None and answer[0] == 2 for answer in answers) == 7
        assert all(answer == (3, bytes([0, 2, 3, 2])) for answer in answers[7:])
        echo(place.destination(calling="OTHER"))
    with running(tmp_path / "own", peers=PEERS, max_associations_per_peer=2) as place, ExitStack() as held:
        answers = [held.enter_context(wire.calling(place)).associate() for _ in range(3)]
        assert [answer and answer[0] for answer in answers] == [2, 2, 3]


@cannot("silent connections count as associations until the request timeout has passed")
def test_silent_connections_shut_nobody_out(running: Run, tmp_path: Path) -> None:
    """Rows 3, 4: with 200 connections that say nothing, peers are served, and threads stay bounded."""
    with running(tmp_path / "spool", request_timeout_s=60.0) as place, ExitStack() as held:
        streams = [held.enter_context(wire.calling(place)).stream for _ in range(200)]
        before = len(list(Path("/proc/self/task").iterdir()))
        for _ in range(3):
            echo(place.destination())
        assert before < 100
        assert streams[0].recv(1) == b""  # the oldest made room


def test_a_silent_connection_is_closed(running: Run, tmp_path: Path) -> None:
    """Row 4: without a request the connection is closed after the request timeout (ARTIM), others are served."""
    with running(tmp_path / "spool", request_timeout_s=0.5) as place, wire.calling(place) as silent:
        echo(place.destination())
        assert silent.pdu() in (None, (7, bytes(4)), (7, bytes([0, 0, 2, 0])))


SLOW = {
    "in the request": (b"", wire.pdu(1, wire.request_body())),
    "in a PDU's header": (wire.pdu(1, wire.request_body()), b"\4\0\0\0\1\0"),
    "in a command": (wire.pdu(1, wire.request_body()), wire.c_store()),
    "in a data set": (wire.pdu(1, wire.request_body()) + wire.c_store(), wire.data(bytes(500), last=False)),
}


@cannot("its accepted sockets have no timeout: a PDU that was begun holds its thread for ever")
@pytest.mark.parametrize("where", list(SLOW))
def test_a_peer_that_drips_is_cut_off(running: Run, tmp_path: Path, where: str) -> None:
    """Row 5: one byte at a time does not count as progress: the deadline of the whole PDU, or request, holds."""
    prompt, dripping = SLOW[where]
    timeouts = {"request_timeout_s": 1.0, "network_timeout_s": 1.0}
    with running(tmp_path / "spool", **timeouts) as place, wire.calling(place) as peer:
        if prompt:
            assert peer.associate() is not None
            peer.send(prompt[len(wire.pdu(1, wire.request_body())) :])
        peer.stream.settimeout(0.2)
        deadline = time.monotonic() + 30
        sent = 0
        while True:
            assert time.monotonic() < deadline
            peer.send(dripping[sent : sent + 1] if sent < len(dripping) - 1 else b"")
            sent += 1
            try:
                if not peer.stream.recv(100):
                    break
            except TimeoutError:
                continue
            except ConnectionResetError:
                break
        echo(place.destination())
        assert not list(tmp_path.rglob("*.part"))


@cannot("it has no limit on the duration of an association")
def test_an_association_ends_at_its_deadline(running: Run, tmp_path: Path) -> None:
    """Row 5: a peer that sends small whole PDUs for ever is aborted at the association's deadline."""
    with running(tmp_path / "spool", association_timeout_s=1.0) as place, wire.associated(place) as peer:
        peer.send(wire.c_store())
        peer.stream.settimeout(0.1)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            peer.send(wire.data(b"x" * 10, last=False))
            try:
                answer = peer.pdu()
            except TimeoutError:
                continue
            assert answer in ((7, bytes(4)), None)
            return
        pytest.fail("the association went on")


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.0\r\nHost: pacs\r\n\r\n",
        os.urandom(512).replace(b"\1", b"\2")[:256] + b"\xfe" * 256,
        wire.pdu(9, b"nothing known"),
        wire.p_data(1, 3, b"data before any association"),
        wire.RELEASE_RQ,
    ],
    ids=["HTTP", "random", "unknown PDU", "P-DATA first", "release first"],
)
def test_what_is_no_association_request_ends_the_connection(running: Run, tmp_path: Path, first: bytes) -> None:
    """Row 9: anything else than A-ASSOCIATE-RQ is answered with A-ABORT or a closed connection; others are served."""
    with running(tmp_path / "spool", request_timeout_s=2.0, network_timeout_s=2.0) as place:
        with wire.calling(place) as peer:
            peer.send(first)
            answer = peer.pdu()
            assert answer is None or answer[0] == 7
        echo(place.destination())


def test_tls_on_the_plain_port_is_closed(running: Run, tmp_path: Path) -> None:
    """Row 7: a TLS client gets no handshake, and others are served."""
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    with running(tmp_path / "spool", request_timeout_s=2.0, network_timeout_s=2.0) as place:
        with wire.calling(place) as peer, pytest.raises((ssl.SSLError, OSError)):
            client.wrap_socket(peer.stream)
        echo(place.destination())


@cannot("it reads whatever length is announced, before it looks at the AE titles")
@pytest.mark.parametrize("announced", [(1 << 20) + 1, 1 << 31, (1 << 32) - 1])
def test_a_request_of_any_length_is_not_read(running: Run, tmp_path: Path, announced: int) -> None:
    """Row 11: above 1 MB the request is aborted at its header."""
    with running(tmp_path / "spool") as place, wire.calling(place) as peer:
        peer.send(wire.pdu(1, b"", announced))
        assert peer.pdu() == (7, bytes([0, 0, 2, 6]))
        echo(place.destination())


MANY = b"".join(wire.context(1, MR_IMAGE) for _ in range(129))


@cannot("it accepts duplicate and even ids, and any number of contexts")
@pytest.mark.parametrize(
    "contexts",
    [MANY, wire.CONTEXTS + wire.context(1, MR_IMAGE), wire.context(2, MR_IMAGE)],
    ids=["129 contexts", "duplicate id", "even id"],
)
def test_contexts_beyond_the_standard_are_aborted(running: Run, tmp_path: Path, contexts: bytes) -> None:
    """Row 11: more than 128 contexts, or ids that are not odd and different, end the request."""
    with running(tmp_path / "spool") as place, wire.calling(place) as peer:
        assert peer.associate(wire.request_body(contexts)) == (7, bytes([0, 0, 2, 6]))


@pytest.mark.parametrize(
    "body",
    [b"", bytes(67), wire.request_body()[:-3], wire.request_body(b"\x20\0\xff\xff"), wire.request_body(b"\x77\0\0\0")],
    ids=["empty", "short", "cut", "item too long", "unknown item"],
)
def test_a_request_that_cannot_be_decoded_ends_the_connection(running: Run, tmp_path: Path, body: bytes) -> None:
    """Row 11: a garbled request is answered with A-ABORT, A-ASSOCIATE-RJ or a closed connection."""
    with running(tmp_path / "spool", request_timeout_s=2.0, network_timeout_s=2.0) as place:
        with wire.calling(place) as peer:
            answer = peer.associate(body)
            assert answer is None or answer[0] in (3, 7)
        echo(place.destination())
