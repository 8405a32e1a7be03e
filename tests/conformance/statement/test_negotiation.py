"""Every line of chapter 7 of the statement, held against listeners that run and against what we propose."""

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.pdu_primitives import (
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from conformance.statement.document import Document, Section
from conformance.statement.network import network
from dicom_io import services
from dicom_io.commitment import request
from dicom_io.network import MAX_CONTEXTS, Destination, echo
from dicom_io.query import Level, find, get, move
from dicom_io.scp import Callbacks
from dicom_io.scu import Sendable, deliverable, store
from dicom_io.services import MR_IMAGE, STORAGE_COMMITMENT, VERIFICATION, Role, Service, Use
from dicom_io.spool import Spool
from dicom_io.statuses import Outcome
from sgmri.errors import PeerUnavailable, SgmriError, StoreRefused
from sgmri.settings import Listener, Settings
from tests import receivers
from tests.faults import wire
from tests.receivers import Running, mr_instance

Lines = set[tuple[str, str]]
"""(SOP class, transfer syntax)."""
OF_RECEIVER = {"own": "own", "pynetdicom": "pynetdicom"}
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def chapter(**listener: Any) -> Document:
    """Return chapter 7 of the statement of a listener's settings."""
    section: Section = network(Settings(listener=Listener(**listener)))
    return Document(title="", cover=(), sections=(section,))


def lines(document: Document, key: str) -> Lines:
    """Return the presentation contexts that a table states."""
    lists: dict[str, list[str]] = {}
    for row in document.table("transfer-syntaxes").records():
        lists.setdefault(row["List"], []).append(row["UID"])
    return {(row["UID"], uid) for row in document.table(key).records() for uid in lists[row["Transfer syntaxes"]]}


def parameters_of(document: Document) -> dict[str, str]:
    """Return the association parameters that are stated."""
    return {row["Parameter"]: row["Value"] for row in document.table("association-parameters").records()}


def known(kind: str) -> list[str]:
    """Return every UID of a type in pydicom's dictionary."""
    return [uid for uid, (_, type_, *_rest) in UID_dictionary.items() if type_ == kind]


def associate(place: Running, contexts: Sequence[PresentationContext], **more: Any) -> Any:
    """Propose contexts; the association is over when it is returned."""
    association = AE(ae_title="SCANNER").associate(
        "127.0.0.1", place.scp.port, contexts=list(contexts), ae_title="SGMRI", **more
    )
    if association.is_established:
        association.release()
    return association


def accepted(place: Running, proposed: Iterable[tuple[str, str]]) -> Lines:
    """Propose each line as a context of its own; return those that are accepted."""
    waiting, found = sorted(proposed), set()
    while waiting:
        now, waiting = waiting[:MAX_CONTEXTS], waiting[MAX_CONTEXTS:]
        contexts = [build_context(uid, syntax) for uid, syntax in now]
        association = associate(place, contexts, ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)])
        found |= {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
    return found


@pytest.mark.parametrize("kind", OF_RECEIVER)
def test_the_listener_accepts_what_is_stated_and_nothing_else(kind: str, tmp_path: Path) -> None:
    """Every stated line is accepted; all SOP classes and transfer syntaxes known that are not stated are refused."""
    stated = lines(chapter(receiver=kind), "contexts-acceptance")
    assert len(stated) > 250
    classes = {*known("SOP Class"), *known("Meta SOP Class"), *(uid for uid, _ in stated), "2.25.1917"}
    syntaxes = [*known("Transfer Syntax"), "2.25.1917"]
    broad = {(uid, str(syntax)) for uid in classes for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)}
    broad |= {(uid, syntax) for uid in (MR_IMAGE, LABEL_MAP, STORAGE_COMMITMENT) for syntax in syntaxes}
    assert len(classes) > 250
    assert len(syntaxes) > 50
    with receivers.running(kind, tmp_path / "spool") as place:
        assert accepted(place, stated | broad) == stated


@pytest.mark.parametrize("kind", OF_RECEIVER)
def test_the_first_of_the_list_is_accepted_and_roles_are_as_stated(kind: str, tmp_path: Path) -> None:
    """Of several transfer syntaxes the first of our list counts; only storage commitment takes the role of SCU."""
    document = chapter(receiver=kind)
    order = [row["UID"] for row in document.table("transfer-syntaxes").records() if row["List"] == "TS-2"]
    with receivers.running(kind, tmp_path / "spool") as place:
        for number in range(len(order) - 1):
            (context,) = associate(place, [build_context(MR_IMAGE, order[number:][::-1])]).accepted_contexts
            assert str(context.transfer_syntax[0]) == order[number]
        for row in document.table("contexts-acceptance").records():
            uid = row["UID"]
            role = build_role(uid, scu_role=True, scp_role=True)
            (context,) = associate(place, [build_context(uid)], ext_neg=[role]).accepted_contexts
            assert (context.as_scu, context.as_scp) == (True, row["Role"] == "SCU"), row["SOP Class"]


@pytest.mark.parametrize("kind", OF_RECEIVER)
def test_association_parameters_are_as_stated(kind: str, tmp_path: Path) -> None:
    """Implementation identity and maximum length of the answer are those stated; nothing else is negotiated."""
    stated = parameters_of(chapter(receiver=kind, max_pdu_bytes=70_000))
    with receivers.running(kind, tmp_path / "spool", max_pdu_bytes=70_000) as place:
        answer = associate(place, [build_context(MR_IMAGE)]).acceptor.primitive
        found = {type(item).__name__: item for item in answer.user_information}
        assert str(answer.application_context_name) == stated["Application Context Name"]
        assert _identity(found) == (
            stated["Implementation Class UID"],
            stated["Implementation Version Name"],
            stated["Maximum PDU length offered as acceptor, in bytes"],
        )
        assert len(found) == 3


def _identity(items: dict[str, Any]) -> tuple[str, str, str]:
    return (
        str(items[ImplementationClassUIDNotification.__name__].implementation_class_uid),
        str(items[ImplementationVersionNameNotification.__name__].implementation_version_name),
        str(items[MaximumLengthNotification.__name__].maximum_length_received),
    )


@pytest.mark.parametrize("kind", OF_RECEIVER)
def test_every_status_that_is_stated_can_be_had_and_no_other(kind: str, tmp_path: Path) -> None:
    """Each row of the statuses is provoked, and what is provoked has a row."""

    def provoke() -> Iterator[tuple[str, int | None]]:
        with receivers.running(kind, tmp_path / "spool") as place, wire.associated(place) as peer:
            peer.send(
                wire.p_data(
                    wire.ECHO_CONTEXT, 3, wire.command(sop_class=VERIFICATION, field=0x30, message_id=1, data_set=0x101)
                )
            )
            yield "C-ECHO", peer.status()
            yield "C-STORE", peer.store(wire.data_set())
            yield "C-STORE", peer.store(wire.data_set(), "2.25.102")
            yield "C-STORE", peer.store(wire.data_set()[:-1])
            peer.send(wire.c_store(sop_class="1.2.840.10008.5.1.4.1.1.2") + wire.data(wire.data_set()))
            yield "C-STORE", peer.status()
        with receivers.running(kind, tmp_path / "small", max_instance_bytes=64) as place:
            yield "C-STORE", receivers.send(place, mr_instance())[0]
        yield "C-STORE", _without_journal(kind, tmp_path / "failing")
        with receivers.running(kind, tmp_path / "events") as place:
            yield from (("N-EVENT-REPORT", status) for status in _reported(place))

    stated = {(row["Service"], int(row["Status"], 16)) for row in chapter(receiver=kind).table("statuses").records()}
    assert set(provoke()) == stated


def _without_journal(kind: str, path: Path) -> int | None:
    def fail(_: object) -> None:
        raise RuntimeError("journal is away")

    scp_class, durability = receivers.KINDS[kind]
    settings = Listener(port=0, peers=(receivers.SCANNER,), durability=durability)
    scp = scp_class(settings, Spool(path), Callbacks(stored=fail, committed=fail))
    scp.start()
    try:
        return receivers.send(Running(scp=scp, spool=Spool(path)), mr_instance())[0]
    finally:
        scp.stop()


def _reported(place: Running) -> list[int]:
    information = mr_instance()
    information.TransactionUID = "2.25.9"
    association = AE(ae_title="SCANNER").associate(
        "127.0.0.1",
        place.scp.port,
        contexts=[build_context(STORAGE_COMMITMENT)],
        ae_title="SGMRI",
        ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)],
    )
    send = partial(association.send_n_event_report, class_uid=STORAGE_COMMITMENT, instance_uid="1.2.840.10008.1.20.1.1")
    statuses = [int(send(information, event_type)[0].Status) for event_type in (1, 3)]
    association.release()
    return statuses


@pytest.mark.parametrize("kind", OF_RECEIVER)
def test_every_rejection_that_is_stated_can_be_had_and_no_other(kind: str, tmp_path: Path) -> None:
    """Each reason for A-ASSOCIATE-RJ is provoked; what a receiver does not reject is not stated for it."""
    bodies = [
        wire.request_body().replace(b"10008.3.1.1.1", b"10008.3.1.1.2"),
        wire.request_body(version=2),
        wire.request_body(called="OTHER"),
        wire.request_body(calling="STRANGER"),
    ]
    found = set()
    with receivers.running(kind, tmp_path / "spool") as place:
        for body in bodies:
            found |= _rejection(place, body)
    with receivers.running(kind, Spool(tmp_path / "full", min_free_bytes=1 << 60)) as place:
        found |= _rejection(place, wire.request_body())
    with receivers.running(kind, tmp_path / "busy", max_associations=1) as place, wire.associated(place):
        found |= _rejection(place, wire.request_body())
    rows = chapter(receiver=kind).table("rejections").records()
    assert found == {(int(row["Result"]), int(row["Source"]), int(row["Reason"])) for row in rows}


def _rejection(place: Running, body: bytes) -> set[tuple[int, ...]]:
    with wire.calling(place) as peer:
        answer = peer.associate(body)
    return {tuple(answer[1][1:4])} if answer is not None and answer[0] == 3 else set()


@pytest.mark.parametrize("kind", OF_RECEIVER)
def test_there_is_no_tls_as_stated(kind: str, tmp_path: Path) -> None:
    """A TLS handshake is not answered as one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        receivers.running(kind, tmp_path / "spool") as place,
        socket.create_connection(("127.0.0.1", place.scp.port), timeout=10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


@dataclass
class Recorded:
    """An SCP that takes everything, and what was proposed to it."""

    destination: Destination
    requests: list[Any] = field(default_factory=list)
    store_status: int = 0x0000

    def proposals(self) -> Lines:
        """Return the lines that were proposed, and forget them."""
        found = {
            (str(context.abstract_syntax), str(syntax))
            for primitive in self.requests
            for context in primitive.presentation_context_definition_list
            for syntax in context.transfer_syntax
        }
        self.requests.clear()
        return found


@contextmanager
def recording() -> Iterator[Recorded]:
    """Run an SCP that records what is proposed."""
    recorded = Recorded(destination=Destination(ae_title="", host="", port=0))

    def success(event: evt.Event) -> int:
        return 0x0000

    handlers: list[Any] = [
        (evt.EVT_REQUESTED, lambda event: recorded.requests.append(event.assoc.requestor.primitive)),
        (evt.EVT_C_ECHO, success),
        (evt.EVT_C_STORE, lambda event: recorded.store_status),
        (evt.EVT_N_ACTION, lambda event: (0x0000, None)),
        (evt.EVT_C_FIND, lambda event: iter([(0x0000, None)])),
        (evt.EVT_C_MOVE, lambda event: iter([("127.0.0.1", 104), 0])),
        (evt.EVT_C_GET, lambda event: iter([0])),
    ]
    ae = AE(ae_title="RECORDER")
    for uid in {service.sop_class_uid for service in services.SERVICES}:
        ae.add_supported_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    port = int(server.server_address[1])
    recorded.destination = Destination(ae_title="RECORDER", host="127.0.0.1", port=port, timeout_s=10.0)
    try:
        yield recorded
    finally:
        server.shutdown()


def objects(directory: Path, uids: Iterable[str]) -> list[Sendable]:
    """Write an instance of each SOP class."""
    found = []
    for number, uid in enumerate(uids):
        ds = mr_instance(f"2.25.{number + 1}")
        ds.SOPClassUID = UID(uid)
        ds.save_as(directory / f"{number}.dcm", enforce_file_format=True)
        found.append(deliverable(directory / f"{number}.dcm"))
    return found


def use_all(destination: Destination, directory: Path, uids: Sequence[str]) -> Iterator[Callable[[], object]]:
    """Yield a call of each thing that initiates an association; results first."""
    yield lambda: store(destination, objects(directory, uids))
    yield lambda: request(destination, "2.25.7", [(MR_IMAGE, "2.25.1")])
    yield lambda: echo(destination)
    yield lambda: find(destination, Level.SERIES, {"StudyInstanceUID": "2.25.1"})
    yield lambda: move(destination, "2.25.1", "2.25.2", "SGMRI")
    yield lambda: get(destination, "2.25.1", "2.25.2", uids, directory)


def test_what_we_propose_is_what_is_stated(tmp_path: Path) -> None:
    """A recording SCP sees each stated line, and no other; with our identity, length, AE title and roles."""
    document = chapter()
    stated = lines(document, "contexts-initiation")
    delivered = [
        row["UID"] for row in document.table("contexts-initiation").records() if row["Activity"] == "Store results"
    ]
    parameters = parameters_of(document)
    with recording() as recorded:
        for call in use_all(recorded.destination, tmp_path, delivered):
            call()
        for primitive in recorded.requests:
            items = {type(item).__name__: item for item in primitive.user_information}
            assert primitive.calling_ae_title.strip() == "SGMRI"
            assert _identity(items) == (
                parameters["Implementation Class UID"],
                parameters["Implementation Version Name"],
                parameters["Maximum PDU length offered as initiator, in bytes"],
            )
        assert [_roles(primitive) for primitive in recorded.requests] == [set()] * 5 + [set(delivered)]
        assert recorded.proposals() == stated


def _roles(primitive: Any) -> set[str]:
    items = primitive.user_information
    return {str(item.sop_class_uid) for item in items if isinstance(item, SCP_SCU_RoleSelectionNegotiation)}


def _each_service() -> Iterator[Any]:
    """Yield every line of the table, the first of each role and use at once, the others as exhaustive ones."""
    seen = set()
    for one in services.SERVICES:
        marks = pytest.mark.exhaustive if (one.role, one.use) in seen else ()
        seen.add((one.role, one.use))
        yield pytest.param(one, marks=marks, id=f"{one.role} {one.name}")


@pytest.mark.parametrize("service", list(_each_service()))
def test_a_line_less_in_the_table_is_a_line_less_in_both(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever line of the table of services is deleted: behaviour and statement lose the same."""
    whole = chapter()
    acceptance, initiation = lines(whole, "contexts-acceptance"), lines(whole, "contexts-initiation")
    monkeypatch.setattr(services, "SERVICES", tuple(one for one in services.SERVICES if one != service))
    less = chapter()
    lost = {(service.sop_class_uid, str(syntax)) for syntax in service.transfer_syntaxes}
    if service.role is Role.SCP or service.use is Use.COMMIT:
        assert lines(less, "contexts-acceptance") == acceptance - lost
        with receivers.running("own", tmp_path / "spool") as place:
            assert accepted(place, acceptance) == acceptance - lost
    if service.role is Role.SCU:
        assert lines(less, "contexts-initiation") == initiation - lost
        with recording() as recorded:
            delivered = service.sop_class_uid if service.use is Use.DELIVER else services.SEGMENTATION
            calls = list(use_all(recorded.destination, tmp_path, [delivered]))
            refused = [_is_refused(call) for call in (calls[:1] if service.use is Use.DELIVER else calls)]
            assert refused.count(True) == 1
            assert not recorded.proposals() & lost


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except SgmriError:
        return True
    return False


def test_every_response_is_judged_as_stated(tmp_path: Path) -> None:
    """The destination answers both ends of each stated range: the object is what the statement says."""
    errors: dict[str, type[Exception]] = {Outcome.TRY_AGAIN: PeerUnavailable, Outcome.REFUSED: StoreRefused}
    (instance,) = objects(tmp_path, [services.SEGMENTATION])
    with recording() as recorded:
        for row in chapter().table("store-responses").records():
            for recorded.store_status in sorted({int(end, 16) for end in row["Status"].split("-")}):
                if row["The object is"] == Outcome.STORED:
                    store(recorded.destination, [instance])
                else:
                    with pytest.raises(errors[row["The object is"]]):
                        store(recorded.destination, [instance])
