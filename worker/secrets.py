"""Secrets: from the environment or from a file that holds nothing else, never from a setting."""

from collections.abc import Mapping
from pathlib import Path

from sgmri.errors import ConfigError


def read_secret(what: str, variable: str, path: str, environment: Mapping[str, str]) -> str:
    """Return a secret; the environment wins over the file.

    Parameters
    ----------
    what
        For the error's text: whose secret it is.
    variable, path
        Where it may be; an empty path is none.
    environment
        The process's own.

    Raises
    ------
    ConfigError
        If it is in neither, or cannot be read; nothing of it is quoted.
    """
    secret = environment.get(variable, "")
    if not secret and path:
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"expected the secret of {what} in its file, found {type(error).__name__}") from None
    if not secret or not secret.isprintable() or not secret.isascii():
        raise ConfigError(f"expected the secret of {what} in {variable} or in its file, alone, found none")
    return secret
