"""Write what a command was asked to leave in a file."""

from pathlib import Path

from sgmri.errors import ConfigError


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the command line names.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a file that can be written, found {error.strerror}; name another one"
        ) from None
