"""Runs the checks of a session, group by group, and writes down how each ended."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from conformance.network.acceptor import Inbox
from conformance.network.checks import (
    association,
    commitment,
    destructive,
    ending,
    hostile,
    negotiation,
    query,
    retrieval,
    storage,
    tls,
    verification,
)
from conformance.network.samples import Samples
from conformance.network.session import Check, Session, Setup
from conformance.report import Entry, Outcome, Report, Result, failed, not_supported
from sgmri.errors import AssociationRejected, ConfigError, PeerUnavailable, ProtocolViolation, SgmriError, StoreRefused

ROLES = ("storage", "query", "commitment", "tls")
"""What can be tested besides verification, associations and hostile input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Checks that are run together.

    Parameters
    ----------
    checks
        In their order.
    role
        The role that they belong to; empty: any peer's.
    is_hostile
        Whether the peer must still answer C-ECHO after each.
    is_destructive
        Whether they are only for systems of one's own.
    """

    checks: tuple[Check, ...]
    role: str = ""
    is_hostile: bool = False
    is_destructive: bool = False


GROUPS = (
    Group(checks=verification.CHECKS),
    Group(checks=association.CHECKS),
    Group(checks=negotiation.CHECKS),
    Group(checks=storage.CHECKS, role="storage"),
    Group(checks=(*query.CHECKS, *retrieval.CHECKS), role="query"),
    Group(checks=commitment.CHECKS, role="commitment"),
    Group(checks=tls.CHECKS, role="tls"),
    Group(checks=ending.CHECKS),
    Group(checks=hostile.CHECKS, is_hostile=True),
    Group(checks=destructive.CHECKS, is_hostile=True, is_destructive=True),
)


def run(
    setup: Setup,
    *,
    only: Callable[[str], bool] = lambda name: True,
    seed: int | None = None,
    told: Callable[[Entry], None] = lambda entry: None,
) -> Report:
    """Test a peer.

    Parameters
    ----------
    setup
        Whom, and how far.
    only
        Tells by its id whether a check is run.
    seed
        Decides what is sent; None: never the same.
    told
        Called with each entry when it is there.

    Raises
    ------
    PeerUnavailable
        If the peer accepts no association from us, so that nothing can be tested.
    ConfigError
        If the setup cannot be used: a role, address or certificate.
    """
    _check_setup(setup)
    samples = Samples(secrets.randbelow(1 << 31) if seed is None else seed)
    inbox = None
    if setup.listen is not None:
        host, port = setup.listen
        inbox = Inbox(setup.destination.calling_ae_title, host=host, port=port)
    with inbox or nullcontext():
        session = Session(setup=setup, samples=samples, inbox=inbox)
        samples.small()  # painting takes seconds, in which no association should wait
        _reach(session)
        entries = []
        for entry in _entries(session, only):
            entries.append(entry)
            told(entry)
    return Report(subject=f"{setup.destination.ae_title} on the network", entries=tuple(entries))


def _check_setup(setup: Setup) -> None:
    unknown = setup.roles - set(ROLES)
    if unknown:
        raise ConfigError(f"--role: expected {', '.join(ROLES)}, found {', '.join(sorted(unknown))}")
    if "tls" in setup.roles and setup.tls is None:
        raise ConfigError("--role tls: expected the authority of the peer's certificate, found none; add --tls-ca")
    if setup.tls is not None:
        setup.tls.context()


def _reach(session: Session) -> None:
    to = session.setup.destination
    try:
        with session.associated():
            return
    except AssociationRejected as rejected:
        why = f"rejected with {rejected.result}/{rejected.source}/{rejected.reason}"
    except ProtocolViolation:
        return  # it answers, if wrongly: the checks say how
    except TimeoutError:
        why = "not answered"
    except OSError as error:
        why = f"not made ({type(error).__name__})"
    raise PeerUnavailable(
        f"expected an association with {to.ae_title}, found it {why}; check its address, that it runs, and that it "
        f"knows {to.calling_ae_title} (--calling)"
    )


def _entries(session: Session, only: Callable[[str], bool]) -> Iterator[Entry]:
    for group in GROUPS:
        if group.role and group.role not in session.setup.roles:
            continue
        if group.is_destructive and not session.setup.destructive:
            continue
        for check in group.checks:
            if only(check.id):
                yield _entry(session, check, is_hostile=group.is_hostile)


def _entry(session: Session, check: Check, *, is_hostile: bool) -> Entry:
    session.begin()
    began = time.monotonic()
    result = _result(session, check)
    evidence = session.trace.lines
    if is_hostile and result.outcome is not Outcome.FAIL and not session.is_alive():
        result = failed(f"afterwards C-ECHO is no longer answered ({result.text})")
    return Entry(
        id=check.id,
        group=check.id.partition(".")[0],
        claim=check.claim,
        source=check.source,
        severity=check.severity,
        result=result,
        evidence=evidence,
        took_s=time.monotonic() - began,
    )


def _result(session: Session, check: Check) -> Result:
    """Run a check; whatever a peer's answers make it raise is its failure."""
    try:
        return check.run(session)
    except StoreRefused:
        return not_supported("the peer accepts no presentation context for it")
    except AssociationRejected as rejected:
        return failed(f"the association was rejected with {rejected.result}/{rejected.source}/{rejected.reason}")
    except TimeoutError as error:
        return failed(str(error) if "expected" in str(error) else "no answer in time")
    except SgmriError as error:
        return failed(str(error))
    except ConnectionError as error:
        return failed(f"the peer ended the association or the connection ({error})")
