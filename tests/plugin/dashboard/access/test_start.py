"""What must be so before the dashboard serves: secrets, users, TLS; and the command that makes users."""

import io
import sys
from pathlib import Path

import pytest

from plugin.cli.main import main
from plugin.dashboard.access import Role
from plugin.dashboard.access.keys import OIDC_SECRET, SESSION_KEY, oidc_secret, session_key
from plugin.dashboard.access.passwords import check_password
from sgmri.errors import ConfigError
from sgmri.settings import Settings, parse
from tests.plugin.dashboard.access.small_dashboard import PASSWORD, Dashboard
from tests.plugin.test_auditing import written


def settings(tmp_path: Path, **access: object) -> Settings:
    return parse({"storage": {"state_dir": str(tmp_path)}, "access": access})


def test_others_are_served_with_tls_and_users_alone(tmp_path: Path) -> None:
    """On this machine always; elsewhere with an https address, the proxy that makes it, and somebody who can log in."""
    bare = Dashboard(settings(tmp_path))
    for host in ("127.0.0.1", "::1", "localhost"):
        bare.access().check_start(host)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        with pytest.raises(ConfigError, match=r"access\.public_url .* and access\.proxies"):
            bare.access().check_start(host)
    url = {"public_url": "https://reading.example"}
    with pytest.raises(ConfigError, match=r"access\.proxies"):
        Dashboard(settings(tmp_path, **url)).access().check_start("0.0.0.0")
    behind = Dashboard(settings(tmp_path, **url, proxies=["10.0.0.1"]))
    with pytest.raises(ConfigError, match="sgmri users add NAME"):
        behind.access().serve(None, host="0.0.0.0", port=0)  # type: ignore[arg-type]  # it does not come so far
    behind.users.add("anna", Role.ADMIN, PASSWORD)
    behind.access().check_start("0.0.0.0")


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ({"public_url": "http://reading.example"}, "public_url: expected https://HOST"),
        ({"public_url": "https://reading.example/path"}, "public_url"),
        ({"proxies": ["*"]}, r"proxies\[0\]: expected an address"),
        ({"identity_roles": ["root"]}, "identity_roles: expected roles among"),
        ({"max_asks_per_minute": 0}, "max_asks_per_minute: expected more than 0"),
        (
            {"oidc": {"issuer": "http://login.example", "client_id": "x", "viewers": ["x"]}},
            "issuer: expected an https",
        ),
        ({"oidc": {"issuer": "https://login.example", "viewers": ["x"]}}, "client_id: expected"),
        ({"oidc": {"issuer": "https://login.example", "client_id": "x"}}, "nobody may log in"),
        ({"oidc": {"client_secret": "x"}}, "did you mean 'client_secret_file'"),
        ({"session_key": "x"}, "did you mean 'session_key_file'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(access: dict[str, object], said: str) -> None:
    """An address without TLS, a proxy that is anybody, an unknown role, half a provider, or a secret in the file."""
    with pytest.raises(ConfigError, match=said):
        parse({"access": access})


def test_secrets_come_from_files_that_others_cannot_read(tmp_path: Path) -> None:
    """From the environment first; a file that the world reads, or its group writes, is refused, as are weak keys."""
    path = tmp_path / "secret"
    path.write_text("k" * 32 + "\n")
    chosen = settings(tmp_path, session_key_file=str(path), oidc={"client_secret_file": str(path)})
    for mode in (0o604, 0o644, 0o660, 0o602):
        path.chmod(mode)
        for read in (session_key, oidc_secret):
            with pytest.raises(ConfigError, match=f"found mode {mode:o}; chmod 600"):
                read(chosen, {})
    for mode in (0o600, 0o400, 0o440):
        path.chmod(mode)
        assert session_key(chosen, {}) == oidc_secret(chosen, {}) == "k" * 32
    assert session_key(chosen, {SESSION_KEY: "e" * 32}) == "e" * 32
    assert oidc_secret(chosen, {OIDC_SECRET: "e"}) == "e"
    assert oidc_secret(settings(tmp_path), {}) is None
    path.chmod(0o600)
    for content, said in (("short", "expected 32 characters"), ("", "empty file")):
        path.write_text(content)
        with pytest.raises(ConfigError, match=said):
            session_key(chosen, {})
    path.unlink()
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        session_key(chosen, {})
    made = session_key(settings(tmp_path), {})
    assert len(made) == 64
    assert session_key(settings(tmp_path), {}) == made


@pytest.mark.parametrize(
    "password",
    ["", "short-words", "elevenchars", "password1234", "administrator", "changemechangeme", "orthancorthanc",
     "qwertyuiopas", "aaaaaaaaaaaaaaaa", "123456789012", "sgmri-sgmri-sgmri", "christopher2024", "Password123!",
     "x" * 1025],
)  # fmt: skip
def test_weak_passwords_are_refused(password: str) -> None:
    """Short ones, common ones, defaults, patterns, and those made of the user's name; they are not repeated."""
    with pytest.raises(ConfigError) as refused:
        check_password(password, "christopher")
    assert not password or password not in str(refused.value)


def test_users(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Added with a password from standard input or a file, listed, changed and removed; each change is audited."""
    config, secret = tmp_path / "sgmri.toml", tmp_path / "password"
    config.write_text(f'[storage]\nstate_dir = "{tmp_path / "state"}"\n')
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)

    def users(*arguments: str, stdin: str = "") -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(["users", *arguments, "--config", str(config)])
        output = capsys.readouterr()
        return code, output.out + output.err

    assert users("add", "anna", "--role", "viewer", stdin=f"{PASSWORD}\nmore\n") == (0, "user added: anna, viewer\n")
    assert users("add", "ben", "--role", "admin", "--password-file", str(secret)) == (0, "user added: ben, admin\n")
    assert users("list") == (0, "anna  viewer\nben  admin\n")
    for arguments, said in (
        (("add", "anna", "--role", "admin"), "expected a new name"),
        (("add", "Anna", "--role", "admin"), "expected 1 to 64 of a-z"),
        (("add", "a:b", "--role", "admin"), "expected 1 to 64 of a-z"),
        (("password", "carl"), "expected the name of a local user"),
        (("remove", "carl"), "expected the name of a local user"),
    ):
        code, output = users(*arguments, stdin=PASSWORD)
        assert code == 2
        assert said in output
    code, output = users("add", "carl", "--role", "viewer", stdin="password1234\n")
    assert (code, "hard to guess" in output) == (2, True)
    assert users("password", "anna", stdin=f"{PASSWORD}-2")[0] == 0
    assert users("remove", "ben") == (0, "user removed: ben\n")
    assert users("list") == (0, "anna  viewer\n")
    secret.chmod(0o644)
    assert users("password", "anna", "--password-file", str(secret))[0] == 2
    audited = [event.detail for event in written(tmp_path / "state")]
    assert audited == [
        "user added: anna, viewer",
        "user added: ben, admin",
        "password changed: anna",
        "user removed: ben",
    ]
    assert all(PASSWORD not in path.read_text() for path in (tmp_path / "state" / "audit").rglob("*.jsonl"))
