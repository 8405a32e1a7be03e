import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults import wire
from tests.receivers import running


def test_an_ipv6_address_is_listened_on(tmp_path: Path) -> None:
    """With host ::1 an association comes over IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with (
        running("own", tmp_path / "spool", host="::1") as place,
        socket.create_connection(("::1", place.scp.port), timeout=20) as stream,
    ):
        answer = wire.Peer(stream).associate()
        assert answer is not None
        assert answer[0] == 2


def test_stopping_ends_what_runs(tmp_path: Path) -> None:
    """Open associations and silent connections do not hold the process: they are closed, and nothing partial stays."""
    with ExitStack() as held:
        with running("own", tmp_path / "spool", network_timeout_s=600.0, request_timeout_s=600.0) as place:
            peers = [held.enter_context(wire.calling(place)), held.enter_context(wire.associated(place))]
            peers[1].send(wire.c_store() + wire.data(bytes(100_000), last=False))
            while not list(tmp_path.rglob("*.part")):
                time.sleep(0.01)
        assert [peer.pdu() for peer in peers] == [None, None]
    assert not list(tmp_path.rglob("*.part"))
    with running("own", tmp_path / "spool") as place, wire.associated(place) as peer:
        assert peer.store(wire.data_set()) == 0x0000


@pytest.mark.parametrize("limit", [64, 128, 0])
def test_responses_come_in_pdus_that_the_peer_takes(tmp_path: Path, limit: int) -> None:
    """No PDU of ours is longer than the maximum length in the request; 0 means any length (PS3.8 D.1)."""
    body = wire.request_body()
    body = body.replace(b"\x51\0\0\4" + (1 << 17).to_bytes(4, "big"), b"\x51\0\0\4" + limit.to_bytes(4, "big"))
    with running("own", tmp_path / "spool") as place, wire.calling(place) as peer:
        assert peer.associate(body) is not None
        peer.send(wire.c_store() + wire.data(wire.data_set()))
        lengths, control = [], 0
        while not control & wire.LAST:
            answer = peer.pdu()
            assert answer is not None
            lengths.append(len(answer[1]))
            control = answer[1][5]
    assert max(lengths) <= limit if limit else len(lengths) == 1


@pytest.mark.parametrize("where", ["beside user information", "within it"])
def test_unknown_items_are_skipped(tmp_path: Path, where: str) -> None:
    """What a later edition may add to A-ASSOCIATE-RQ does not keep a peer out (PS3.8 9.3.1, D.2)."""
    body, later = wire.request_body(), b"\x7e\0\0\5later"
    if where == "within it":
        start = body.index(b"\x50\0") + 2
        length = int.from_bytes(body[start : start + 2], "big") + len(later)
        body = body[:start] + length.to_bytes(2, "big") + body[start + 2 :]
    with running("own", tmp_path / "spool") as place, wire.calling(place) as peer:
        answer = peer.associate(body + later)
        assert answer is not None
        assert answer[0] == 2
