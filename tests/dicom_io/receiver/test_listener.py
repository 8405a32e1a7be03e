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
