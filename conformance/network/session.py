"""What checks have in common: whom they test, how they reach it, and how a check is written down."""

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from conformance.network import wire
from conformance.network.acceptor import Inbox
from conformance.network.connection import Association
from conformance.network.link import Trace, Wire
from conformance.network.proposal import Proposal, associate
from conformance.network.samples import Samples
from conformance.report import Result, Severity
from dicom_io.network import Destination
from dicom_io.services import VERIFICATION
from sgmri.errors import ConfigError, SgmriError

UNCOMPRESSED: tuple[str, ...] = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
Contexts = Sequence[tuple[str, Sequence[str]]]
ECHO: Contexts = ((VERIFICATION, UNCOMPRESSED),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a secure connection needs (PS3.15 B.12).

    Parameters
    ----------
    ca
        Certificates of those who sign the peer's.
    certificate, key
        Ours; None where the peer asks for none.
    refused
        Pairs of certificate and key that the peer must refuse: expired, or signed by somebody else.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    refused: tuple[tuple[Path, Path], ...] = ()

    def context(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return a client's context, with our certificate or another one.

        Raises
        ------
        ConfigError
            If a file cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
            chosen = certificate or (None if self.certificate is None else (self.certificate, self.key))
            if chosen is not None:
                context.load_cert_chain(*(None if one is None else str(one) for one in chosen))  # type: ignore[arg-type]
        except (OSError, ssl.SSLError):
            raise ConfigError("expected PEM files of certificates and keys that belong together (--tls-...)") from None
        context.check_hostname = False  # a certificate of an application entity need not name its address
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Whom to test, and how far.

    Parameters
    ----------
    destination
        The peer; its ``timeout_s`` is the limit for each answer.
    roles
        What is tested besides verification and associations: some of ``storage``, ``query``, ``commitment``, ``tls``.
    patience_s
        How long the peer may take to close a connection that is stuck, and to bring a commitment result.
    listen
        Host and port where the peer finds us under our calling AE title; None if it does not know us.
    tls
        What secure connections need; None for plain ones.
    destructive
        Whether to send what may fill, slow down or break the peer.
    big_bytes
        Size of the largest instance that is sent.
    """

    destination: Destination
    roles: frozenset[str] = frozenset({"storage"})
    patience_s: float = 75.0
    listen: tuple[str, int] | None = None
    tls: Tls | None = None
    destructive: bool = False
    big_bytes: int = 1 << 24


@dataclass(slots=True, kw_only=True)
class Session:
    """A running test of one peer.

    Parameters
    ----------
    setup
        What was asked for.
    samples
        What is sent.
    inbox
        Where the peer finds us; None if it does not know us.
    """

    setup: Setup
    samples: Samples
    inbox: Inbox | None = None
    trace: Trace = field(default_factory=Trace)

    def begin(self) -> None:
        """Begin a check: with an empty trace."""
        self.trace = Trace()
        if self.inbox is not None:
            self.inbox.trace = self.trace

    @contextmanager
    def connected(self, *, tls: ssl.SSLContext | None = None, plain: bool = False) -> Iterator[Wire]:
        """Open a connection, a secure one where the setup says so, and close it at the end."""
        to = self.setup.destination
        with ExitStack() as held:
            stream: socket.socket = socket.create_connection((to.host, to.port), timeout=to.timeout_s)
            held.enter_context(stream)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is None and self.setup.tls is not None and not plain:
                tls = self.setup.tls.context()
            if tls is not None:
                stream = held.enter_context(tls.wrap_socket(stream))
            yield Wire(stream, self.trace)

    def proposal(self, contexts: Contexts = ECHO, **changes: Any) -> Proposal:
        """Return what is proposed to the peer, by its and our AE titles."""
        to = self.setup.destination
        return Proposal(**{"contexts": contexts, "calling": to.calling_ae_title, "called": to.ae_title, **changes})

    @contextmanager
    def associated(self, contexts: Contexts = ECHO, **changes: Any) -> Iterator[Association]:
        """Open an association; at the end it is released, unless it has failed.

        Raises
        ------
        AssociationRejected, ConnectionAbortedError, ProtocolViolation
            If it does not come about.
        """
        with self.connected() as link:
            association = associate(link, self.proposal(contexts, **changes).body())
            yield association
            with suppress(SgmriError, OSError):  # only the checks of the release itself look at it
                if not association.is_releasing:
                    association.release()

    def answer(self, body: bytes) -> tuple[int, bytes] | None:
        """Send an A-ASSOCIATE-RQ of any content on a connection of its own; return the PDU that answers it."""
        with self.connected() as link:
            link.send(wire.pdu(wire.ASSOCIATE_RQ, body))
            return link.pdu()

    def is_alive(self) -> bool:
        """Tell whether the peer accepts an association and answers C-ECHO with success."""
        try:
            with self.associated() as association:
                return association.echo().status == 0
        except (SgmriError, OSError):
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim, and the function that finds out whether it holds.

    Parameters
    ----------
    id
        Such as ``store.response``.
    claim, source, severity
        What must hold, who demands it, and what follows if it does not.
    run
        Returns what was found; what it raises of the peer's making is a failure.
    """

    id: str
    claim: str
    source: str
    severity: Severity
    run: Callable[[Session], Result]


def check(
    name: str, claim: str, source: str, severity: Severity = Severity.MAJOR
) -> Callable[[Callable[[Session], Result]], Check]:
    """Make a check of the function that follows."""
    return lambda function: Check(id=name, claim=claim, source=source, severity=severity, run=function)


def checks_of(module: dict[str, object]) -> tuple[Check, ...]:
    """Return the checks of a module in their order, from its ``globals()``."""
    return tuple(value for value in module.values() if isinstance(value, Check))
