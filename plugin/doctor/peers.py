"""Who calls us, whom we call: can they meet, do they know each other, and does nobody talk to himself."""

import errno
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

from dicom_io.kinds import ResultKind
from dicom_io.network import CALLING_UNKNOWN, Context, Destination, accepted, echo
from dicom_io.profiles import profile_for
from dicom_io.scu import PROBE_TIMEOUT_S
from dicom_io.services import (
    SOP_CLASSES,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_MOVE,
    VERIFICATION,
    Use,
    proposed,
)
from plugin.archive_sweep import archive_outlet, archive_peer
from plugin.doctor.check import Check, fault, good, note
from sgmri.errors import ConfigError, PeerRejects, PeerUnavailable, StoreRefused
from sgmri.outlets import Outlet
from sgmri.setting_keys import is_loopback
from sgmri.settings import Settings
from worker.destinations import open_sender, open_web, peer

_STRANGER = "SGMRI-DOCTOR"
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


def listener(settings: Settings) -> Iterator[Check]:
    """Check our own ports, and the peers that may call them."""
    own = settings.listener
    if not own.tls.is_on or own.tls.plain:
        yield port_check("listener", own.host, own.port, "listener.port", lambda: _answers_as_us(settings))
    if own.tls.is_on:
        yield port_check("listener with TLS", own.host, own.tls.port, "listener.tls.port", None)
    yield from _callers(settings)


def port_check(name: str, host: str, port: int, key: str, is_ours: Callable[[], bool] | None) -> Check:
    """Check that we can listen, or do so already.

    Parameters
    ----------
    name
        Of the check.
    host, port, key
        Where, and the setting of the port.
    is_ours
        Tells whether it is we who listen there; None where that cannot be told.
    """
    where = f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            if is_ours is None:
                return note(name, f"{where} is used; where sgmri does not run yet, it is used by another program")
            if is_ours():
                return good(name, f"runs on {where}")
            return fault(
                name,
                f"expected {where} to be free or to answer as sgmri does, found it used by another program; stop that "
                f"(ss -ltnp 'sport = {port}' names it), or choose another {key}",
            )
        if error.errno == errno.EACCES:
            remedy = f"choose a {key} from 1024 on, or allow it (setcap cap_net_bind_service)"
        else:
            remedy = "take an address of this machine (ip address) for the host beside it, or 0.0.0.0 for all"
        return fault(name, f"expected to listen on {where}, found: {error.strerror}; {remedy}")
    return good(name, f"{where} is free")


def _answers_as_us(settings: Settings) -> bool:
    """Tell whether who listens is called as we are, and lets no stranger in, as our listener does."""
    own = settings.listener
    host = "127.0.0.1" if own.host in _EVERYWHERE else own.host
    try:
        echo(
            Destination(
                ae_title=own.ae_title,
                host=host,
                port=own.port,
                calling_ae_title=_STRANGER,
                timeout_s=PROBE_TIMEOUT_S,
            )
        )
    except PeerRejects as error:
        return error.reason == CALLING_UNKNOWN
    except PeerUnavailable:
        return False
    return False


def _callers(settings: Settings) -> Iterator[Check]:
    own = settings.listener
    if not own.peers and not settings.sweep.is_on:
        yield fault(
            "peers",
            "expected at least one [[listener.peers]] table, found none, so that nobody can send images; list the AE "
            "title of each scanner, router or PACS that sends",
        )
        return
    faults = []
    for one in own.peers:
        if one.host and is_loopback(own.host) and not ipaddress.ip_network(one.host).is_loopback:
            faults.append(
                f"expected {one.ae_title} at {one.host} to reach listener.host, found {own.host}, which is reached "
                "from this machine alone; set listener.host to this machine's address, or 0.0.0.0"
            )
    yield from (fault("peers", text) for text in faults)
    if not faults:
        yield good("peers", f"{len(own.peers)} may call")


def destinations(settings: Settings) -> Iterator[Check]:
    """Check each destination: that it is there, lets us in, takes what it is to get, and can answer."""
    if not settings.outlets:
        yield note("destination", "none configured: results stay in the outbox")
    for outlet in settings.outlets:
        name = f"destination {outlet.name}"
        try:
            if outlet.kind == "dimse":
                faults = _dimse_faults(settings, outlet)
                answer = f"{outlet.ae_title} answers, and takes what it is to get"
            else:
                _search(outlet)
                faults, answer = [], "answers a search"
        except (ConfigError, PeerUnavailable, StoreRefused) as error:
            faults, answer = [str(error)], ""
        yield from (fault(name, text) for text in faults)
        if not faults:
            yield good(name, answer)


def _dimse_faults(settings: Settings, outlet: Outlet) -> list[str]:
    """Return what is wrong with a destination of kind "dimse"; raises ConfigError or PeerUnavailable."""
    own = settings.listener
    if outlet.port == own.port and _is_this_machine(outlet.host):
        return [
            f"expected a PACS at {outlet.host}:{outlet.port}, found our own listener, so that results would come back "
            "to us; correct host, port and AE title of the destination"
        ]
    if outlet.commitment == "storage-commitment" and is_loopback(own.host) and not _is_this_machine(outlet.host):
        return [
            f"expected {outlet.ae_title} to reach us with its commitment results, found listener.host {own.host}, "
            "which is reached from this machine alone; set it to this machine's address, or take another commitment"
        ]
    with closing(open_sender(settings, outlet)) as sender:
        sender.probe()
    wanted = {f"{kind} objects": SOP_CLASSES[kind] for kind in ResultKind if kind in profile_for(outlet).kinds}
    contexts: list[Context] = [proposed(uid, Use.DELIVER) for uid in wanted.values()]
    if outlet.commitment == "storage-commitment":
        wanted["storage commitment"] = STORAGE_COMMITMENT
        contexts.append(proposed(STORAGE_COMMITMENT, Use.COMMIT))
    elif outlet.commitment == "query":
        wanted["C-FIND"] = STUDY_ROOT_FIND
        contexts.append(proposed(STUDY_ROOT_FIND, Use.QUERY))
    lacking = _not_accepted(peer(settings, outlet), wanted, contexts)
    if lacking:
        return [
            f"expected {outlet.ae_title} to accept {', '.join(wanted)}, found no {', '.join(lacking)}; let its "
            "administrator enable them for our AE title, or ask for less (viewers; commitment)"
        ]
    return []


def _search(outlet: Outlet) -> None:
    with closing(open_web(outlet, PROBE_TIMEOUT_S)) as agent:
        agent.asked(lambda: agent.client().search_for_studies(limit=1))


def _not_accepted(destination: Destination, wanted: dict[str, str], contexts: list[Context]) -> list[str]:
    quick = replace(destination, timeout_s=min(destination.timeout_s, PROBE_TIMEOUT_S))
    taken = accepted(quick, [proposed(VERIFICATION, Use.ECHO), *contexts])
    return [name for name, uid in wanted.items() if uid not in taken]


def _is_this_machine(host: str) -> bool:
    """Tell whether an address is one of ours: a socket can be bound to it."""
    try:
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def archive(settings: Settings) -> Iterator[Check]:
    """Check the archive of the sweep."""
    sweep = settings.sweep
    if not sweep.is_on:
        return
    if sweep.ae_title and sweep.port == settings.listener.port and _is_this_machine(sweep.host):
        yield fault("sweep", "expected an archive, found our own listener; correct host and port in [sweep]")
        return
    if sweep.ae_title and is_loopback(settings.listener.host) and not _is_this_machine(sweep.host):
        yield fault(
            "sweep",
            f"expected {sweep.ae_title} to reach us with what it moves, found listener.host {settings.listener.host}, "
            "which is reached from this machine alone; set it to this machine's address",
        )
        return
    try:
        if sweep.url:
            _search(archive_outlet(settings))
            yield good("sweep", "answers a search")
            return
        wanted = {"C-FIND": STUDY_ROOT_FIND, "C-MOVE": STUDY_ROOT_MOVE}
        lacking = _not_accepted(archive_peer(settings), wanted, [proposed(uid, Use.QUERY) for uid in wanted.values()])
    except (ConfigError, PeerUnavailable, StoreRefused) as error:
        yield fault("sweep", str(error))
        return
    if lacking:
        yield fault(
            "sweep",
            f"expected {sweep.ae_title} to offer C-FIND and C-MOVE to us, found no {' and no '.join(lacking)}; let its "
            "administrator allow queries and moves to our AE title, or name its DICOMweb in sweep.url",
        )
    else:
        yield good("sweep", f"{sweep.ae_title} offers C-FIND and C-MOVE")
