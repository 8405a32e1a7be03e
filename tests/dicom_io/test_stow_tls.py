"""STOW-RS over https: whom we believe, and what we show."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dicom_io.stow import StowUserAgent
from sgmri.errors import ConfigError, PeerUnavailable
from sgmri.settings import parse
from sgmri.settings_tls import OutletTls
from tests.certificates import Authority, Pair
from tests.http_servers import serving
from worker.destinations import open_sender


class _NothingFound(BaseHTTPRequestHandler):
    shown: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        assert isinstance(self.connection, ssl.SSLSocket)
        self.shown.append(str((self.connection.getpeercert() or {}).get("subject")))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stow"), "ca")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("server", ["web.example"])


@pytest.fixture(scope="module")
def origin(authority: Authority, server: Pair) -> Iterator[tuple[str, list[str]]]:
    """Run an origin server that asks for certificates; its URL, and whose it saw."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.load_verify_locations(authority.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    _NothingFound.shown.clear()
    with serving(_NothingFound, context=context) as url:
        yield f"{url}/dicom-web", _NothingFound.shown


def test_only_the_right_server_learns_anything(
    authority: Authority, server: Pair, origin: tuple[str, list[str]], tmp_path: Path
) -> None:
    """Authority, name and fingerprint are held against it; our certificate is shown, and renewed while we run."""
    url, shown = origin
    ours, renewed = authority.issue("ours"), authority.issue("renewed")
    certificate, key = tmp_path / "ours.crt", tmp_path / "ours.key"
    certificate.write_bytes(ours.certificate.read_bytes())
    key.write_bytes(ours.key.read_bytes())
    sound = OutletTls(
        ca=str(authority.ca),
        certificate=str(certificate),
        key=str(key),
        server_name="web.example",
        certificate_sha256=(server.fingerprint,),
    )
    wrong: list[dict[str, Any]] = [
        {"ca": str(Authority(tmp_path, "another").ca)},
        {"ca": ""},  # by certifi
        {"server_name": ""},
        {"server_name": "other.example"},
        {"certificate_sha256": (ours.fingerprint,)},
        {"certificate": "", "key": ""},
    ]
    for changes in wrong:
        agent = StowUserAgent(url, tls=replace(sound, **changes), timeout_s=20.0)
        with pytest.raises(PeerUnavailable):
            agent.probe()
        agent.close()
    assert shown == []
    agent = StowUserAgent(url, tls=sound, timeout_s=20.0)
    agent.probe()
    certificate.write_bytes(renewed.certificate.read_bytes())
    key.write_bytes(renewed.key.read_bytes())
    agent.probe()
    agent.close()
    pinned = StowUserAgent(url, tls=replace(sound, server_name="", check_name=False), timeout_s=20.0)
    pinned.probe()
    pinned.close()
    assert ["ours" in shown[0], "renewed" in shown[1], len(shown)] == [True, True, 3]


def test_files_of_a_destination_that_cannot_be_used_are_said_before_anything_is_sent(tmp_path: Path) -> None:
    """By DIMSE and by STOW-RS alike."""
    tls = {"ca": str(tmp_path / "none.pem")}
    for destination in (
        {"name": "a", "kind": "stow", "url": "https://127.0.0.1", "commitment": "none", "tls": tls},
        {"name": "a", "ae_title": "A", "tls": tls},
    ):
        settings = parse({"destination": [destination]})
        with pytest.raises(ConfigError, match="expected readable PEM files"):
            open_sender(settings, settings.outlets[0])
