"""Audit messages of the standard, made of the lines of the audit log.

What PS3.15 A.5.3 demands of each message is in :data:`KINDS`; its schema is in A.5.1. Study and patient are named only
where the site asks for it; elsewhere the object is the series, by its key.

References
----------
PS3.15 A.5.1 (schema), A.5.2 (fields), A.5.3 (messages); PS3.16 CID 400 to 405 (codes)
"""

import ipaddress
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.audit_chain import AuditLine

Code = tuple[str, str]

_APPLICATION, _DESTINATION, _SOURCE = ("110150", "Application"), ("110152", "Destination"), ("110153", "Source")
_STUDY = ("110180", "Study Instance UID")
_NODE = ("110182", "Node ID")
_SECURITY_ALERT = ("110113", "Security Alert")
_ACCESSED = ("110103", "DICOM Instances Accessed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a message of an action says.

    Parameters
    ----------
    event, action_code, event_type
        Which event of PS3.15 A.5.3, whether it creates, reads, updates, deletes or executes, and its type.
    who, product
        Roles of who did it and of the product; None where that is not a participant, or has no role.
    about
        What the participant object is: series, alert, query, or nothing.
    """

    event: Code
    action_code: str
    event_type: Code | None = None
    who: Code | None = None
    product: Code | None = None
    about: str = "series"


def _alert(number: str, meaning: str) -> Kind:
    return Kind(event=_SECURITY_ALERT, action_code="E", event_type=(number, meaning), about="alert")


def _use(action_code: str) -> Kind:
    return Kind(event=_ACCESSED, action_code=action_code)


def _activity(number: str, meaning: str) -> Kind:
    activity = ("110100", "Application Activity")
    return Kind(event=activity, action_code="E", event_type=(number, meaning), product=_APPLICATION, about="")


def _login(number: str, meaning: str) -> Kind:
    return Kind(event=("110114", "User Authentication"), action_code="E", event_type=(number, meaning), about="")


_TRANSFERRED = ("110104", "DICOM Instances Transferred")

KINDS = {
    Action.START: _activity("110120", "Application Start"),
    Action.STOP: _activity("110121", "Application Stop"),
    Action.RECEIVE: Kind(event=_TRANSFERRED, action_code="C", who=_SOURCE, product=_DESTINATION),
    Action.REFUSE: _alert("110126", "Node Authentication"),
    Action.READ: _use("R"),
    Action.ASK: _use("R"),
    Action.VIEW: _use("R"),
    Action.REVEAL_IDENTITY: _use("R"),
    Action.BEGIN_SEND: Kind(
        event=("110102", "Begin Transferring DICOM Instances"), action_code="E", who=_DESTINATION, product=_SOURCE
    ),
    Action.SEND: Kind(event=_TRANSFERRED, action_code="R", who=_DESTINATION, product=_SOURCE),
    Action.QUERY: Kind(event=("110112", "Query"), action_code="E", who=_DESTINATION, product=_SOURCE, about="query"),
    Action.DELETE: _use("D"),
    Action.OPERATE: _alert("110132", "Use of Restricted Function"),
    Action.CONFIGURE: _alert("110131", "Software Configuration"),
    Action.LOG_IN: _login("110122", "Login"),
    Action.LOG_OUT: _login("110123", "Logout"),
    Action.AUDIT: _alert("110133", "Audit Recording Stopped"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose a series is: header values, for messages of sites that ask for them; empty where not known any more."""

    study_instance_uid: str
    patient_id: str


def message(line: AuditLine, identity: Identity | None) -> bytes:
    """Return the XML of a line, in UTF-8.

    Parameters
    ----------
    line
        The line of the log.
    identity
        Whose the series is; None: the message names the series by its key.
    """
    event, kind = line.event, KINDS[line.event.action]
    root = Element("AuditMessage")
    about = SubElement(
        root,
        "EventIdentification",
        EventActionCode=kind.action_code,
        EventDateTime=line.at,
        EventOutcomeIndicator="0" if event.outcome is Outcome.SUCCESS else "4",
    )
    _code(about, "EventID", kind.event)
    if kind.event_type is not None:
        _code(about, "EventTypeCode", kind.event_type)
    if event.detail:
        SubElement(about, "EventOutcomeDescription").text = event.detail
    _participants(root, line, kind)
    source = SubElement(root, "AuditSourceIdentification", AuditSourceID=line.host)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server's process
    _objects(root, line, kind, identity)
    encoded: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return encoded


def _participants(root: Element, line: AuditLine, kind: Kind) -> None:
    """Add who did it, and the product where that is another one."""
    event = line.event
    if event.action in (Action.BEGIN_SEND, Action.SEND, Action.QUERY):
        _participant(root, event.detail.removeprefix("to ") or "peer", kind.who, is_requestor=False)
        _participant(root, f"{line.process}@{line.host}", kind.product, is_requestor=True)
        return
    acts_itself = event.who == line.process
    if not acts_itself:
        _participant(root, event.who, kind.who, is_requestor=True)
    _participant(root, f"{line.process}@{line.host}", kind.product, is_requestor=acts_itself)


def _participant(root: Element, name: str, role: Code | None, *, is_requestor: bool) -> None:
    found = SubElement(root, "ActiveParticipant", UserID=name, UserIsRequestor=str(is_requestor).lower())
    ae_title, at, address = name.rpartition("@")
    if at and address:
        is_ip = _is_ip(address)
        if is_ip and ae_title:
            found.set("AlternativeUserID", f"AETITLES={ae_title}")
        found.set("NetworkAccessPointID", address)
        found.set("NetworkAccessPointTypeCode", "2" if is_ip else "1")
    if role is not None:
        _code(found, "RoleIDCode", role)


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True


def _objects(root: Element, line: AuditLine, kind: Kind, identity: Identity | None) -> None:
    event = line.event
    if kind.about == "alert":
        _object(root, line.host, _NODE, name=event.detail or event.action, role="13")
    elif kind.about == "query":
        _object(root, event.detail or "query", ("110181", "SOP Class UID"), name="query", role="24")
    elif kind.about == "series":
        _series(root, event, identity)


def _series(root: Element, event: AuditEvent, identity: Identity | None) -> None:
    study = identity.study_instance_uid if identity is not None else ""
    code = _STUDY if study else ("series-key", "Series key of sgmri", "99SGMRI")
    found = _object(root, study or event.series_key or "none", code, name=f"series {event.series_key}", role="3")
    if event.count:
        described = SubElement(found, "ParticipantObjectDescription")
        SubElement(described, "SOPClass", NumberOfInstances=str(event.count))
    if identity is not None and identity.patient_id:
        number = ("2", "Patient Number", "RFC-3881")
        _object(root, identity.patient_id, number, name="patient", role="1").set("ParticipantObjectTypeCode", "1")


def _object(root: Element, key: str, code: tuple[str, ...], *, name: str, role: str) -> Element:
    found = SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=key,
        ParticipantObjectTypeCode="2",
        ParticipantObjectTypeCodeRole=role,
    )
    _code(found, "ParticipantObjectIDTypeCode", code)
    SubElement(found, "ParticipantObjectName").text = name
    return found


def _code(parent: Element, tag: str, code: tuple[str, ...]) -> None:
    number, meaning, *scheme = code
    SubElement(
        parent, tag, {"csd-code": number, "codeSystemName": scheme[0] if scheme else "DCM", "originalText": meaning}
    )
