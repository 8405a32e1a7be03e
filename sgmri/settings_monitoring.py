"""Settings of what watches the product from outside: metrics, traces and alerts."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sgmri.errors import ConfigError
from sgmri.setting_keys import check_choice, check_port, setting, table

SMTP_SECURITIES = ("starttls", "tls", "none")
"""How a connection to the mail server is protected (RFC 3207, RFC 8314)."""

_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The listener's HTTP endpoint for monitoring: /metrics, /health, /ready and /ready/receive."""

    host: str = setting("127.0.0.1", "address to listen on; it asks for no password")
    port: int = setting(0, "TCP port; 0: off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """One OpenTelemetry trace for each series, from the journal's timeline."""

    endpoint: str = setting(
        "", "OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces (needs sgmri[otel]); empty: off"
    )
    period_s: float = setting(5.0, "how often what is new is sent", unit="s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """Where alerts go by e-mail."""

    host: str = setting("", "mail server (SMTP); empty: no e-mail")
    port: int = setting(587, "its port")
    security: str = setting("starttls", "starttls, tls (from the first byte, mostly port 465) or none")
    ca_file: str = setting("", "PEM file of the authorities that its certificate may be from; empty: the system's")
    user: str = setting("", "user name there; empty: no log-in")
    password_file: str = setting(
        "", "file that holds the password alone; the environment's SGMRI_ALERTS_SMTP_PASSWORD wins"
    )
    sender: str = setting("", "address that it is from")
    recipients: tuple[str, ...] = setting((), "addresses that it goes to")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where alerts go as signed JSON (Standard Webhooks)."""

    url: str = setting("", "https:// address, or http:// on this machine (needs sgmri[alerts]); empty: none")
    secret_file: str = setting(
        "",
        "file that holds the signing secret alone: whsec_ and 24 to 64 bytes in base64; "
        "the environment's SGMRI_ALERTS_WEBHOOK_SECRET wins",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Who is told when series fail, a destination is down, the disk is full, readings do not go on, or audit breaks."""

    site: str = setting("sgmri", "what messages call this installation")
    period_s: float = setting(15.0, "how often the listener looks", unit="s")
    group_s: float = setting(60.0, "a message waits for more to say", unit="s")
    pause_s: float = setting(900.0, "least time between two messages; what happens meanwhile is in the next", unit="s")
    repeat_s: float = setting(14400.0, "what goes on is said again after", unit="s")
    audit_period_s: float = setting(3600.0, "how often the audit log is verified", unit="s")
    timeout_s: float = setting(15.0, "limit for connecting, and for each answer", unit="s")
    email: Email = table(Email, "By e-mail")
    webhook: Webhook = table(Webhook, "By webhook")


def check_monitoring(metrics: Metrics, traces: Traces, alerts: Alerts) -> None:
    """Check the three tables.

    Raises
    ------
    ConfigError
        If an address cannot be one, or a channel lacks what it needs.
    """
    check_port("metrics.port", metrics.port)
    if traces.endpoint and not _is_url(traces.endpoint):
        raise ConfigError("traces.endpoint: expected http:// or https:// and a host without user name or password")
    if not alerts.site or not alerts.site.isprintable():
        raise ConfigError("alerts.site: expected a name of printable characters")
    if alerts.email.host:
        _check_email(alerts.email)
    url = alerts.webhook.url
    if url and not (_is_url(url) and (url.startswith("https://") or urlsplit(url).hostname in _LOOPBACK)):
        raise ConfigError(
            "alerts.webhook.url: expected https:// (http:// to this machine) and a host without user name or password"
        )


def _is_url(url: str) -> bool:
    return re.match(r"https?://[^/@\s]+(/\S*)?$", url) is not None


def _check_email(email: Email) -> None:
    check_port("alerts.email.port", email.port)
    check_choice("alerts.email.security", email.security, SMTP_SECURITIES)
    for path, address in (
        ("alerts.email.sender", email.sender),
        *((f"alerts.email.recipients[{place}]", one) for place, one in enumerate(email.recipients)),
    ):
        if not _ADDRESS.fullmatch(address):
            raise ConfigError(f"{path}: expected an address such as pacs-team@hospital.example, found {address!r}")
    if not email.recipients:
        raise ConfigError("alerts.email.recipients: expected at least one address, found none")
    if email.user and email.security == "none":
        raise ConfigError("alerts.email.security: expected starttls or tls where there is a user: a password is sent")
