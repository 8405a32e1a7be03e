import random
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_io.receiver.pdus import PduStream
from tests.faults import wire

MAX_PDU_BYTES = 1 << 17


def received(sent: bytes) -> list[tuple[int, bool, bytes]]:
    """Return the messages (context, whether a command, content) that a stream makes of what is sent."""
    ours, theirs = socket.socketpair()
    stream = PduStream(ours, max_pdu_bytes=MAX_PDU_BYTES, timeout_s=20.0)
    stream.end_at(time.monotonic() + 60)
    messages: list[tuple[int, bool, bytes]] = []
    whole = bytearray()
    sender = threading.Thread(target=theirs.sendall, args=(sent,))
    sender.start()
    with ours, theirs:
        while (chunk := stream.chunk()) is not None:
            whole += chunk.content
            if chunk.ends:
                messages.append((chunk.context_id, chunk.is_command, bytes(whole)))
                whole.clear()
        sender.join()
    return messages


@settings(max_examples=40)
@given(st.integers(0, 1 << 32))
def test_content_is_the_same_however_it_is_cut(seed: int) -> None:
    """Any sizes of items, several in one PDU, messages longer than the ring: not a byte is lost or moved."""
    luck = random.Random(seed)  # noqa: S311
    messages = [
        (
            luck.randrange(1, 256, 2),
            luck.random() < 0.5,
            luck.randbytes(luck.choice((0, 1, 117, 5_000, 1 << 19))),
        )
        for _ in range(luck.randrange(1, 4))
    ]
    sent = b""
    items = b""
    for number, is_command, content in messages:
        largest = luck.choice((1_000, 16_000, MAX_PDU_BYTES - 6))
        pieces = [content[place : place + largest] for place in range(0, len(content), largest)] or [b""]
        for place, piece in enumerate(pieces, start=1):
            item = wire.pdv(number, int(is_command) | 2 * (place == len(pieces)), piece)
            if items and (len(items) + len(item) > MAX_PDU_BYTES or luck.random() < 0.5):
                sent += wire.pdu(4, items)
                items = b""
            items += item
    assert received(sent + wire.pdu(4, items) + wire.RELEASE_RQ) == messages


def test_a_request_longer_than_what_comes_at_once_is_whole() -> None:
    """An A-ASSOCIATE-RQ near its limit is read in pieces."""
    body = random.Random(7).randbytes((1 << 20) - 1)  # noqa: S311
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=theirs.sendall, args=(wire.pdu(1, body),))
    sender.start()
    with ours, theirs:
        assert PduStream(ours, max_pdu_bytes=MAX_PDU_BYTES, timeout_s=20.0).request(20.0) == body
        sender.join()


def test_a_peer_that_goes_away_is_told_from_one_that_is_silent() -> None:
    """A closed connection is a reset, an open one without traffic a timeout."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = PduStream(ours, max_pdu_bytes=MAX_PDU_BYTES, timeout_s=0.05)
        stream.end_at(time.monotonic() + 60)
        with pytest.raises(TimeoutError):
            stream.chunk()
        theirs.close()
        with pytest.raises(ConnectionResetError):
            stream.chunk()
