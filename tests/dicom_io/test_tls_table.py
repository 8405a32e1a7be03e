"""The table of what is accepted and refused over TLS, row by row, with the command openssl and pynetdicom's server."""

import re
import shutil
import ssl
import subprocess
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from dicom_io.network import Destination, echo
from dicom_io.services import VERIFICATION
from sgmri.audit import Action
from sgmri.errors import PeerUnavailable
from sgmri.settings import Peer
from sgmri.settings_tls import ListenerTls, OutletTls
from tests.certificates import Authority
from tests.faults import wire
from tests.receivers import Running, running

TABLE: dict[str, Any] = tomllib.loads((Path(__file__).parent / "tls_table.toml").read_text(encoding="utf-8"))
GOODBYE = wire.pdu(5, bytes(4))  # A-RELEASE-RQ
ALL_SUITES = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
VERSIONS = {"TLS 1.0": "-tls1", "TLS 1.1": "-tls1_1", "TLS 1.2": "-tls1_2", "TLS 1.3": "-tls1_3"}
REJECTED = {b"\1\1\3": "A-ASSOCIATE-RJ 1/1/3"}


class World:
    """An authority, what it and others signed, and listeners that believe it."""

    def __init__(self, directory: Path, held: ExitStack) -> None:
        self._directory = directory
        self._held = held
        self._listeners: dict[str, Running] = {}
        (directory / "others").mkdir()
        self.ca = Authority(directory, "ca")
        self.pairs = {
            "sound": self.ca.issue("sound"),
            "other": self.ca.issue("other", ["mr2.example"]),
            "elsewhere": self.ca.issue("elsewhere", ["pacs.example"]),
            "rsa": self.ca.issue("rsa", rsa_bits=2048),
            "weak": self.ca.issue("weak", rsa_bits=1024),
            "expired": self.ca.issue("expired", days=(-3, -1)),
            "future": self.ca.issue("future", days=(1, 3)),
            "revoked": self.ca.issue("revoked"),
            "self-signed": self.ca.issue("self-signed", self_signed=True),
            "self-made": self.ca.issue("self-made", self_signed=True),
            "server": self.ca.issue("server", usage=ExtendedKeyUsageOID.SERVER_AUTH),
            "stranger": Authority(directory / "others", "another").issue("stranger"),
            "impostor": Authority(directory / "others", "ca").issue("impostor"),
        }
        self.crl = self.ca.revoke("current", self.pairs["revoked"])
        self._kinds: dict[str, dict[str, Any]] = {
            "": {},
            "rsa": {"certificate": str(self.pairs["rsa"].certificate), "key": str(self.pairs["rsa"].key)},
            "modified": {"profile": "bcp195-modified"},
            "lenient": {"client_certificate_required": False},
            "plain": {"plain": True},
            "device": {"ca": str(self.pairs["self-signed"].certificate)},
            "revoking": {"crl": str(self.crl)},
            "forgetful": {"crl": str(self.ca.revoke("old", last_day=-1))},
        }

    def listener(self, kind: str) -> Running:
        """Return the listener of a kind, which is started when it is first asked for."""
        if kind not in self._listeners:
            sound = self.pairs["sound"]
            files = {"certificate": str(sound.certificate), "key": str(sound.key), "ca": str(self.ca.ca)}
            peers = (
                Peer(ae_title="SCANNER", host="127.0.0.0/8"),
                Peer(ae_title="PINNED", certificate_sha256=("00" * 32, sound.fingerprint)),
                Peer(ae_title="NAMED", certificate_names=("MR1.example", "MR2.example")),
                Peer(ae_title="ELSEWHERE", host="192.0.2.0/24"),
            )
            tls = ListenerTls(**{"port": 0, **files, **self._kinds[kind]})
            place = running("own", self._directory / f"spool-{kind}", peers=peers, tls=tls)
            self._listeners[kind] = self._held.enter_context(place)
        return self._listeners[kind]

    def call(
        self, kind: str, shows: str, *options: str, calling: str = "SCANNER", plain: bool = False
    ) -> tuple[str, str]:
        """Call a listener with openssl; return what it made of that, and what the caller was told."""
        place = self.listener(kind)
        request = wire.pdu(1, wire.request_body(calling=calling)) + GOODBYE
        if plain:
            with wire.calling(place) as peer:
                peer.send(request)
                answer = peer.pdu()
                assert answer is not None
                said, told = bytes([answer[0]]) + bytes(6) + answer[1][1:], ""
        else:
            said, told = self._openssl(place.scp.tls_port, shows, options, request)
        if said[:1] == b"\2":
            assert place.refused == []
            return "accepted", ""
        event = place.refusal()
        assert place.refused == []
        assert event.action is Action.REFUSE
        assert event.who == (f"{calling}@127.0.0.1" if said[:1] == b"\3" else "@127.0.0.1")
        return event.detail.removeprefix("TLS: "), REJECTED[said[7:10]] if said[:1] == b"\3" else told

    def _openssl(self, port: int, shows: str, options: tuple[str, ...], request: bytes) -> tuple[bytes, str]:
        shown: list[str] = []
        if shows:
            pair = self.pairs[shows]
            shown = ["-cert", str(pair.certificate), "-key", str(pair.key)]
        done = subprocess.run(
            ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", "-CAfile", str(self.ca.ca),
             "-verify_return_error", *shown, *(options or ("-cipher", ALL_SUITES))],
            input=request, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        alert = re.search(rb"alert ([a-z ]+):", done.stderr)
        return done.stdout, alert[1].decode() if alert else ""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl is not installed")
    with ExitStack() as held:
        yield World(tmp_path_factory.mktemp("tls"), held)


def test_versions(world: World) -> None:
    """TLS 1.2 and 1.3 are accepted, what is older is not, whatever cipher suites are offered (RFC 8996)."""
    for row in TABLE["version"]:
        said = world.call("", "sound", VERSIONS[row["name"]], "-cipher", ALL_SUITES)
        assert said == (row["answer"], row.get("alert", "")), row


def test_cipher_suites(world: World) -> None:
    """Of all suites that this machine's openssl has, exactly those of the table are accepted, with RSA and ECDSA."""
    suites = TABLE["suites"]
    listed = subprocess.run(
        ["openssl", "ciphers", "-s", "-tls1_2", f"{ALL_SUITES}"], capture_output=True, text=True, check=True
    ).stdout
    known = {one for one in listed.strip().split(":") if not one.startswith("TLS_")}
    accepted = set()
    for name in [*suites["bcp195"], *suites["only_modified"]]:
        kind = "rsa" if "RSA" in name and "ECDSA" not in name else "modified"
        assert world.call(kind, "sound", "-tls1_2", "-cipher", name) == ("accepted", ""), name
        accepted.add(name)
    refused = ("no shared cipher", "handshake failure")
    rest = ":".join(sorted(known - accepted)) + ":@SECLEVEL=0"
    for kind in ("rsa", "modified"):
        assert world.call(kind, "sound", "-tls1_2", "-cipher", rest) == refused
    only_modified = ":".join(suites["only_modified"])
    assert world.call("", "sound", "-tls1_2", "-cipher", only_modified) == refused
    for name in suites["tls13"]:
        assert world.call("", "sound", "-tls1_3", "-ciphersuites", name) == ("accepted", "")
    none = ":".join(suites["tls13_refused"])
    assert world.call("", "sound", "-tls1_3", "-ciphersuites", none) == refused


@pytest.mark.parametrize("row", TABLE["caller"], ids=lambda row: row["what"])
def test_callers(world: World, row: dict[str, Any]) -> None:
    """A wrong certificate ends the handshake, a wrong peer is rejected after it; both are audited with the reason."""
    kind = "plain" if row.get("plain") else row.get("listener", "")
    said = world.call(kind, row.get("shows", ""), calling=row.get("calling", "SCANNER"), plain=row.get("plain", False))
    assert said == (row["answer"], row.get("alert", ""))


@pytest.fixture(scope="module")
def pacs() -> Iterator[ThreadedAssociationServer]:
    """A PACS that answers C-ECHO; its context is the test's to set."""
    ae = AE(ae_title="PACS")
    ae.add_supported_context(VERIFICATION)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_ECHO, _fine)])
    assert server is not None
    yield server
    server.shutdown()


def _fine(event: evt.Event) -> int:
    return 0x0000


@pytest.mark.parametrize("row", TABLE["destination"], ids=lambda row: row["what"])
def test_destinations(world: World, pacs: ThreadedAssociationServer, row: dict[str, Any]) -> None:
    """Nothing is sent to a destination whose certificate, name or fingerprint is wrong, and the error says which."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    if row.get("old"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # old versions are what is asked about
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    shown = world.pairs[row["shows"]]
    context.load_cert_chain(shown.certificate, shown.key)
    context.load_verify_locations(world.ca.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    pacs.ssl_context = context
    ours = world.pairs["other"]
    tls = OutletTls(
        ca=str(world.ca.ca),
        crl=str(world.crl) if row.get("crl") else "",
        certificate=str(ours.certificate),
        key=str(ours.key),
        server_name=row.get("server_name", ""),
        check_name=row.get("check_name", True),
        certificate_sha256=(world.pairs[row["fingerprint"]].fingerprint,) if "fingerprint" in row else (),
    )
    to = Destination(ae_title="PACS", host="127.0.0.1", port=pacs.server_address[1], timeout_s=20.0, tls=tls)
    if row["answer"] == "accepted":
        echo(to)
        return
    with pytest.raises(PeerUnavailable) as error:
        echo(to)
    assert row["answer"] in str(error.value)
