"""Chapters 6 and 8 of the statement: every setting of the services with its present value, and security.

References
----------
PS3.2 Annex N, N.6 and N.8; PS3.15
"""

from urllib.parse import urlsplit

from conformance.statement.destinations import address, dimse, root, web
from conformance.statement.document import NOT_SUPPORTED, Section, Table
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.outlets import Outlet
from sgmri.settings import Settings, documented_keys

COVERED = ("listener", "series", "delivery", "destination")
"""The tables of the settings that concern DICOM services."""
LEFT_OUT = ("storage", "selection", "broker", "queue", "worker", "retention", "access", "log")
"""Those that do not: queue, retention and log-in are no services; URLs of journal and broker may hold passwords."""


def configuration(settings: Settings) -> Section:
    """Return chapter 6."""
    dimse = (
        ("6.2.5", "Storage Service", ("listener.*, delivery.* and destination[].* of 6.1.",)),
        (
            "6.2.6",
            "Storage Commitment Service",
            ("delivery.commitment, delivery.commitment_timeout_s and destination[].commitment of 6.1.",),
        ),
        ("6.2.7", "Query/Retrieve Service", ("destination[].commitment of 6.1.",)),
    )
    other = (
        ("6.4", "Configuration of Media Storage Services"),
        ("6.5", "Configuration of Real-Time Video Services"),
        ("6.6", "Configuration of Audit Trail"),
    )
    return Section(
        number="6",
        title="Configuration",
        sections=(
            Section(
                number="6.1",
                title="General Configuration Parameters",
                blocks=(
                    "One TOML file; `sgmri settings` prints all keys. The processes read it when they start.",
                    _parameters(settings),
                    _peers(settings),
                ),
            ),
            Section(
                number="6.2",
                title="Configuration of DIMSE Services",
                sections=tuple(Section(number=number, title=title, blocks=blocks) for number, title, blocks in dimse),
            ),
            Section(
                number="6.3",
                title="Configuration of DICOM Web Services",
                blocks=("destination[].kind, url, authentication, secret_file and commitment of 6.1.",),
            ),
            *(Section(number=number, title=title, blocks=(NOT_SUPPORTED,)) for number, title in other),
        ),
    )


def _parameters(settings: Settings) -> Table:
    rows = []
    for key in documented_keys():
        table, _, name = key.path.partition(".")
        if table == "destination[]":
            present = tuple(_of_outlet(outlet, name) for outlet in settings.destination)
            rows.append((key.path, key.unit, _shown(key.default), "; ".join(present) or "(no further one)", key.doc))
        elif table in COVERED and not name.startswith("peers"):
            value = getattr(getattr(settings, table), name)
            rows.append((key.path, key.unit, _shown(key.default), _shown(value), key.doc))
    return Table(
        key="parameters",
        title="Configuration parameters",
        columns=("Key", "Unit", "Default", "Present value", "Meaning"),
        rows=tuple(rows),
    )


def _of_outlet(outlet: Outlet, name: str) -> str:
    if name == "url":
        value = root(outlet)
    elif name == "secret_file":
        value = "(set)" if outlet.secret_file else ""
    else:
        value = getattr(outlet, name)
    return f"{outlet.name}: {_shown(value)}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "(none)"
    return "(empty)" if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def _peers(settings: Settings) -> Table:
    return Table(
        key="peers",
        title="Application entities that may call; everybody else is rejected",
        columns=("Calling AE title", "From address"),
        rows=tuple((peer.ae_title, peer.host or "any") for peer in settings.listener.peers),
    )


def security(settings: Settings) -> Section:
    """Return chapter 8."""
    profiles = (
        ("8.4.1", "Secure Use and User Identity Profiles"),
        ("8.4.2", "Secure Transport Connection Profiles"),
        ("8.4.3", "Media Storage Security Profiles"),
        ("8.4.4", "Attribute Confidentiality Profiles"),
        ("8.4.5", "Digital Signature Profiles"),
        ("8.4.6", "Additional DICOM Security Profiles"),
    )
    tls = f"{NOT_SUPPORTED} The listener does not answer a TLS handshake, deliveries by DIMSE begin none; the web: 8.6."
    return Section(
        number="8",
        title="Security",
        sections=(
            Section(number="8.1", title="Introduction", blocks=(RESEARCH_USE_STATEMENT,)),
            Section(
                number="8.2",
                title="External Network Requirements",
                blocks=(
                    "Associations are not encrypted: a protected network, or a tunnel, is needed. Time comes from the "
                    "operating system. No LDAP, no DNS service discovery.",
                ),
            ),
            Section(number="8.3", title="TCP Port Configuration", blocks=(_ports(settings),)),
            Section(
                number="8.4",
                title="DICOM Security Profiles",
                sections=tuple(
                    Section(number=number, title=title, blocks=(tls if number == "8.4.2" else NOT_SUPPORTED,))
                    for number, title in profiles
                ),
            ),
            Section(
                number="8.5",
                title="User Identity Negotiation",
                blocks=(f"{NOT_SUPPORTED} As initiator it is not proposed, as acceptor it is not answered.",),
            ),
            Section(number="8.6", title="Web Services Security Features", blocks=(_web_security(settings),)),
            Section(
                number="8.7",
                title="Other Security Features",
                blocks=(
                    "Peers are denied by default and known by AE title and address (6.1). Associations, instances and "
                    "requests are limited in number, size and time (7.2.1.4). Log lines hold no header values. "
                    "Received "
                    "instances and results lie unencrypted in storage.state_dir.",
                ),
            ),
        ),
    )


def _web_security(settings: Settings) -> str:
    used = "; ".join(
        f"{outlet.name}: {urlsplit(outlet.url).scheme}, authentication {outlet.authentication}"
        for outlet in web(settings)
    )
    return (
        "As user agent: HTTP, or HTTPS where the url of a destination says so, the server's certificate and name being "
        "checked against the authorities of the Python package certifi; no client certificate. Authentication none, "
        f"basic (RFC 7617) or bearer (RFC 6750). Destinations now: {used or 'none'}."
    )


def _ports(settings: Settings) -> Table:
    rows = [("in", str(settings.listener.port), "listener.port", "all services as acceptor, from the peers of 6.1")]
    for outlet in (*dimse(settings), *web(settings)):
        use = "Storage and its proof" if outlet.kind == "dimse" else "STOW-RS, QIDO-RS"
        rows.append(("out", str(address(outlet)[1]), f"port or url of {outlet.name}", use))
    return Table(key="ports", title="TCP ports", columns=("Direction", "Port", "Key", "Use"), rows=tuple(rows))
