"""The settings of the audit log and of the syslog server that its events are sent to."""

from dataclasses import dataclass

from sgmri.errors import ConfigError
from sgmri.setting_keys import check_choice, check_port, setting

ON_FAILURE = ("go-on", "stop")
"""What happens to the work when the audit log cannot be written."""
TRANSPORTS = ("none", "tls", "udp")
"""How audit messages travel: not at all, over TLS (RFC 5425), or in datagrams (RFC 5426)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What is remembered of who did what, and who else is told."""

    max_file_bytes: int = setting(64 << 20, "a new file of the audit log is begun after this many", unit="bytes")
    synced: bool = setting(True, "whether each line is safe from a power cut before what it records goes on")
    on_failure: str = setting(
        "go-on",
        "when the audit log cannot be written: go-on (the log says afterwards how many events it lacks) or stop (the "
        "listener ends, and nothing is read, sent, deleted or changed)",
    )
    syslog_transport: str = setting(
        "none", "how DICOM audit messages (PS3.15 A.5) are sent: none, tls (RFC 5425) or udp (RFC 5426, may lose some)"
    )
    syslog_host: str = setting("", "the syslog server's name or address; with tls, the name in its certificate")
    syslog_port: int = setting(6514, "its port")
    syslog_ca_file: str = setting("", "tls: PEM file of the authorities that it is trusted by; empty: the system's")
    syslog_certificate_file: str = setting("", "tls: PEM file of our certificate, with its chain; empty: none is shown")
    syslog_key_file: str = setting("", "tls: PEM file of our private key")
    syslog_timeout_s: float = setting(10.0, "limit for connecting, and for sending one message", unit="s")
    syslog_identity: bool = setting(
        False,
        "whether audit messages hold Study Instance UID and Patient ID, as PS3.15 demands of some; without, they hold "
        "the series key instead",
    )


def check_audit(audit: Audit) -> None:
    """Raise ConfigError unless the settings of the audit log agree with each other."""
    check_choice("audit.on_failure", audit.on_failure, ON_FAILURE)
    check_choice("audit.syslog_transport", audit.syslog_transport, TRANSPORTS)
    check_port("audit.syslog_port", audit.syslog_port)
    if audit.syslog_transport != "none" and not audit.syslog_host:
        raise ConfigError(f"audit.syslog_host: expected a host for audit.syslog_transport = {audit.syslog_transport!r}")
    if bool(audit.syslog_certificate_file) != bool(audit.syslog_key_file):
        raise ConfigError("audit.syslog_key_file: expected both a certificate and its key, or neither")
