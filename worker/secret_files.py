"""Secrets: from the environment, or from a file that holds nothing else and that nobody else may read."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from sgmri.errors import ConfigError


def secret_of(what: str, variable: str, path: str, environment: Mapping[str, str]) -> str:
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
        If it is in neither, cannot be read, or others may read its file; nothing of it is quoted.
    """
    secret = environment.get(variable, "")
    if not secret and path:
        secret = read_secret(Path(path))
    if not secret or not secret.isprintable() or not secret.isascii():
        raise ConfigError(f"expected the secret of {what} in {variable} or in its file, alone, found none")
    return secret


def read_secret(path: Path) -> str:
    """Return what a file holds, without white space around it.

    Raises
    ------
    ConfigError
        If it cannot be read, is empty, or others may read it.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(65536).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a readable file with a secret, found {type(error).__name__}") from None
    # Its group may read it: that is how container platforms hand secrets to a process that is not root
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigError(f"{path}: expected a secret that others cannot read, found mode {mode & 0o777:o}; chmod 600")
    if not content:
        raise ConfigError(f"{path}: expected a secret, found an empty file")
    return content
