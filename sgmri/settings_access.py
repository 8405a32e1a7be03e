"""The settings of who may use the dashboard, how they prove who they are, and what is asked of their browsers."""

import ipaddress
import re
from dataclasses import dataclass

from sgmri.errors import ConfigError
from sgmri.setting_keys import setting, table

ROLES = ("viewer", "operator", "admin")
"""What users may do, the least first: each may what those before it may."""

_PUBLIC_URL = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?")
_ISSUER = re.compile(r"(https://[^/@\s?#]+|http://(127\.0\.0\.1|localhost)(:\d+)?)(/[^\s?#]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """An OpenID provider that says who somebody is (OpenID Connect Core 1.0, code flow with PKCE)."""

    issuer: str = setting("", "its issuer, such as https://login.example/realms/hospital; empty: local users alone")
    client_id: str = setting("", "our client there; its redirect URI is public_url/login/oidc/callback")
    client_secret_file: str = setting(
        "", "file that holds the client's secret alone, readable by its owner only. Environment: SGMRI_OIDC_SECRET"
    )
    name_claim: str = setting("preferred_username", "claim that holds the user's name")
    groups_claim: str = setting("groups", "claim that holds the user's groups, an array")
    viewers: tuple[str, ...] = setting((), "groups whose members are viewers; who is in no group named is refused")
    operators: tuple[str, ...] = setting((), "groups whose members are operators")
    admins: tuple[str, ...] = setting((), "groups whose members are admins")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who may use the dashboard; local users are made by ``sgmri users``."""

    public_url: str = setting(
        "",
        "https:// address at which browsers reach the dashboard, through a proxy that terminates TLS; empty: this "
        "machine alone",
    )
    proxies: tuple[str, ...] = setting(
        (), "addresses or networks of that proxy: its X-Forwarded-For and X-Forwarded-Proto are believed"
    )
    hosts: tuple[str, ...] = setting((), "further host names that requests may name, besides public_url's and loopback")
    session_key_file: str = setting(
        "",
        "file that holds the key of form tokens, 32 characters or more, readable by its owner only; empty: one is made "
        "in state_dir. Environment: SGMRI_SESSION_KEY",
    )
    idle_timeout_s: float = setting(900.0, "a session ends when its user did nothing for", unit="s")
    session_timeout_s: float = setting(36000.0, "a session ends, whatever its user does, after", unit="s")
    identity_roles: tuple[str, ...] = setting(
        ("operator", "admin"), "roles that may ask to see a patient's identity; each look is audited"
    )
    max_failed_logins_per_minute: int = setting(
        5, "failed log-ins a minute of one user from one address (of all users: four times as many); more wait"
    )
    max_changes_per_minute: int = setting(120, "changes a minute (whatever is not read alone) of one user; more wait")
    max_asks_per_minute: int = setting(10, "questions a minute of one user; more wait")
    max_body_bytes: int = setting(64 << 20, "largest request of a user; before log-in 64 KiB", unit="bytes")
    body_timeout_s: float = setting(60.0, "a request whose body is not whole is refused after", unit="s")
    oidc: OidcSettings = table(OidcSettings, "An OpenID provider")

    @property
    def has_tls(self) -> bool:
        """Whether browsers reach the dashboard over TLS."""
        return bool(self.public_url)


def check_access(access: AccessSettings) -> None:
    """Check what the settings say of access.

    Raises
    ------
    ConfigError
        If an address, a network or a role is none, or the OpenID provider lacks what it needs.
    """
    if access.public_url and not _PUBLIC_URL.fullmatch(access.public_url):
        raise ConfigError("access.public_url: expected https://HOST or https://HOST:PORT and nothing behind it")
    for place, proxy in enumerate(access.proxies):
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise ConfigError(f"access.proxies[{place}]: expected an address or a network, found {proxy!r}") from None
    for role in access.identity_roles:
        if role not in ROLES:
            raise ConfigError(f"access.identity_roles: expected roles among {', '.join(ROLES)}, found {role!r}")
    oidc = access.oidc
    if not oidc.issuer:
        return
    if not _ISSUER.fullmatch(oidc.issuer):
        raise ConfigError("access.oidc.issuer: expected an https:// address (http:// on this machine alone)")
    if not oidc.client_id:
        raise ConfigError("access.oidc.client_id: expected what the OpenID provider calls us, found nothing")
    if not (oidc.viewers or oidc.operators or oidc.admins):
        raise ConfigError("access.oidc: expected groups in viewers, operators or admins; without, nobody may log in")
