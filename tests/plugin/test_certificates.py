"""What the doctor says of certificates: each planted mistake is named with its remedy."""

from datetime import timedelta
from pathlib import Path

from plugin.certificates import examine_certificates
from sgmri.settings import Settings, parse
from tests.certificates import NOW, Authority, Pair


def settings_of(tls: dict[str, str]) -> Settings:
    return parse({"listener": {"tls": tls}, "delivery": {"ae_title": "PACS", "tls": tls}})


def test_each_mistake_in_the_files_is_named(tmp_path: Path) -> None:
    """Not readable, no PEM, expired, not yet valid, of another key, weak, open to others, without a present list."""
    authority = Authority(tmp_path, "ca")
    sound, other = authority.issue("sound"), authority.issue("other")
    files = {"certificate": str(sound.certificate), "key": str(sound.key), "ca": str(authority.ca)}
    said = list(examine_certificates(settings_of(files)))
    assert [one.name for one in said] == ["listener.tls", "tls of delivery"]
    assert [one.problems for one in said] == [(), ()]
    assert "renew what ends then" in said[0].text

    opened = authority.issue("opened")
    opened.key.chmod(0o640)
    der = tmp_path / "der.crl"
    der.write_bytes(b"\x30\x00")
    planted = [
        ({"certificate": str(tmp_path / "none")}, "listener.tls certificate: expected a readable PEM file"),
        ({"ca": str(sound.key)}, "listener.tls ca: expected a readable PEM file of certificates, found something else"),
        (_pair(authority.issue("expired", days=(-3, -1))), "listener.tls certificate: expired on"),
        (_pair(authority.issue("future", days=(1, 3))), "listener.tls certificate: not valid before"),
        (_pair(opened), "found mode 640; chmod 600 it"),
        (_pair(authority.issue("weak", rsa_bits=1024)), "found: ee key too small"),
        ({"key": str(other.key)}, "found: key values mismatch"),
        ({"key": str(tmp_path / "none")}, "listener.tls key: expected a readable PEM file"),
        ({"crl": str(authority.revoke("old", last_day=-1))}, "a list ran out on"),
        ({"crl": str(der)}, "openssl crl -inform DER converts one"),
    ]
    for changes, problem in planted:
        (found, *_) = examine_certificates(settings_of({**files, **changes}))
        assert problem in "; ".join(found.problems), problem
    assert not any(one.problems for one in examine_certificates(settings_of({**files, **_pair(other)})))
    later = examine_certificates(settings_of(files), now=NOW + timedelta(days=40))
    assert all("ca: expired on" in "; ".join(one.problems) for one in later)


def _pair(pair: Pair) -> dict[str, str]:
    return {"certificate": str(pair.certificate), "key": str(pair.key)}
