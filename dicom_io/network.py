"""An association as SCU: open, use, release, with every failure as one of our errors."""

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation

from dicom_io.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.services import VERIFICATION, Use, proposed
from sgmri.errors import PeerRejects, PeerUnavailable, Undeliverable

_log = logging.getLogger(__name__)

NO_CONTEXT = 0x0122  # SOP class not supported (PS3.7 Annex C)
_REJECTED_PERMANENT = 1  # PS3.8 9.3.4
_SETTLE_S = 1.0
MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd context ids 1 to 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A peer to call.

    Parameters
    ----------
    ae_title, host, port
        Whom.
    calling_ae_title
        Who we say we are.
    timeout_s
        Limit for connecting, negotiating and each response.
    """

    ae_title: str
    host: str
    port: int
    calling_ae_title: str = "SGMRI"
    timeout_s: float = 30.0


Context = tuple[str, Sequence[UID]]
"""SOP class and the transfer syntaxes proposed for it in one presentation context."""


def open_association(
    destination: Destination,
    contexts: Sequence[Context],
    *,
    scp_roles: Sequence[str] = (),
    handlers: Sequence[tuple[evt.EventType, Callable[[evt.Event], int | None]]] = (),
    idle_timeout_s: float | None = None,
) -> Association:
    """Open an association.

    Parameters
    ----------
    destination
        Whom to call.
    contexts
        At most 128.
    scp_roles
        SOP classes for which we propose to be SCP (C-GET, PS3.7 D.3.3.4).
    handlers
        pynetdicom intervention handlers.
    idle_timeout_s
        It is released after this time without traffic; None: aborted after the destination's ``timeout_s``.

    Raises
    ------
    PeerUnavailable
        If the association is refused, rejected (for good: PeerRejects), aborted or times out.
    Undeliverable
        If the peer accepts none of the contexts.
    """
    ae = AE(ae_title=destination.calling_ae_title)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = destination.timeout_s
    ae.network_timeout = idle_timeout_s or destination.timeout_s
    for sop_class_uid, syntaxes in contexts:
        ae.add_requested_context(sop_class_uid, list(syntaxes))
    association = ae.associate(
        destination.host,
        destination.port,
        ae_title=destination.ae_title,
        ext_neg=[_scp_role(uid) for uid in scp_roles],
        evt_handlers=[(evt.EVT_CONN_OPEN, no_delay), *handlers],
    )
    if idle_timeout_s:
        association.network_timeout_response = "A-RELEASE"
    if association.rejected_contexts and not association.accepted_contexts:
        # pynetdicom aborts such an association by itself
        raise Undeliverable(
            f"{destination.ae_title} takes none of the proposed SOP classes and transfer syntaxes; let its "
            "administrator enable them",
            NO_CONTEXT,
        )
    if not association.is_established:
        rejection = _rejection(association)
        happened = "rejected" if rejection else "aborted" if association.is_aborted else "not made"
        error = PeerRejects if rejection and rejection.result == _REJECTED_PERMANENT else PeerUnavailable
        raise error(
            f"expected an association with {destination.ae_title}, found it {happened}; check that it runs, knows our "
            "AE title and may be reached from here"
        )
    return association


@contextmanager
def associate(
    destination: Destination,
    contexts: Sequence[Context],
    *,
    scp_roles: Sequence[str] = (),
    handlers: Sequence[tuple[evt.EventType, Callable[[evt.Event], int | None]]] = (),
) -> Iterator[Association]:
    """Open an association and release it at the end; see :func:`open_association`."""
    association = open_association(destination, contexts, scp_roles=scp_roles, handlers=handlers)
    try:
        yield association
    finally:
        association.release()  # does nothing when the peer has ended it already


def settle(association: Association) -> None:
    """Wait until pynetdicom's own thread is awake again after the last message; call it before each further one.

    That thread pauses while a message is sent. One that is sent before it has woken finds it still marked as paused,
    and it takes the response away as a request that nobody expects (2 of 2,000 C-ECHO on a busy machine).
    """
    deadline = time.monotonic() + _SETTLE_S
    while association._is_paused and association.is_alive() and time.monotonic() < deadline:
        time.sleep(0)


def status_of(response: Dataset) -> int | None:
    """Return the DIMSE status of a response; None where the peer timed out or aborted."""
    status = response.get("Status")
    return None if status is None else int(status)


def echo(destination: Destination) -> None:
    """Verify the peer (C-ECHO, PS3.4 Annex A).

    Raises
    ------
    PeerUnavailable
        If it does not answer with success.
    """
    with associate(destination, [proposed(VERIFICATION, Use.ECHO)]) as association:
        if status_of(association.send_c_echo()) != 0x0000:
            raise PeerUnavailable(f"{destination.ae_title} did not answer C-ECHO with success")


def _scp_role(sop_class_uid: str) -> SCP_SCU_RoleSelectionNegotiation:
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = UID(sop_class_uid)
    role.scu_role = False
    role.scp_role = True
    return role


def _rejection(association: Association) -> A_ASSOCIATE | None:
    """Return the peer's rejection.

    When the peer has closed the connection before our thread looks at it, pynetdicom takes that for a failed
    connection, aborts, and leaves the rejection in its queue.
    """
    if association.is_rejected:
        return association.acceptor.primitive
    left = association.dul.peek_next_pdu()
    return left if isinstance(left, A_ASSOCIATE) else None


def no_delay(event: evt.Event) -> None:
    """Switch Nagle's algorithm off when a connection opens (handler of ``EVT_CONN_OPEN``).

    With delayed acknowledgements at the other end it costs about 40 ms for each response.
    """
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
