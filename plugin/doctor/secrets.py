"""Passwords that are none."""

from sgmri.setting_keys import is_loopback

_LEAST = 8
_TRIED_FIRST = frozenset(
    {"password", "foobared", "changeme", "changeit", "postgres", "postgresql", "12345678", "123456789", "1234567890"}
    | {"redispass", "password1", "password123", "administrator", "sgmrisgmri", "adminadmin", "qwertyui", "iloveyou"}
)


def is_weak(host: str | None, password: object) -> bool:
    """Tell whether a service that others can reach has no password, a short one, or one that is tried first."""
    if host is None or is_loopback(host):
        return False
    text = str(password or "")
    return len(text) < _LEAST or text.lower() in _TRIED_FIRST
