"""Presentation contexts: what is accepted, and whether the answers can be relied on (PS3.8 9.3.2.2, 9.3.3.2, D)."""

from itertools import product

from pydicom.uid import UID

from conformance.network import wire
from conformance.network.checks.association import described
from conformance.network.connection import Association
from conformance.network.messages import echo_rq
from conformance.network.samples import encoded
from conformance.network.session import ECHO, UNCOMPRESSED, Contexts, Session, check, checks_of
from conformance.report import Result, Severity, Table, failed, observed, passed
from dicom_io.network import MAX_CONTEXTS
from dicom_io.services import (
    IMAGE_TRANSFER_SYNTAXES,
    MR_IMAGE,
    SERVICES,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    VERIFICATION,
)
from sgmri.errors import AssociationRejected, SgmriError

_MADE_UP = "2.25.329800735698586629295641978511506172918"
"""A UID that was made up for this suite: neither a SOP class nor a transfer syntax."""
_CLASSES = {service.sop_class_uid: service.name for service in SERVICES} | {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.6.1": "Ultrasound Image Storage",
}
_RESULTS = {1: "rejected by the user", 2: "no reason", 3: "SOP class", 4: "transfer syntax"}


def results(session: Session, contexts: Contexts) -> list[wire.PresentationContext]:
    """Return the answers to any number of contexts, asked 128 at a time."""
    found: list[wire.PresentationContext] = []
    for place in range(0, len(contexts), MAX_CONTEXTS - 1):
        some = [*contexts[place : place + MAX_CONTEXTS - 1], *ECHO]
        with session.associated(some) as association:
            answers = {one.number: one for one in association.answered.contexts}
        found += [answers[2 * number + 1] for number in range(len(some) - 1)]
    return found


@check("negotiation.matrix", "What is accepted: SOP class by transfer syntax", "PS3.8 9.3.3.2")
def matrix(session: Session) -> Result:
    syntaxes = [str(syntax) for syntax in IMAGE_TRANSFER_SYNTAXES]
    pairs = list(product(_CLASSES, syntaxes))
    found = dict(zip(pairs, results(session, [(uid, (syntax,)) for uid, syntax in pairs]), strict=True))
    rows = [
        (name, *("yes" if not found[uid, syntax].result else str(found[uid, syntax].result) for syntax in syntaxes))
        for uid, name in _CLASSES.items()
    ]
    accepted = sum(not one.result for one in found.values())
    legend = ", ".join(f"{number}: {meaning}" for number, meaning in _RESULTS.items())
    table = Table(columns=(f"SOP class ({legend})", *(UID(syntax).name for syntax in syntaxes)), rows=tuple(rows))
    return observed(f"{accepted} of {len(found)} pairs are accepted", table)


@check("negotiation.unknown-class", "a made-up SOP class is refused, with the reason 3", "PS3.8 9.3.3.2")
def unknown_class(session: Session) -> Result:
    (one, other) = results(session, [(_MADE_UP, UNCOMPRESSED), (_MADE_UP + "1", UNCOMPRESSED)])
    if not one.result or not other.result:
        return failed("a SOP class that does not exist was accepted")
    if {one.result, other.result} != {3}:
        return failed(f"refused with {one.result} ({_RESULTS[one.result]})")
    return passed("refused as unknown abstract syntax")


@check("negotiation.unknown-syntax", "a made-up transfer syntax is refused, with the reason 4", "PS3.8 9.3.3.2")
def unknown_syntax(session: Session) -> Result:
    (one,) = results(session, [(VERIFICATION, (_MADE_UP,))])
    if not one.result:
        return failed("a transfer syntax that does not exist was accepted")
    return passed("refused as transfer syntax") if one.result == 4 else failed(f"refused with {one.result}")


@check(
    "negotiation.chosen-syntax",
    "of several transfer syntaxes one of those proposed is chosen",
    "PS3.8 9.3.3.2",
    Severity.CRITICAL,
)
def chosen_syntax(session: Session) -> Result:
    orders: list[tuple[str, ...]] = [UNCOMPRESSED, UNCOMPRESSED[::-1], (_MADE_UP, UNCOMPRESSED[1]), (UNCOMPRESSED[1],)]
    orders += [(str(IMAGE_TRANSFER_SYNTAXES[2]), UNCOMPRESSED[0])]
    contexts = [(uid, order) for uid in (VERIFICATION, MR_IMAGE) for order in orders]
    answers = results(session, contexts)  # what was not proposed raises
    chosen = [one.transfer_syntaxes[0] for one in answers if not one.result]
    first = sum(
        one.transfer_syntaxes[0] == order[0]
        for one, (_, order) in zip(answers, contexts, strict=True)
        if not one.result
    )
    return passed(f"{len(chosen)} of {len(contexts)} accepted, {first} with the first that was proposed")


@check("negotiation.default-syntax", "what is accepted at all is accepted in Implicit VR Little Endian", "PS3.5 10.1")
def default_syntax(session: Session) -> Result:
    every = [str(syntax) for syntax in IMAGE_TRANSFER_SYNTAXES]
    implicit = UNCOMPRESSED[1]
    known = results(session, [(uid, every) for uid in _CLASSES])
    plain = results(session, [(uid, (implicit,)) for uid in _CLASSES])
    without = [
        name
        for name, one, other in zip(_CLASSES.values(), known, plain, strict=True)
        if not one.result and other.result
    ]
    return failed(f"not so: {', '.join(without)}") if without else passed("so it is, for every SOP class of the matrix")


@check(
    "negotiation.same-class", "several contexts of one SOP class are answered and usable one by one", "PS3.8 9.3.2.2"
)
def same_class(session: Session) -> Result:
    contexts = [(uid, (syntax,)) for uid in (VERIFICATION, MR_IMAGE) for syntax in (*UNCOMPRESSED, UNCOMPRESSED[0])]
    with session.associated(contexts) as association:
        for number, (uid, syntax) in association.contexts.items():
            if uid == VERIFICATION:
                message = association.request(number, echo_rq())
            else:
                ds = session.samples.small()
                message = association.store(uid, ds.SOPInstanceUID, encoded(ds, syntax), number=number)
            if message.status and message.status >> 12 != 0xB:
                return failed(f"status 0x{message.status:04X} in one of the accepted contexts")
        used = len(association.contexts)
    return passed(f"{used} of {len(contexts)} accepted, each used")


@check("negotiation.128-contexts", "128 presentation contexts are answered", "PS3.8 9.3.2.2")
def many_contexts(session: Session) -> Result:
    with session.associated([*ECHO] * MAX_CONTEXTS) as association:
        last = max(association.contexts, default=0)
        message = association.request(last, echo_rq()) if last else None
    if message is None or message.status:
        return failed("none of them can be used")
    return passed(f"{len(association.contexts)} accepted")


@check(
    "negotiation.refused-context", "a context that was refused cannot be used", "PS3.8 9.3.5, PS3.7 6.3", Severity.MINOR
)
def refused_context(session: Session) -> Result:
    with session.associated([*ECHO, (_MADE_UP, UNCOMPRESSED)]) as association:
        if 3 in association.contexts:
            return failed("a SOP class that does not exist was accepted")
        association.send(3, echo_rq(message_id=1))
        answer = association.link.pdu()
    if answer is not None and answer[0] == wire.P_DATA:
        return failed("a message in a context that was refused was answered")
    return passed("the association was ended" if answer is None or answer[0] == wire.ABORT else "no answer")


@check("negotiation.max-pdu", "no PDU of the peer is longer than we offer to receive", "PS3.8 D.1")
def max_pdu(session: Session) -> Result:
    rows = []
    for limit in (0, 128, 4096, 16_384, 1 << 20):
        try:
            with session.associated([*ECHO, (MR_IMAGE, UNCOMPRESSED)], max_pdu_bytes=limit) as association:
                association.echo()
                _store_if_accepted(session, association)
        except (AssociationRejected, ConnectionAbortedError) as refusal:
            # below the 4096 bytes that many libraries take as the least, refusing is honest
            if limit != 128:
                return failed(f"with {limit} bytes there was no answer: {refusal}")
            rows.append((str(limit), "refused", ""))
            continue
        rows.append((str(limit or "unlimited"), "accepted", str(association.longest_pdu_bytes)))
    table = Table(columns=("we offer", "association", "longest PDU that came"), rows=tuple(rows))
    return passed("every PDU was within what was offered", table)


def _store_if_accepted(session: Session, association: Association) -> None:
    for number, (uid, syntax) in association.contexts.items():
        if uid == MR_IMAGE:
            ds = session.samples.small()
            association.store(uid, ds.SOPInstanceUID, encoded(ds, syntax), number=number)


@check("negotiation.titles", "Who may call whom: AE titles", "PS3.8 9.3.4")
def titles(session: Session) -> Result:
    to = session.setup.destination
    rows = []
    for calling, called in product((to.calling_ae_title, "NOBODY-KNOWS-ME"), (to.ae_title, "NOT-THIS-ONE")):
        answer = session.answer(session.proposal(calling=calling, called=called).body())
        known = "ours" if calling == to.calling_ae_title else "an unknown one"
        rows.append((known, "its own" if called == to.ae_title else "another", described(answer)))
    return observed("see the table", Table(columns=("calling AE title", "called AE title", "answer"), rows=tuple(rows)))


@check("negotiation.roles", "What roles are accepted", "PS3.7 D.3.3.4")
def roles(session: Session) -> Result:
    rows = []
    for uid in (MR_IMAGE, STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_GET):
        for scu, scp in ((True, False), (False, True), (True, True)):
            try:
                with session.associated([*ECHO, (uid, UNCOMPRESSED)], further=wire.role(uid, scu=scu, scp=scp)) as one:
                    reply = one.answered.roles.get(uid)
                    taken = "accepted" if 3 in one.contexts else "refused"
            except SgmriError as refusal:
                reply, taken = None, str(refusal)
            said = "none" if reply is None else _roles(*reply)
            rows.append((_CLASSES[uid], _roles(scu, scp), taken, said))
    columns = ("SOP class", "we propose to be", "context", "answered role")
    return observed("see the table", Table(columns=columns, rows=tuple(rows)))


def _roles(scu: bool, scp: bool) -> str:
    return " and ".join(name for name, chosen in (("SCU", scu), ("SCP", scp)) if chosen) or "neither"


CHECKS = checks_of(globals())
