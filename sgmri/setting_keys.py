"""How a setting is declared, and the checks that several tables share."""

import ipaddress
import re
from dataclasses import field
from typing import Any

from sgmri.errors import ConfigError

_MAX_AE_TITLE = 16  # PS3.5 6.2, VR AE
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.-]+)*/?")


def setting(default: Any, doc: str, *, unit: str = "") -> Any:
    """Declare one key: default, meaning, unit."""
    return field(default=default, metadata={"doc": doc, "unit": unit})


def table(factory: Any, doc: str) -> Any:
    """Declare a sub-table (or an array of tables)."""
    return field(default_factory=factory, metadata={"doc": doc, "unit": ""})


def check_ae_title(path: str, ae_title: str) -> None:
    """Raise ConfigError unless the value of the key ``path`` is an AE title."""
    stripped = ae_title.strip()
    if not stripped or len(ae_title) > _MAX_AE_TITLE or "\\" in ae_title or not ae_title.isascii():
        raise ConfigError(f"{path}: expected an AE title of 1 to 16 ASCII characters without backslash (PS3.5 6.2)")


def is_loopback(host: str) -> bool:
    """Tell whether an address, or the name localhost, is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_port(path: str, port: int) -> None:
    """Raise ConfigError unless the value of the key ``path`` is a TCP port."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"{path}: expected 0 to 65535, found {port}")


def check_bucket(path: str, url: str) -> None:
    """Raise ConfigError unless the value of the key ``path`` is empty or names a bucket, without credentials."""
    if url and not _BUCKET.fullmatch(url):
        raise ConfigError(
            f"{path}: expected s3://BUCKET/PREFIX, or nothing where machines share storage.state_dir; credentials and "
            "endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL ...)"
        )


def check_choice(path: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError unless the value of the key ``path`` is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{path}: expected {', '.join(choices[:-1])} or {choices[-1]}, found {value!r}")
