"""How often: log-ins that fail, changes and questions are counted, and those beyond the limit wait.

Counts are of this process alone, and of the last minute. No account is ever locked: somebody who guesses one user's
password from one address does not keep that user out from another.
"""

import ipaddress

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from sgmri.settings_access import AccessSettings

RETRY_AFTER_S = 60
_ALL_USERS = 4
"""How many times as many failed log-ins an address has for all users together."""


class Rates:
    """The counts of one dashboard."""

    def __init__(self, settings: AccessSettings) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        failed = settings.max_failed_logins_per_minute
        self._failed_as_user = RateLimitItemPerMinute(failed, namespace="failed-as-user")
        self._failed = RateLimitItemPerMinute(_ALL_USERS * failed, namespace="failed")
        self._changes = RateLimitItemPerMinute(settings.max_changes_per_minute, namespace="changes")
        self._asks = RateLimitItemPerMinute(settings.max_asks_per_minute, namespace="asks")

    def may_log_in(self, address: str, name: str) -> bool:
        """Return whether somebody at an address may try to log in under a name."""
        network = _network(address)
        return self._limiter.test(self._failed_as_user, network, name) and self._limiter.test(self._failed, network)

    def failed_log_in(self, address: str, name: str) -> None:
        """Count a log-in that failed."""
        network = _network(address)
        self._limiter.hit(self._failed_as_user, network, name)
        self._limiter.hit(self._failed, network)

    def may_change(self, name: str) -> bool:
        """Count a change, and return whether its user may make it."""
        return self._limiter.hit(self._changes, name)

    def may_ask(self, name: str) -> bool:
        """Count a question, and return whether its user may ask it."""
        return self._limiter.hit(self._asks, name)


def _network(address: str) -> str:
    """Return whom an address stands for: of IPv6, everybody has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket, or a proxy's pseudonym (RFC 7239 6.3)
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
