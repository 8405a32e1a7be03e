"""Chapter 7 of the statement: associations, presentation contexts and statuses, from the tables that the product uses.

References
----------
PS3.2 Annex N, N.7; PS3.7 Annex D, PS3.8 9.3
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.pdu_primitives import DEFAULT_MAX_LENGTH  # type: ignore[attr-defined]

from conformance.statement.destinations import dimse, responses, web_responses
from conformance.statement.document import Section, Table
from conformance.statement.services import AE
from dicom_io import identity, services
from dicom_io.network import MAX_CONTEXTS
from dicom_io.receiver.commands import MAX_COMMAND_BYTES
from dicom_io.receiver.messages import MAX_EVENT_BYTES
from dicom_io.receiver.negotiation import APPLICATION_CONTEXT, supported_contexts
from dicom_io.receiver.pdus import MAX_REQUEST_BYTES
from dicom_io.services import Role, Service, Use, for_use
from dicom_io.statuses import EchoStatus, EventStatus, Rejection, StoreStatus
from sgmri.settings import Settings

_ACTIVITIES = (
    (Use.DELIVER, "Store results", "a reading is complete, or was taken back"),
    (Use.COMMIT, "Ask for storage commitment", "all objects of a reading are stored"),
    (
        Use.ECHO,
        "Verify the destination",
        "the operator runs `sgmri doctor`, or a destination that was left alone is probed",
    ),
    (
        Use.QUERY,
        "Query and retrieve",
        "FIND: a destination refused an object, or is to prove that it has all; FIND, MOVE: the archive of [sweep] is "
        "swept; FIND, GET: the operator runs `sgmri demo`",
    ),
)


@dataclass(frozen=True, slots=True)
class _SyntaxSets:
    """The different lists of transfer syntaxes, named in the order in which the table of services has them."""

    names: dict[tuple[str, ...], str]

    @classmethod
    def of_services(cls) -> "_SyntaxSets":
        lists = dict.fromkeys(tuple(map(str, service.transfer_syntaxes)) for service in services.SERVICES)
        return cls({syntaxes: f"TS-{number}" for number, syntaxes in enumerate(lists, start=1)})

    def name(self, syntaxes: Sequence[str]) -> str:
        return self.names[tuple(map(str, syntaxes))]

    def table(self) -> Table:
        rows = (
            (name, str(place), UID(uid).name, uid)
            for syntaxes, name in self.names.items()
            for place, uid in enumerate(syntaxes, start=1)
        )
        return Table(
            key="transfer-syntaxes",
            title="Lists of transfer syntaxes, in order of preference",
            columns=("List", "Order", "Name", "UID"),
            rows=tuple(rows),
        )


def network(settings: Settings) -> Section:
    """Return chapter 7."""
    syntaxes = _SyntaxSets.of_services()
    return Section(
        number="7",
        title="Network and Media Communication Details",
        sections=(
            Section(
                number="7.1",
                title="General",
                sections=(
                    Section(
                        number="7.1.1",
                        title="General Association Parameters",
                        blocks=(_general(settings), syntaxes.table()),
                    ),
                ),
            ),
            Section(number="7.2", title="Specifications", sections=(_application_entity(settings, syntaxes),)),
            Section(
                number="7.3",
                title="Status Codes",
                sections=(
                    Section(
                        number="7.3.1",
                        title="General Communication and Failure Behaviour",
                        blocks=(_failures(settings),),
                    ),
                    Section(number="7.3.2", title="DIMSE Services", blocks=(_answers(), *responses())),
                    Section(number="7.3.3", title="DICOM Web Services", blocks=web_responses()),
                ),
            ),
        ),
    )


def _general(settings: Settings) -> Table:
    rows = (
        ("Application Context Name", APPLICATION_CONTEXT),
        ("Implementation Class UID", identity.IMPLEMENTATION_CLASS_UID),
        ("Implementation Version Name", identity.IMPLEMENTATION_VERSION_NAME),
        ("Maximum PDU length offered as acceptor, in bytes", str(settings.listener.max_pdu_bytes)),
        ("Maximum PDU length offered as initiator, in bytes", str(DEFAULT_MAX_LENGTH)),
        ("Asynchronous operations window", "not negotiated: one operation at a time"),
        ("SOP class extended negotiation", "not negotiated"),
        ("SOP class common extended negotiation", "not negotiated"),
        ("User identity negotiation", "not negotiated"),
    )
    return Table(key="association-parameters", title="Associations", columns=("Parameter", "Value"), rows=rows)


def _application_entity(settings: Settings, syntaxes: _SyntaxSets) -> Section:
    return Section(
        number="7.2.1",
        title=AE,
        sections=(
            Section(
                number="7.2.1.1",
                title="Sequencing of Real-World Activities",
                blocks=(
                    "1. A peer stores a series. 2. The series is complete and is read. 3. Its objects are stored at "
                    "each destination, in the order SEG, SR, text SR, PR, SC, PDF, KO. 4. The destination is asked for "
                    "proof: storage commitment, or a query. 5. It reports. Step 4 follows step 3 only when it has "
                    "taken every object; each destination goes through steps 3 to 5 on its own.",
                ),
            ),
            Section(number="7.2.1.2", title="Association Parameters", blocks=(_parameters(settings),)),
            Section(number="7.2.1.3", title="Association Initiation", blocks=tuple(_initiation(settings, syntaxes))),
            Section(number="7.2.1.4", title="Association Acceptance", blocks=tuple(_acceptance(settings, syntaxes))),
        ),
    )


def _parameters(settings: Settings) -> Table:
    listener, delivery = settings.listener, settings.delivery
    own = (
        ("acceptor", "associations at a time of one AE title", str(listener.max_associations_per_peer)),
        ("acceptor", "an association is aborted after, whatever it does, in s", f"{listener.association_timeout_s:g}"),
    )
    rows = (
        ("both", "AE title", listener.ae_title),
        ("acceptor", "associations at a time", str(listener.max_associations)),
        ("acceptor", "a whole association request must come within, in s", f"{listener.request_timeout_s:g}"),
        ("acceptor", "an association without traffic is aborted after, in s", f"{listener.network_timeout_s:g}"),
        *(own if listener.receiver == "own" else ()),
        (
            "initiator",
            "associations at a time, for each process of a delivery worker and each destination",
            "1 for Storage, kept open; 1 more, short, for Verification, Storage Commitment or Query",
        ),
        ("initiator", "an association without traffic is released after, in s", f"{delivery.idle_timeout_s:g}"),
        ("initiator", "limit for connecting, negotiating and each response, in s", f"{delivery.timeout_s:g}"),
    )
    return Table(key="ae-parameters", title="Number, time and names", columns=("Role", "Parameter", "Value"), rows=rows)


def _initiation(settings: Settings, syntaxes: _SyntaxSets) -> Iterator[str | Table]:
    called = ", ".join(dict.fromkeys(outlet.ae_title for outlet in dimse(settings)))
    if called:
        yield f"Called AE title: {called}. Calling AE title: {settings.listener.ae_title}."
    else:
        yield "No destination by DIMSE is configured (delivery.ae_title, [[destination]]): no association is initiated."
    yield (
        "For each SOP class of the objects to store, one context proposes the transfer syntax of the object, "
        f"{UID('1.2.840.10008.1.2.1').name}, and a second one the others of its list; the other services propose their "
        "list in one context. C-GET proposes the SCP role for the SOP classes of the objects to store."
    )
    rows = [
        (activity, when, service.name, service.sop_class_uid, syntaxes.name(service.transfer_syntaxes), "SCU", "none")
        for use, activity, when in _ACTIVITIES
        for service in for_use(use, role=Role.SCU)
    ]
    yield Table(
        key="contexts-initiation",
        title="Presentation contexts proposed",
        columns=("Activity", "When", "SOP Class", "UID", "Transfer syntaxes", "Role", "Extended negotiation"),
        rows=tuple(rows),
    )


def _acceptance(settings: Settings, syntaxes: _SyntaxSets) -> Iterator[str | Table]:
    yield (
        "Of the transfer syntaxes that a context proposes, the one that stands first in the list of its SOP class is "
        "accepted. Contexts of other SOP classes are refused (abstract syntax not supported), of other transfer "
        "syntaxes too (transfer syntaxes not supported)."
    )
    named = {service.sop_class_uid: service for service in services.SERVICES}
    yield Table(
        key="contexts-acceptance",
        title="Presentation contexts accepted",
        columns=("SOP Class", "UID", "Transfer syntaxes", "Role", "Use"),
        rows=tuple(
            (
                *_class_of(named, str(context.abstract_syntax)),
                syntaxes.name(context.transfer_syntax),
                "SCU" if context.scu_role and context.scp_role else "SCP",
                "result of storage commitment (the peer proposes the SCP role)"
                if context.scp_role
                else _use_of(str(context.abstract_syntax)),
            )
            for context in supported_contexts()
        ),
    )
    yield _rejections(settings)
    if settings.listener.receiver == "own":
        yield Table(
            key="limits",
            title="Limits; what exceeds them ends the association with A-ABORT",
            columns=("Limit", "Value"),
            rows=(
                ("bytes of an association request", str(MAX_REQUEST_BYTES)),
                ("presentation contexts of a request", str(MAX_CONTEXTS)),
                ("bytes of a command set", str(MAX_COMMAND_BYTES)),
                ("bytes of the data set of an N-EVENT-REPORT", str(MAX_EVENT_BYTES)),
                ("bytes of the data set of a C-STORE that is refused", str(2 * settings.listener.max_instance_bytes)),
            ),
        )


def _class_of(named: dict[str, Service], uid: str) -> tuple[str, str]:
    return named[uid].name, uid


def _use_of(uid: str) -> str:
    return next(
        service.use for service in services.SERVICES if service.sop_class_uid == uid and service.role is Role.SCP
    )


def _rejections(settings: Settings) -> Table:
    rows = tuple(
        (str(result), str(source), str(reason), rejection.when)
        for rejection in Rejection
        for result, source, reason in (rejection.fields,)
        if settings.listener.receiver in rejection.receivers
    )
    return Table(
        key="rejections",
        title="A-ASSOCIATE-RJ",
        columns=("Result", "Source", "Reason", "When"),
        rows=rows,
    )


def _failures(settings: Settings) -> Table:
    delivery = settings.delivery
    rows = (
        ("acceptor: PDU or message that the protocol does not allow here", "A-ABORT; a partial instance is discarded"),
        (
            "acceptor: the peer is silent, aborts or disconnects",
            "the association ends; a partial instance is discarded",
        ),
        (
            "initiator: no connection, transient rejection, abort, no response in time",
            f"tried again with growing pauses; after {delivery.max_connection_failures} failed connections in a row "
            f"only probed, every {delivery.probe_interval_s:g} s",
        ),
        ("initiator: permanent rejection", f"tried again after {delivery.retry_max_s:g} s"),
        (
            "initiator: no context accepted for an object",
            f"as a refused object: tried again after {delivery.retry_max_s:g} s; the other objects are stored",
        ),
    )
    return Table(key="failures", title="Communication failures", columns=("What happens", "Behaviour"), rows=rows)


def _answers() -> Table:
    tables = (("C-ECHO", EchoStatus), ("C-STORE", StoreStatus), ("N-EVENT-REPORT", EventStatus))
    rows = tuple(
        (service, f"{status:04X}", status.meaning, status.when) for service, statuses in tables for status in statuses
    )
    return Table(
        key="statuses",
        title="Statuses answered as acceptor",
        columns=("Service", "Status", "Meaning", "When"),
        rows=rows,
    )
