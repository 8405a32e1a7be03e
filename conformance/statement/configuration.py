"""Chapter 6 of the statement: every setting of the services with its present value.

References
----------
PS3.2 Annex N, N.6
"""

from functools import reduce

from conformance.statement.destinations import root
from conformance.statement.document import NOT_SUPPORTED, Section, Table
from sgmri.outlets import Outlet
from sgmri.settings import Peer, Settings, documented_keys

COVERED = ("listener", "series", "delivery", "destination", "sweep", "audit")
"""The tables of the settings that concern DICOM services."""
LEFT_OUT = (
    *("storage", "selection", "broker", "queue", "worker", "retention", "dashboard", "access", "log"),
    *("metrics", "traces", "alerts"),
)
"""Those that do not: queue, retention and log-in are no services; URLs of journal and broker may hold passwords."""
_FILES = ("secret_file", "tls.certificate", "tls.key", "tls.ca", "tls.crl")
"""Keys that name a file, of which is only said that there is one."""


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
                blocks=("destination[].kind, url, authentication, secret_file, tls and commitment of 6.1.",),
            ),
            *(Section(number=number, title=title, blocks=(NOT_SUPPORTED,)) for number, title in other),
            Section(
                number="6.6",
                title="Configuration of Audit Trail",
                blocks=(
                    "audit.* of 6.1. Audit messages (PS3.15 A.5) are sent over TLS or UDP (PS3.15 A.6, A.7); without "
                    "audit.syslog_identity those about transfer and access name no study and no patient.",
                ),
            ),
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
            value = _value(getattr(settings, table), name)
            rows.append((key.path, key.unit, _shown(key.default), _shown(value), key.doc))
    return Table(
        key="parameters",
        title="Configuration parameters",
        columns=("Key", "Unit", "Default", "Present value", "Meaning"),
        rows=tuple(rows),
    )


def _of_outlet(outlet: Outlet, name: str) -> str:
    value = root(outlet) if name == "url" else _value(outlet, name)
    return f"{outlet.name}: {_shown(value)}"


def _value(section: object, name: str) -> object:
    value: object = reduce(getattr, name.split("."), section)
    return "(set)" if name in _FILES and value else value


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
        columns=("Calling AE title", "From address", "With certificate"),
        rows=tuple((peer.ae_title, peer.host or "any", _certificate(peer)) for peer in settings.listener.peers),
    )


def _certificate(peer: Peer) -> str:
    asked = [f"SHA-256 {', '.join(peer.certificate_sha256)}"] if peer.certificate_sha256 else []
    if peer.certificate_names:
        asked.append(f"bearing {' or '.join(peer.certificate_names)}")
    return "; ".join(asked) or "of listener.tls, where the connection is secure"
