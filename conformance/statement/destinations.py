"""The destinations of a configuration: what each gets, how patiently it is tried, and how it proves that it keeps it.

References
----------
PS3.2 Annex N, N.4 and N.5; PS3.4 Annex J; PS3.18 10.5 (Store), 10.6 (Search)
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from conformance.statement.document import Table
from conformance.statement.measurement import REJECTION
from dicom_io.kinds import ResultKind
from dicom_io.profiles import KINDS, profile_for
from dicom_io.scu import PROBE_TIMEOUT_S
from dicom_io.services import Role, Use, for_use
from dicom_io.statuses import FAILURE_REASONS, HTTP_RESPONSES, STORE_RESPONSES, ResponseRule
from sgmri.outlets import DEFAULT_NAME, Outlet
from sgmri.settings import Settings


def dimse(settings: Settings) -> tuple[Outlet, ...]:
    """Return the destinations that are associations away."""
    return tuple(outlet for outlet in settings.outlets if outlet.kind == "dimse")


def web(settings: Settings) -> tuple[Outlet, ...]:
    """Return the destinations that are origin servers."""
    return tuple(outlet for outlet in settings.outlets if outlet.kind == "stow")


def address(outlet: Outlet) -> tuple[str, int]:
    """Return host and TCP port of a destination."""
    if outlet.kind == "dimse":
        return outlet.host, outlet.port
    parts = urlsplit(outlet.url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def root(outlet: Outlet) -> str:
    """Return the root of a DICOMweb service, without a query, in which a secret might stand."""
    return outlet.url.partition("?")[0].partition("#")[0]


def data_flow(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of the data flow: remote system, direction, service, what."""
    for outlet in dimse(settings):
        where = f"{outlet.name}: {outlet.ae_title}"
        yield where, "out", "Storage", "results"
        if outlet.commitment == "storage-commitment":
            yield where, "out", "Storage Commitment: N-ACTION", "request to be responsible for results"
            yield where, "in", "Storage Commitment: N-EVENT-REPORT", "its result"
        yield where, "out", "Query/Retrieve: C-FIND", _asked_for(outlet)
    for outlet in web(settings):
        where = f"{outlet.name}: {root(outlet)}"
        yield where, "out", "STOW-RS", "results"
        yield where, "out", "QIDO-RS", _asked_for(outlet)


def _asked_for(outlet: Outlet) -> str:
    refused = "whether it has an object that it refused"
    return f"proof that it has every object; {refused}" if outlet.commitment == "query" else refused


def store_scu(settings: Settings) -> Iterator[str | Table]:
    """Yield how results are stored, by C-STORE or STOW-RS, and what each destination gets."""
    delivery = settings.delivery
    yield (
        "SCU: the objects of a reading are stored on one association, what is referred to before what refers to it, "
        "without transcoding beyond Explicit or Implicit VR; the association stays open for the next reading and is "
        f"released after {delivery.idle_timeout_s:g} s without traffic. What a destination took is not sent to it "
        "again; an object that it refuses holds back no other. Where it lists a refused object already (C-FIND or "
        "QIDO-RS), the object counts as stored."
    )
    yield _destinations(settings)
    yield Table(
        key="patience",
        title="How patiently each destination is tried; one that fails holds back no other",
        columns=("Event", "What happens"),
        rows=(
            (
                "no connection, transient rejection, abort, no response in time, or sent again later (7.3)",
                f"tried again after {delivery.retry_first_s:g} s, each further time after three times as long, at most "
                f"{delivery.retry_max_s:g} s",
            ),
            ("permanent rejection, or an object is refused", f"tried again after {delivery.retry_max_s:g} s"),
            (
                f"{delivery.max_connection_failures} connections in a row fail",
                "the destination is left alone by all workers, and probed with C-ECHO or a search for one study every "
                f"{delivery.probe_interval_s:g} s, for at most "
                f"{min(PROBE_TIMEOUT_S, delivery.timeout_s):g} s each; when it answers, what waits is sent",
            ),
            (f"not delivered for {delivery.give_up_after_s:g} s", "the delivery is FAILED; an operator may retry it"),
        ),
    )
    yield _kinds(settings)


def _destinations(settings: Settings) -> Table:
    rows = []
    for outlet in settings.outlets:
        host, port = address(outlet)
        rows.append(
            (
                outlet.name,
                "C-STORE" if outlet.kind == "dimse" else "STOW-RS",
                outlet.ae_title if outlet.kind == "dimse" else root(outlet),
                f"{host}:{port}",
                outlet.commitment,
                ", ".join(outlet.question_sets) or "all",
            )
        )
    return Table(
        key="destinations",
        title="Destinations",
        columns=("Name", "Service", "AE title or root", "Address", "Proof of storage", "Readings of question sets"),
        rows=tuple(rows),
    )


def _kinds(settings: Settings) -> Table:
    profiles = {outlet.name: profile_for(outlet) for outlet in settings.outlets}
    profiles = profiles or {DEFAULT_NAME: profile_for(settings.delivery)}
    rows = tuple(
        (
            kind,
            ", ".join(viewer for viewer, shown in KINDS.items() if kind in shown) or "by configuration",
            *("Y" if kind in profile.kinds else "N" for profile in profiles.values()),
        )
        for kind in ResultKind
    )
    return Table(
        key="kinds-delivered",
        title="Objects of a reading that each configured destination gets",
        columns=("Kind", "For viewers", *profiles),
        rows=(*rows, (REJECTION, "on retraction", *("Y" for _ in profiles))),
    )


def commitment(settings: Settings) -> Iterator[str | Table]:
    """Yield how destinations prove that they keep what they took."""
    delivery = settings.delivery
    asked = [outlet.name for outlet in dimse(settings) if outlet.commitment == "storage-commitment"]
    yield f"Destinations that are asked: {', '.join(asked) or 'none'}. A result is accepted all the same from any peer."
    yield (
        "SCU of the Push Model. When all objects of a reading are stored, one N-ACTION names them all, with a new "
        "Transaction UID, on an association of its own that is released after the response. The N-EVENT-REPORT is "
        "taken by the listener, on an association that the SCP opens and on which it proposes the SCP role."
    )
    again = f"asked again after {delivery.retry_max_s:g} s"
    yield Table(
        key="commitment",
        title="Storage commitment",
        columns=("Event", "What happens"),
        rows=(
            ("N-ACTION answered with a status other than 0x0000", again),
            ("no association or no response", "as for storage: retried with growing pauses"),
            ("no result in time", f"asked again, as a new transaction, after {delivery.commitment_timeout_s:g} s"),
            ("event type 1, all objects", "the delivery is COMMITTED"),
            (
                "event type 2, some objects failed",
                f"what failed is stored again after {delivery.retry_max_s:g} s, byte for byte, and commitment asked "
                "for again",
            ),
            ("result of an unknown transaction", "answered Success, logged, and nothing else"),
            ("a second result of the same transaction", "answered Success, changes nothing that is committed"),
        ),
    )
    yield (
        "Destinations set to query prove by a search (C-FIND or QIDO-RS) that lists every object: then the delivery is "
        f"COMMITTED. It is repeated with growing pauses; what is not listed after {delivery.commitment_timeout_s:g} s "
        "is stored again. Those set to none are never COMMITTED."
    )


def web_overview() -> Table:
    """Return the services over the web by role."""
    return Table(
        key="web-services",
        title="DICOM web services",
        columns=("Service", "User Agent", "Origin Server"),
        rows=(
            ("Studies Service: Store (STOW-RS)", "Y", "N"),
            ("Studies Service: Search (QIDO-RS)", "Y", "N"),
            ("Studies Service: Retrieve (WADO-RS)", "Y", "N"),
            ("Worklist Service (UPS-RS)", "N", "N"),
        ),
    )


def web_services(settings: Settings) -> Iterator[str | Table]:
    """Yield the requests of the user agent."""
    names = ", ".join(outlet.name for outlet in web(settings)) or "none"
    classes = ", ".join(service.name for service in for_use(Use.DELIVER, role=Role.SCU))
    yield (
        f"User agent of destinations of kind stow, which are now: {names}. One request stores all objects of a reading "
        f"that the destination lacks, in the transfer syntax in which they are written. SOP classes: {classes}. "
        "Notifications, bulk data and rendered resources are not used."
    )
    json = "application/dicom+json, application/json"
    yield Table(
        key="web-requests",
        title="Requests of the user agent",
        columns=("Request", "Resource", "Content-Type", "Accept", "When"),
        rows=(
            ("POST", "/studies", 'multipart/related; type="application/dicom"', "*/*", "results are stored"),
            (
                "GET",
                "/studies/{study}/series/{series}/instances",
                "",
                json,
                "an object was refused, or proof of storage is asked for",
            ),
            ("GET", "/studies?limit=1", "", json, "a destination that was left alone is probed; `sgmri doctor`"),
            (
                "GET",
                "/studies, /studies/{study}/series, with Modality MR",
                "",
                json,
                "the archive of [sweep] is swept, if it has an url",
            ),
            (
                "GET",
                "/studies/{study}/series/{series}",
                "",
                'multipart/related; type="application/dicom"; transfer-syntax=*',
                "the sweep fetches a series that the journal does not know completely",
            ),
        ),
    )


def responses() -> tuple[Table, ...]:
    """Return what a delivery makes of each status of a C-STORE."""
    title = "C-STORE as SCU: statuses received; the first row that holds a status counts"
    return (_responses("store-responses", title, STORE_RESPONSES, "04X"),)


def web_responses() -> tuple[Table, ...]:
    """Return what a delivery makes of each answer of an origin server."""
    single = "Store: Failure Reason (0008,1197) of single objects, also in a 409; an object of which nothing is said "
    whole = "HTTP statuses of responses that say nothing of single objects; the first row that holds a status counts"
    return (
        _responses("http-responses", whole, HTTP_RESPONSES, "d"),
        _responses("failure-reasons", f"{single}is sent again later", FAILURE_REASONS, "04X"),
    )


def _responses(key: str, title: str, rules: tuple[ResponseRule, ...], form: str) -> Table:
    rows = tuple(
        ("-".join(f"{end:{form}}" for end in dict.fromkeys((rule.first, rule.last))), rule.meaning, rule.outcome)
        for rule in rules
    )
    return Table(key=key, title=title, columns=("Status", "Meaning", "The object is"), rows=rows)
