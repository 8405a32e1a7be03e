"""The settings of the dashboard: where it listens, who may log in, and what it leads to."""

import re
from dataclasses import dataclass

from sgmri.errors import ConfigError
from sgmri.setting_keys import check_choice, check_port, setting, table

IDENTITY_ROLES = ("nobody", "admin", "operator", "viewer")
"""The least role that may have a patient's identity shown; each includes the ones before it."""

_ADDRESS = re.compile(r"https?://[^/@\s?#]+")
_PLACE = re.compile(r"https?://[^/@\s?#]+(/[^\s?#]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """Log-in by an OpenID Connect provider."""

    issuer: str = setting("", "its address, as its tokens name it; empty: local users only")
    client_id: str = setting("", "what the provider calls this dashboard")
    client_secret_file: str = setting("", "file that holds the client secret alone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The pages for those who operate the plug-in and look at its readings."""

    host: str = setting("127.0.0.1", "address to listen on; another one than this machine's needs TLS before it")
    port: int = setting(8080, "TCP port")
    base_url: str = setting(
        "", "address by which browsers reach it, such as https://sgmri.example; empty: host and port"
    )
    trusted_proxy: str = setting("", "address of the proxy whose X-Forwarded headers are believed; empty: nobody's")
    users_file: str = setting("", "file of the local users; empty: no local users")
    identity_for: str = setting(
        "admin", "least role that may have a patient's identity shown: nobody, admin, operator or viewer"
    )
    viewer_url: str = setting(
        "", "address of an OHIF viewer (sgmri viewer) that readings are linked to; empty: no link"
    )
    max_live_connections: int = setting(
        32, "pages that are kept up to date at a time; more must be loaded again by hand"
    )
    max_test_files: int = setting(200, "files of one rule test")
    max_test_bytes: int = setting(256 << 20, "size of all files of one rule test together", unit="bytes")
    oidc: Oidc = table(Oidc, "Log-in by an OpenID Connect provider")


def check_dashboard(dashboard: Dashboard) -> None:
    """Check the table ``[dashboard]``.

    Raises
    ------
    ConfigError
        If an address is none, or a choice does not exist.
    """
    check_port("dashboard.port", dashboard.port)
    check_choice("dashboard.identity_for", dashboard.identity_for, IDENTITY_ROLES)
    if dashboard.base_url and not _ADDRESS.fullmatch(dashboard.base_url):
        raise ConfigError("dashboard.base_url: expected http(s)://host[:port] without a path, found another")
    if dashboard.viewer_url and not _PLACE.fullmatch(dashboard.viewer_url):
        raise ConfigError("dashboard.viewer_url: expected http(s)://host[:port]/path, found another")
