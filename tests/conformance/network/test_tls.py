"""Secure connections: a sound peer passes, and each planted fault is found."""

import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.network.link import Wire
from conformance.network.run import run
from conformance.network.session import Setup, Tls
from conformance.report import Outcome, Report
from dicom_io.network import Destination
from sgmri.errors import ConfigError, PeerUnavailable
from sgmri.settings import Peer as KnownPeer
from sgmri.settings_tls import ListenerTls
from tests.conformance.network.peer import AE_TITLE, CALLER, TIMEOUT_S, Peer
from tests.conformance.network.real_peers import certificates
from tests.receivers import running


class SecurePeer(Peer):
    """The sound peer over TLS 1.2 and later, with certificates on both sides."""

    certificates: Path

    def secure(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.certificates / "ca.pem"))
        context.load_cert_chain(self.certificates / "peer.pem", self.certificates / "peer.key")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def serve(self, link: Wire) -> None:
        link.stream.settimeout(TIMEOUT_S)
        with self.secure().wrap_socket(link.stream, server_side=True) as stream:
            super().serve(Wire(stream))


class AsksForNoCertificate(SecurePeer):
    def secure(self) -> ssl.SSLContext:
        context = super().secure()
        context.verify_mode = ssl.CERT_NONE
        return context


class TakesOldVersions(SecurePeer):
    def secure(self) -> ssl.SSLContext:
        context = super().secure()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
        return context


class TakesBrokenCiphers(SecurePeer):
    def secure(self) -> ssl.SSLContext:
        context = super().secure()
        context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
        return context


class TakesPlainConnections(SecurePeer):
    def serve(self, link: Wire) -> None:
        link.stream.settimeout(TIMEOUT_S)
        if link.stream.recv(1, socket.MSG_PEEK) == b"\1":
            Peer.serve(self, link)
        else:
            super().serve(link)


FAULTS = {
    AsksForNoCertificate: {"tls.no-certificate", "tls.refused-certificate"},
    TakesOldVersions: {"tls.versions"},
    TakesBrokenCiphers: {"tls.ciphers"},
    TakesPlainConnections: {"tls.plain"},
}


@contextmanager
def secured(peer_class: type[SecurePeer], tmp_path: Path) -> Iterator[Setup]:
    """Run a peer and return how it is tested."""
    tls = certificates(tmp_path)
    peer_class.certificates = tmp_path
    with peer_class(tmp_path / "archive") as peer:
        to = Destination(ae_title=AE_TITLE, host="127.0.0.1", port=peer.port, calling_ae_title=CALLER, timeout_s=5.0)
        yield Setup(destination=to, roles=frozenset({"tls"}), tls=tls)


def _tested(setup: Setup) -> Report:
    return run(setup, only=lambda name: name.startswith(("tls.", "verification.")), seed=1)


def test_a_sound_secure_peer_fails_no_check(tmp_path: Path) -> None:
    """Versions and suites are tabled; plain, silent, unknown and expired callers are refused."""
    with secured(SecurePeer, tmp_path) as setup:
        report = _tested(setup)
    assert [(entry.id, entry.result.text) for entry in report.failed] == []
    tables = {
        entry.id: {row[0]: row[1] for row in entry.result.table.rows} for entry in report.entries if entry.result.table
    }
    assert tables["tls.versions"]["TLS 1.2"] == "accepted"
    assert tables["tls.versions"]["TLS 1.0"] != "accepted"
    assert tables["tls.ciphers"]["ECDHE-ECDSA-AES256-GCM-SHA384"] == "accepted"


def test_our_listener_fails_no_check(tmp_path: Path) -> None:
    """Over TLS it answers C-ECHO, by TLS 1.2 and 1.3 and strong suites alone, and only who is known."""
    checked = certificates(tmp_path)
    secure = ListenerTls(
        certificate=str(tmp_path / "peer.pem"), key=str(tmp_path / "peer.key"), ca=str(checked.ca), port=0
    )
    with running("own", tmp_path / "spool", peers=(KnownPeer(ae_title=CALLER),), tls=secure) as place:
        port = place.scp.tls_port
        to = Destination(ae_title="SGMRI", host="127.0.0.1", port=port, calling_ae_title=CALLER, timeout_s=5.0)
        report = _tested(Setup(destination=to, roles=frozenset({"tls"}), tls=checked))
        assert place.refused
    assert [(entry.id, entry.result.text) for entry in report.failed] == []
    assert {entry.id for entry in report.entries if entry.result.outcome is Outcome.PASS} >= {
        "tls.echo", "tls.versions", "tls.ciphers", "tls.no-certificate", "tls.refused-certificate", "tls.plain",
        "tls.silent",
    }  # fmt: skip


@pytest.mark.parametrize("peer_class", list(FAULTS), ids=lambda peer_class: peer_class.__name__)
def test_a_planted_fault_of_a_secure_peer_is_found(peer_class: type[SecurePeer], tmp_path: Path) -> None:
    """Each fault fails the checks that are about it, and no other."""
    with secured(peer_class, tmp_path) as setup:
        report = _tested(setup)
    assert {entry.id for entry in report.failed} == FAULTS[peer_class]


def test_a_role_without_what_it_needs_is_a_wrong_use(tmp_path: Path) -> None:
    """TLS without an authority, files that are no certificates, and unknown roles are said before anything is sent."""
    to = Destination(ae_title=AE_TITLE, host="127.0.0.1", port=9)
    with pytest.raises(ConfigError, match="--tls-ca"):
        run(Setup(destination=to, roles=frozenset({"tls"})))
    with pytest.raises(ConfigError, match="--role"):
        run(Setup(destination=to, roles=frozenset({"printing"})))
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="PEM"):
        run(Setup(destination=to, roles=frozenset({"tls"}), tls=Tls(ca=tmp_path / "ca.pem")))


def test_a_peer_that_is_away_cannot_be_tested() -> None:
    """Nobody listens there: that is no failed check."""
    with pytest.raises(PeerUnavailable, match="check its address"):
        run(Setup(destination=Destination(ae_title=AE_TITLE, host="127.0.0.1", port=9)))
