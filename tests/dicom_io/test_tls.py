"""Secure associations of both receivers: with DCMTK, beside silent clients, and while certificates are renewed."""

import os
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from dicom_io.network import Destination, echo
from dicom_io.scu import StoreScu, sendable
from dicom_io.tls import Renewed, client_context, server_context
from dicom_io.tls import secured as made_secure
from sgmri.audit import Action, Outcome
from sgmri.errors import ConfigError, PeerUnavailable
from sgmri.settings import Peer
from sgmri.settings_tls import ListenerTls, OutletTls
from tests import receivers
from tests.certificates import Authority, Pair
from tests.faults import wire
from tests.receivers import Running, mr_instance

Secured = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ca")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Pair:
    return authority.issue("ours", rsa_bits=2048)


@pytest.fixture(scope="module")
def tls(authority: Authority, ours: Pair) -> ListenerTls:
    """Return how a listener is secured."""
    return ListenerTls(certificate=str(ours.certificate), key=str(ours.key), ca=str(authority.ca), port=0)


@pytest.fixture(scope="module")
def scanner(authority: Authority) -> OutletTls:
    """Return how a scanner is secured."""
    pair = authority.issue("scanner", ["scanner.example"])
    return OutletTls(ca=str(authority.ca), certificate=str(pair.certificate), key=str(pair.key))


@pytest.fixture(params=["own", "pynetdicom"])
def secured(request: pytest.FixtureRequest, tls: ListenerTls, tmp_path: Path) -> Secured:
    """Run a receiver of each kind over TLS."""
    return partial(receivers.running, request.param, tmp_path / "spool", tls=tls)


def destination(place: Running, scanner: OutletTls) -> Destination:
    return Destination(
        ae_title="SGMRI",
        host="127.0.0.1",
        port=place.scp.tls_port,
        calling_ae_title="SCANNER",
        timeout_s=30.0,
        tls=scanner,
    )


def big_instance(path: Path) -> Path:
    """Write an instance that fills the receiver's ring more than once."""
    dataset = mr_instance()
    dataset.BitsAllocated = 16
    dataset.PixelData = bytes(range(256)) * 6_000
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_what_dcmtk_sends_is_kept(secured: Secured, scanner: OutletTls, tmp_path: Path) -> None:
    """Storescu stores over TLS by each profile that it has; what lies in the spool is what was sent."""
    if shutil.which("storescu") is None:
        pytest.skip("DCMTK is not installed")
    path = big_instance(tmp_path / "big.dcm")
    with secured() as place:
        for profile in ("--profile-bcp195-nd", "--profile-bcp195", "--profile-bcp195-ex"):
            done = subprocess.run(
                ["storescu", "+tls", scanner.key, scanner.certificate, "+cf", scanner.ca, profile, "-aet", "SCANNER",
                 "-aec", "SGMRI", "127.0.0.1", str(place.scp.tls_port), str(path)],
                capture_output=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        assert len(place.stored) == 3
        (kept,) = {file.read_bytes() for file in place.files()}
        assert bytes(range(256)) * 6_000 in kept
        assert place.refused == []


def test_what_we_send_is_kept(secured: Secured, scanner: OutletTls, tmp_path: Path) -> None:
    """A delivery over TLS, on an association that stays open; without TLS the same port takes nothing."""
    instance = sendable(big_instance(tmp_path / "big.dcm"))
    with secured() as place, closing(StoreScu(destination(place, scanner))) as scu:
        for _ in range(2):
            assert list(scu.store([instance])) == [(instance, None)]
        with socket.create_connection(("127.0.0.1", place.scp.tls_port), timeout=30) as stream:
            peer = wire.Peer(stream)
            peer.send(wire.pdu(1, wire.request_body()))
            assert peer.pdu() in (None, (21, b""))  # closed, or an alert of TLS (RFC 8446 6)
        assert len(place.stored) == 2


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\0\x01"], ids=["nothing", "half a handshake"])
def test_a_silent_client_keeps_nobody_out(secured: Secured, scanner: OutletTls, said: bytes) -> None:
    """The handshake is the connection's own business, and ends at its deadline."""
    with secured(request_timeout_s=1.5) as place:
        with socket.create_connection(("127.0.0.1", place.scp.tls_port), timeout=30) as stream:
            stream.sendall(said)
            echo(destination(place, scanner))
            assert stream.recv(1) == b""
        assert place.refused == []


def test_a_client_that_is_gone_at_once_harms_nobody(
    secured: Secured, scanner: OutletTls, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is reset before, or in, its handshake ends alone, and is neither a bug nor a refusal."""
    with secured() as place:
        for said in [b"", b"\x16\x03\x01"] * 5:
            with socket.create_connection(("127.0.0.1", place.scp.tls_port), timeout=30) as stream:
                stream.sendall(said)
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        echo(destination(place, scanner))
        assert place.refused == []
    assert not [record for record in caplog.records if record.exc_info]


def test_a_client_that_is_gone_leaves_nothing_open(tls: ListenerTls) -> None:
    """A connection that was reset before it is made secure is closed at once, not when somebody collects garbage."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        connection, _ = listening.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        descriptor = connection.fileno()
        with pytest.raises(OSError, match=r"reset|not connected"):
            made_secure(connection, Renewed(partial(server_context, tls), tls.files))
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_who_is_refused_is_audited(secured: Secured, authority: Authority, scanner: OutletTls) -> None:
    """Unknown AE title, address or certificate, and a handshake that fails: each by its name."""
    other, expired = authority.issue("other", ["other.example"]), authority.issue("expired", days=(-3, -1))
    peers = (
        Peer(ae_title="SCANNER", certificate_names=("scanner.example",)),
        Peer(ae_title="ELSEWHERE", host="192.0.2.0/24"),
    )
    nobody: dict[str, str] = {"certificate": "", "key": ""}
    cases = [
        ({}, "STRANGER", "STRANGER@127.0.0.1", "the calling AE title is not configured"),
        ({}, "ELSEWHERE", "ELSEWHERE@127.0.0.1", "the address is not the one configured for the calling AE title"),
        (_files(other), "SCANNER", "SCANNER@127.0.0.1", "the certificate is not the one configured for the calling AE"),
        (_files(expired), "SCANNER", "@127.0.0.1", "TLS: certificate verify failed: certificate has expired"),
        (nobody, "SCANNER", "@127.0.0.1", "TLS: peer did not return a certificate"),
    ]
    with secured(peers=peers) as place:
        for changes, calling, who, detail in cases:
            to = replace(destination(place, replace(scanner, **changes)), calling_ae_title=calling)  # type: ignore[arg-type]
            with pytest.raises(PeerUnavailable):
                echo(to)
            event = place.refusal()
            assert (event.action, event.outcome, event.who) == (Action.REFUSE, Outcome.FAILURE, who)
            assert event.detail.startswith(detail)
        echo(destination(place, scanner))
        assert place.refused == []


def _files(pair: Pair) -> dict[str, str]:
    return {"certificate": str(pair.certificate), "key": str(pair.key)}


def test_plain_associations_have_a_port_of_their_own(secured: Secured, tls: ListenerTls, scanner: OutletTls) -> None:
    """With listener.tls.plain both ports serve; without it only the secure one is open."""
    with secured(tls=replace(tls, plain=True)) as place:
        echo(destination(place, scanner))
        echo(place.destination())
    with secured() as place, pytest.raises(AssertionError):
        _ = place.scp.port


def test_stopping_ends_secure_connections(tls: ListenerTls, scanner: OutletTls, tmp_path: Path) -> None:
    """One in the middle of its handshake, and one that has sent half an instance, do not hold the process."""
    with receivers.running(
        "own", tmp_path / "spool", tls=tls, network_timeout_s=600.0, request_timeout_s=600.0
    ) as place:
        address = ("127.0.0.1", place.scp.tls_port)
        silent = socket.create_connection(address, timeout=30)
        context = client_context(scanner, where="test")
        stream = context.wrap_socket(socket.create_connection(address, timeout=30), server_hostname="localhost")
        peer = wire.Peer(stream)
        assert peer.associate() is not None
        peer.send(wire.c_store() + wire.data(bytes(100_000), last=False))
    with silent, stream:
        assert silent.recv(1) == b""
        assert peer.pdu() is None
    assert not list(tmp_path.rglob("*.part"))


def test_renewed_certificates_are_used_at_the_next_handshake(
    authority: Authority, tls: ListenerTls, scanner: OutletTls, tmp_path: Path
) -> None:
    """A renewed certificate is shown without a restart; while it and the key do not fit, the former one is."""
    first, second = authority.issue("first"), authority.issue("second")
    certificate, key = tmp_path / "listener.crt", tmp_path / "listener.key"
    shutil.copy(first.certificate, certificate)
    shutil.copy(first.key, key)
    renewed = replace(tls, certificate=str(certificate), key=str(key))
    with receivers.running("own", tmp_path / "spool", tls=renewed) as place:
        shown = partial(_shown, place, scanner)
        assert shown() == first.parsed.public_bytes(serialization.Encoding.DER)
        shutil.copy(second.certificate, certificate)
        assert shown() == first.parsed.public_bytes(serialization.Encoding.DER)
        shutil.copy(second.key, key)
        assert shown() == second.parsed.public_bytes(serialization.Encoding.DER)


def _shown(place: Running, scanner: OutletTls) -> bytes | None:
    context = client_context(scanner, where="test")
    with (
        socket.create_connection(("127.0.0.1", place.scp.tls_port), timeout=30) as stream,
        context.wrap_socket(stream, server_hostname="localhost") as secure,
    ):
        return secure.getpeercert(binary_form=True)


def test_files_that_cannot_be_used_are_an_error(authority: Authority, tls: ListenerTls, tmp_path: Path) -> None:
    """A missing file, a key of another certificate, one with a passphrase, a weak one, no PEM: said at the start."""
    other, weak = authority.issue("other"), authority.issue("weak", rsa_bits=1024)
    locked, empty = tmp_path / "locked.key", tmp_path / "empty"
    private = serialization.load_pem_private_key(other.key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    locked.write_bytes(private.private_bytes(*form, serialization.BestAvailableEncryption(b"word")))
    empty.write_text("")
    wrong: list[dict[str, Any]] = [
        {"ca": str(tmp_path / "none.pem")},
        {"key": str(other.key)},
        {"certificate": str(other.certificate), "key": str(locked)},
        {"certificate": str(weak.certificate), "key": str(weak.key)},
        {"ca": str(empty)},
    ]
    for changes in wrong:
        with pytest.raises(ConfigError, match=r"listener\.tls: expected readable PEM files"):
            server_context(replace(tls, **changes))


def test_a_context_is_made_anew_only_when_a_file_has_changed(tls: ListenerTls) -> None:
    """Handshakes share a context."""
    renewed = Renewed(partial(server_context, tls), tls.files)
    assert renewed.context() is renewed.context()
    assert renewed.context().minimum_version == ssl.TLSVersion.TLSv1_2
