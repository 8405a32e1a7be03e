"""How associations end, how many there may be, and who is stuck (PS3.8 7.2, 7.3, 9.1.4, 9.2)."""

import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress

from conformance.network import wire
from conformance.network.checks.association import described
from conformance.network.checks.storage import MR, is_stored, store
from conformance.network.link import Wire
from conformance.network.messages import NO_DATA_SET, Framing, command, echo_rq, store_rq
from conformance.network.proposal import associate
from conformance.network.samples import encoded
from conformance.network.session import Session, check, checks_of
from conformance.report import Result, Severity, Table, failed, observed, passed
from dicom_io.services import MR_IMAGE
from sgmri.errors import SgmriError

_MOST = 40
"""How many associations are opened at a time, in search of the limit."""
_CYCLES = 48
"""How many associations are ended in each way, in search of places that are never free again."""


@check(
    "ending.release",
    "a release request is answered with A-RELEASE-RP, and the connection closed",
    "PS3.8 7.2, 9.2.3 (AR-2, AR-4)",
)
def release(session: Session) -> Result:
    with session.connected() as link:
        association = associate(link, session.proposal().body())
        association.echo()
        association.release()
        with suppress(TimeoutError):
            if link.pdu() is not None:
                return failed("something came after A-RELEASE-RP")
            return passed("A-RELEASE-RP, then the connection was closed")
    return passed("A-RELEASE-RP; closing was left to us, as it may be")


@check(
    "ending.release-crossing",
    "a release request behind a request ends the association in order",
    "PS3.8 9.2.3",
    Severity.MINOR,
)
def release_crossing(session: Session) -> Result:
    with session.connected() as link:
        associate(link, session.proposal().body())
        request = command(**echo_rq(message_id=9, data_set=NO_DATA_SET))
        link.send(wire.p_data(1, wire.COMMAND | wire.LAST, request) + wire.RELEASE_RQ, "C-ECHO and A-RELEASE-RQ")
        kinds = []
        while (answer := link.pdu()) is not None:
            kinds.append(answer[0])
            if answer[0] in (wire.RELEASED, wire.ABORT):
                break
    if kinds and kinds[-1] in (wire.RELEASED, wire.ABORT):
        return passed("answered and released" if kinds == [wire.P_DATA, wire.RELEASED] else "ended")
    return failed("the connection was closed without A-RELEASE-RP or A-ABORT")


def begun(session: Session, link: Wire) -> tuple[str, bytes]:
    """Send two thirds of a C-STORE; return the SOP Instance UID and the whole data set."""
    association = associate(link, session.proposal(MR).body())
    ds = session.samples.small()
    number = association.context(MR_IMAGE)
    data = encoded(ds, association.contexts[number][1])
    request = command(**store_rq(str(ds.SOPInstanceUID), message_id=1, data_set=0))
    pdus = list(Framing(value_bytes=1024).pdus(number, request, data))
    for one in pdus[: len(pdus) * 2 // 3]:
        link.send(one)
    return str(ds.SOPInstanceUID), data


@check(
    "ending.abort",
    "after A-ABORT in mid transfer the peer is there, and takes the instance whole",
    "PS3.8 7.3, 9.2.3 (AA-3)",
    Severity.CRITICAL,
)
def abort(session: Session) -> Result:
    with session.connected() as link:
        uid, data = begun(session, link)
        link.send(wire.ABORT_PDU)
    return _whole(session, uid, data)


@check(
    "ending.cut",
    "after a connection cut in mid transfer the peer is there, and takes the instance whole",
    "PS3.8 9.2.3 (AA-4)",
    Severity.CRITICAL,
)
def cut(session: Session) -> Result:
    with session.connected() as link:
        uid, data = begun(session, link)
        # no farewell: the connection is reset
        link.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return _whole(session, uid, data)


def _whole(session: Session, uid: str, data: bytes) -> Result:
    with session.associated(MR) as association:
        status = association.store(MR_IMAGE, uid, data).status
    return passed("taken whole afterwards") if is_stored(status) else failed(f"afterwards: status 0x{status:04X}")


@check(
    "ending.interrupted-commands", "associations that end within a command set harm nobody", "PS3.8 9.2.3 (AA-3, AA-4)"
)
def interrupted_commands(session: Session) -> Result:
    for ending in (wire.ABORT_PDU, b""):
        with session.connected() as link:
            associate(link, session.proposal().body())
            link.send(wire.p_data(1, wire.COMMAND, b"\0\0\0\0\4\0\0\0"))
            if ending:
                link.send(ending)
    return passed("C-ECHO is answered") if session.is_alive() else failed("C-ECHO is no longer answered")


@check("ending.concurrent", "four associations store at the same time", "PS3.8 9.1", Severity.MAJOR)
def concurrent(session: Session) -> Result:
    instances = [[session.samples.small() for _ in range(5)] for _ in range(4)]
    statuses: list[int] = []
    faults: list[str] = []

    def send(number: int) -> None:
        try:
            with session.associated(MR) as association:
                statuses.extend(store(association, ds).status for ds in instances[number])
        except (SgmriError, OSError) as error:
            faults.append(str(error))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = sum(map(is_stored, statuses))
    if stored == 20:
        return passed("20 of 20 stored")
    return failed(f"{stored} of 20 stored" + (f"; {faults[0]}" if faults else ""))


@check(
    "ending.limit",
    "associations beyond the limit are rejected for now, and places become free again",
    "PS3.8 9.3.4 (2/3/1, 2/3/2)",
)
def limit(session: Session) -> Result:
    accepted = 0
    beyond = None
    with ExitStack() as held:
        for _ in range(_MOST):
            link = held.enter_context(session.connected())
            link.send(wire.pdu(wire.ASSOCIATE_RQ, session.proposal().body()))
            answer = link.pdu()
            if answer is None or answer[0] != wire.ASSOCIATE_AC:
                beyond = described(answer)
                is_right = (
                    answer is not None and answer[0] == wire.ASSOCIATE_RJ and answer[1][1:] in (b"\2\3\1", b"\2\3\2")
                )
                break
            accepted += 1
    if not _comes_back(session):
        return failed(f"after {accepted} associations were closed none is accepted any more")
    if beyond is None:
        return observed(f"{accepted} at a time were accepted, which is where this check stops")
    what = f"{accepted} at a time; the next one: {beyond}"
    return passed(what) if is_right else failed(what)


def _comes_back(session: Session) -> bool:
    """Tell whether the peer answers within its time: what was cut may take it a moment to notice."""
    ends_at = time.monotonic() + session.setup.destination.timeout_s
    while not session.is_alive():
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.1)
    return True


@check(
    "ending.places", "released, aborted and cut associations give their places back", "PS3.8 9.2.3", Severity.CRITICAL
)
def places(session: Session) -> Result:
    endings = {"released": wire.RELEASE_RQ, "aborted": wire.ABORT_PDU, "cut": b""}
    for name, ending in endings.items():
        for number in range(_CYCLES):
            try:
                with session.connected() as link:
                    associate(link, session.proposal().body())
                    if ending:
                        link.send(ending)
                    if name == "released":
                        link.pdu()
            except (SgmriError, OSError):
                if not _comes_back(session):
                    return failed(f"after {number} associations were {name} none is accepted any more")
        if not _comes_back(session):
            return failed(f"after {_CYCLES} associations were {name} none is accepted any more")
    return passed(f"{_CYCLES} of each")


def _stuck(session: Session, held: ExitStack) -> dict[str, Wire]:
    """Open connections that stop at different places."""
    links = {}
    for name in ("half a PDU", "idle"):
        links[name] = held.enter_context(session.connected())
        associate(links[name], session.proposal().body())
    for name in ("silent", "half a request"):
        links[name] = held.enter_context(session.connected())
    links["half a request"].send(
        wire.pdu(wire.ASSOCIATE_RQ, session.proposal().body())[:100], "100 bytes of A-ASSOCIATE-RQ"
    )
    links["half a PDU"].send(wire.pdu(wire.P_DATA, b"\0\0\0", 100), "9 bytes of a PDU of 106")
    return links


@check(
    "timeouts.others",
    "connections that are silent or stuck keep nobody else out",
    "PS3.8 9.1, 9.1.4",
    Severity.CRITICAL,
)
def others(session: Session) -> Result:
    with ExitStack() as held:
        _stuck(session, held)
        if not session.is_alive():
            return failed("while four connections are silent or stuck, C-ECHO is not answered")
    return passed("C-ECHO is answered while four connections are silent or stuck")


@check(
    "timeouts.closed",
    "connections without a request, or stuck within one or within a PDU, are closed",
    "PS3.8 9.1.4 (ARTIM), 9.2.3 (AA-2)",
)
def closed(session: Session) -> Result:
    patience_s = session.setup.patience_s
    began = time.monotonic()
    with ExitStack() as held:
        links = _stuck(session, held)
        rows = []
        for name, link in links.items():
            left_s = max(0.1, began + patience_s - time.monotonic())
            link.stream.settimeout(left_s)
            try:
                answer = link.pdu()
                rows.append(
                    (name, "closed" if answer is None else described(answer), f"{time.monotonic() - began:.0f}")
                )
            except TimeoutError:
                rows.append((name, "still open", f"{time.monotonic() - began:.0f}"))
    table = Table(columns=("connection", "what came", "at the latest after (s)"), rows=tuple(rows))
    # an idle association is no fault: the standard has no time limit for it
    open_still = [name for name, what, _ in rows if what == "still open" and name != "idle"]
    if open_still:
        return failed(f"still open after {patience_s:.0f} s: {', '.join(open_still)}", table)
    return passed(f"within {patience_s:.0f} s", table)


CHECKS = checks_of(globals())
