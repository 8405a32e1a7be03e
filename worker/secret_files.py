"""Files that hold a secret: nobody else may read them."""

import os
import stat
from pathlib import Path

from sgmri.errors import ConfigError


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
