"""The secrets of the dashboard, from the environment or from files; never from the configuration."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sgmri.errors import ConfigError
from sgmri.settings import Settings
from worker.secret_files import read_secret

SESSION_KEY, OIDC_SECRET = "SGMRI_SESSION_KEY", "SGMRI_OIDC_SECRET"
_MIN_KEY_LENGTH = 32


def session_key(settings: Settings, environment: Mapping[str, str] = os.environ) -> str:
    """Return the key of form tokens and of OpenID log-ins on their way; one is made where none is named.

    Raises
    ------
    ConfigError
        If the one that is named cannot be used.
    """
    key = environment.get(SESSION_KEY, "")
    if not key and settings.access.session_key_file:
        key = read_secret(Path(settings.access.session_key_file))
    if not key:
        key = _own_key(Path(settings.storage.state_dir) / "session.key")
    if len(key) < _MIN_KEY_LENGTH:
        raise ConfigError(
            f"{SESSION_KEY}, access.session_key_file: expected {_MIN_KEY_LENGTH} characters or more, found {len(key)}; "
            "make one with: openssl rand -hex 32"
        )
    return key


def _own_key(path: Path) -> str:
    if not path.exists():
        mine = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # two processes that start at once: the first one's counts
            path.hardlink_to(mine)
        mine.unlink()
    return read_secret(path)


def oidc_secret(settings: Settings, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the secret by which the OpenID provider knows us; None for a public client, which has PKCE alone.

    Raises
    ------
    ConfigError
        If its file cannot be used.
    """
    if environment.get(OIDC_SECRET):
        return environment[OIDC_SECRET]
    file_name = settings.access.oidc.client_secret_file
    return read_secret(Path(file_name)) if file_name else None
