"""Chapter 8 of the statement: security, above all of transport.

References
----------
PS3.2 Annex N, N.8; PS3.15 B.12, B.13
"""

from urllib.parse import urlsplit

from conformance.statement.destinations import address, dimse, web
from conformance.statement.document import NOT_SUPPORTED, Section, Table
from dicom_io.tls import SUITES, TLS13_SUITES
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.outlets import Outlet
from sgmri.settings import Settings
from sgmri.settings_tls import PROFILES


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
    tls: tuple[str | Table, ...] = (*_key_management(), _profiles(settings), _suites(), _secured(settings))
    return Section(
        number="8",
        title="Security",
        sections=(
            Section(number="8.1", title="Introduction", blocks=(RESEARCH_USE_STATEMENT,)),
            Section(
                number="8.2",
                title="External Network Requirements",
                blocks=(
                    "Associations without TLS (8.4.2) need a protected network. Time comes from the operating system; "
                    "certificates are held against it. No LDAP, no DNS service discovery, no OCSP.",
                ),
            ),
            Section(number="8.3", title="TCP Port Configuration", blocks=(_ports(settings),)),
            Section(
                number="8.4",
                title="DICOM Security Profiles",
                sections=tuple(
                    Section(number=number, title=title, blocks=tls if number == "8.4.2" else (NOT_SUPPORTED,))
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
                    "Peers are denied by default and known by AE title, address and certificate (6.1). Associations, "
                    "instances and requests are limited in number, size and time (7.2.1.4). Log lines hold no header "
                    "values. Received instances and results lie unencrypted in storage.state_dir.",
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
        "As user agent: HTTP, or HTTPS where the url of a destination says so, as in 8.4.2; without tls.ca the "
        "server's certificate is held against the authorities of the Python package certifi. Authentication none, "
        f"basic (RFC 7617) or bearer (RFC 6750). Destinations now: {used or 'none'}."
    )


def _key_management() -> tuple[str, ...]:
    return (
        "Keys and certificates are PEM files that the administrator provides and renews; they are read again when they "
        "have changed, without a restart. A private key has no passphrase and belongs to one user alone, which "
        "`sgmri doctor` checks. Revocation is known by lists (listener.tls.crl, tls.crl of a destination). RSA keys "
        "below 2048 bits, curves below 224 bits and signatures with SHA-1 are refused. Sessions are not resumed.",
        "A connection whose handshake fails is closed with an alert; a peer of another AE title, address or "
        "certificate than configured is rejected after it (A-ASSOCIATE-RJ 1/1/3). Both are logged and audited with the "
        "reason.",
    )


def _profiles(settings: Settings) -> Table:
    used = {tls.profile for tls in (settings.listener.tls, settings.delivery.tls)}
    used |= {outlet.tls.profile for outlet in settings.destination}
    return Table(
        key="tls-profiles",
        title="Profiles, as acceptor and as initiator",
        columns=("Profile", "Section of PS3.15", "Key", "Chosen", "Versions", "Remarks"),
        rows=(
            (
                "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile",
                "B.12",
                "bcp195",
                "Y" if "bcp195" in used else "N",
                "TLS 1.2, 1.3",
                "",
            ),
            (
                "Modified BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile",
                "B.13",
                "bcp195-modified",
                "Y" if "bcp195-modified" in used else "N",
                "TLS 1.2, 1.3",
                "without the two CCM suites of TLS 1.3",
            ),
        ),
    )


def _suites() -> Table:
    by_version = [("TLS 1.3", name, "Y", "Y") for name in TLS13_SUITES]
    by_version += [
        ("TLS 1.2", name, *("Y" if name in SUITES[profile] else "N" for profile in PROFILES))  # type: ignore[misc]
        for name in SUITES["bcp195-modified"]
    ]
    return Table(
        key="tls-suites",
        title="Cipher suites, by OpenSSL's names, in order of preference",
        columns=("Version", "Cipher suite", *PROFILES),
        rows=tuple(by_version),
    )


def _secured(settings: Settings) -> Table:
    tls = settings.listener.tls
    asked = "required" if tls.client_certificate_required else "asked for" if tls.ca else "not asked for"
    rows = [("acceptor", "listener", "no TLS", "")]
    if tls.is_on:
        rows = [("acceptor", "listener", "TLS", f"the peer's certificate is {asked}")]
    for outlet in dimse(settings):
        rows.append(("initiator", outlet.name, "TLS" if outlet.tls.ca else "no TLS", _checks(outlet)))
    for outlet in web(settings):
        is_secure = urlsplit(outlet.url).scheme == "https"
        rows.append(("initiator", outlet.name, "TLS" if is_secure else "no TLS", _checks(outlet) if is_secure else ""))
    return Table(
        key="tls-use",
        title="Where it is used now",
        columns=("Role", "Of", "Transport", "Authentication"),
        rows=tuple(rows),
    )


def _checks(outlet: Outlet) -> str:
    if outlet.kind == "dimse" and not outlet.tls.ca:
        return ""
    asked = ["authority"]
    asked += ["name"] if outlet.tls.check_name else []
    asked += ["fingerprint"] if outlet.tls.certificate_sha256 else []
    ours = "a certificate of ours is shown if asked for" if outlet.tls.certificate else "no certificate of ours"
    return f"its certificate is checked: {', '.join(asked)}; {ours}"


def _ports(settings: Settings) -> Table:
    listener, use = settings.listener, "all services as acceptor, from the peers of 6.1"
    rows = []
    if listener.tls.is_on:
        rows.append(("in", str(listener.tls.port), "listener.tls.port", f"{use}, over TLS"))
    if listener.tls.plain or not listener.tls.is_on:
        rows.append(("in", str(listener.port), "listener.port", use))
    for outlet in (*dimse(settings), *web(settings)):
        use = "Storage and its proof" if outlet.kind == "dimse" else "STOW-RS, QIDO-RS"
        rows.append(("out", str(address(outlet)[1]), f"port or url of {outlet.name}", use))
    return Table(key="ports", title="TCP ports", columns=("Direction", "Port", "Key", "Use"), rows=tuple(rows))
