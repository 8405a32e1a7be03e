from typing import Any

import pytest

from sgmri.errors import ConfigError
from sgmri.settings import parse
from sgmri.settings_tls import fingerprints

FILES: dict[str, Any] = {"certificate": "ours.pem", "key": "ours.key", "ca": "ca.pem"}
PRINT = ":".join(["AB"] * 32)


def test_secure_connections_are_settings() -> None:
    """Listener, peers, [delivery] and each [[destination]] have what TLS needs; fingerprints as openssl prints them."""
    tls: dict[str, Any] = {**FILES, "port": 0, "plain": True, "profile": "bcp195-modified"}
    settings = parse(
        {
            "listener": {
                "tls": tls,
                "peers": [{"ae_title": "MR1", "host": "192.0.2.0/24", "certificate_sha256": [PRINT]}],
            },
            "delivery": {"ae_title": "PACS", "tls": {**FILES, "server_name": "pacs.example"}},
            "destination": [
                {"name": "web", "kind": "stow", "url": "https://x", "commitment": "none", "tls": {"ca": "web.pem"}}
            ],
        }
    )
    assert settings.listener.tls.is_on
    assert settings.listener.tls.files == ("ours.pem", "ours.key", "ca.pem")
    assert fingerprints(settings.listener.peers[0].certificate_sha256) == {"ab" * 32}
    assert [outlet.tls.ca for outlet in settings.outlets] == ["ca.pem", "web.pem"]
    assert not parse({}).listener.tls.is_on


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"listener": {"tls": {"certificate": "a"}}}, r"listener\.tls: expected certificate and key together"),
        ({"listener": {"tls": {"certificate": "a", "key": "b"}}}, r"listener\.tls\.ca: expected the authorities"),
        ({"listener": {"tls": {**FILES, "profile": "bcp195-nd"}}}, r"listener\.tls\.profile: expected bcp195 or"),
        ({"listener": {"tls": {**FILES, "port": 70000}}}, r"listener\.tls\.port"),
        ({"listener": {"port": 2762, "tls": {**FILES, "plain": True}}}, "expected another port than listener.port"),
        ({"listener": {"tls": {"crl": "a"}}}, r"listener\.tls\.crl: revocation lists need"),
        ({"listener": {"peers": [{"ae_title": "A", "host": "192.0.2.7/24"}]}}, r"peers\[0\]\.host: expected an IP"),
        ({"listener": {"peers": [{"ae_title": "A", "host": "scanner"}]}}, r"peers\[0\]\.host: expected an IP"),
        ({"listener": {"peers": [{"ae_title": "A", "certificate_names": ["a"]}]}}, r"peers\[0\]: a certificate is"),
        (
            {"listener": {"tls": FILES, "peers": [{"ae_title": "A", "certificate_sha256": ["ab"]}]}},
            r"peers\[0\]\.certificate_sha256: expected SHA-256",
        ),
        ({"delivery": {"tls": {"server_name": "a"}}}, r"delivery\.tls\.ca: expected the authorities"),
        ({"delivery": {"tls": {"ca": "a", "check_name": False}}}, r"delivery\.tls\.check_name: false needs"),
        (
            {"destination": [{"name": "a", "ae_title": "A", "tls": {"certificate": "a"}}]},
            r"destination\[0\]\.tls: expected certificate and key together",
        ),
    ],
)
def test_what_cannot_be_secure_is_an_error(mapping: dict[str, Any], message: str) -> None:
    """A setting that would leave a connection open, or let nobody in, is named with what to do."""
    with pytest.raises(ConfigError, match=message):
        parse(mapping)
