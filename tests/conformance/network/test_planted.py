"""The suite against a sound peer, and against the same with one fault at a time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from conformance.network.acceptor import Acceptor
from conformance.network.run import run
from conformance.network.session import Setup
from conformance.report import Outcome, Report
from dicom_io.network import Destination
from plugin.parts import free_port
from tests.conformance.network.peer import AE_TITLE, CALLER, Peer
from tests.conformance.network.planted import FAULTS, SEED, Planted

ROLES = frozenset({"storage", "query", "commitment"})
LENGTHY = ("storage.kinds", "retrieve.kinds")
"""Checks that make one object of each kind: seconds, so only in the slow run."""


def run_suite(
    peer: Acceptor, only: Callable[[str], bool], *, port: int, timeout_s: float = 5.0, patience_s: float = 6.0
) -> Report:
    """Run the suite against a running peer."""
    setup = Setup(
        destination=Destination(
            ae_title=AE_TITLE, host="127.0.0.1", port=peer.port, calling_ae_title=CALLER, timeout_s=timeout_s
        ),
        roles=ROLES,
        patience_s=patience_s,
        listen=("127.0.0.1", port),
        big_bytes=1 << 20,
    )
    return run(setup, only=only, seed=SEED)


@contextmanager
def running(peer_class: type[Peer], directory: Path) -> Iterator[tuple[Peer, int]]:
    """Run a peer that knows where the suite listens."""
    with ExitStack() as held:
        peer = held.enter_context(peer_class(directory))
        port = free_port()
        peer.destinations[CALLER] = port
        yield peer, port


class ReportsElsewhere(Peer):
    reports_on_ours = False


@pytest.mark.parametrize("peer_class", [Peer, ReportsElsewhere])
def test_a_sound_peer_fails_no_check(peer_class: type[Peer], tmp_path: Path) -> None:
    """Whatever is asked of it: no check fails, and those of its roles have a verdict."""
    only = (lambda name: name.startswith("commitment.")) if peer_class is ReportsElsewhere else _quick
    with running(peer_class, tmp_path) as (peer, port):
        report = run_suite(peer, only, port=port)
    assert [(entry.id, entry.result.text) for entry in report.failed] == []
    assert sum(entry.result.outcome is Outcome.PASS for entry in report.entries) > 0.7 * len(report.entries)


def _quick(name: str) -> bool:
    return name not in LENGTHY


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.peer.__name__)
def test_a_planted_fault_is_found(planted: Planted, tmp_path: Path) -> None:
    """Each fault alone fails the check that is about it, with evidence."""
    with running(planted.peer, tmp_path) as (peer, port):
        report = run_suite(peer, lambda name: name in planted.found_by, port=port, timeout_s=2.0, patience_s=3.0)
    assert report.failed
    assert all(entry.evidence for entry in report.failed)


@pytest.mark.network
@pytest.mark.timeout(900)
@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.peer.__name__)
def test_a_planted_fault_is_found_by_the_whole_suite(planted: Planted, tmp_path: Path) -> None:
    """With all checks, too: the run goes to its end and names the fault."""
    with running(planted.peer, tmp_path) as (peer, port):
        report = run_suite(peer, _quick, port=port, timeout_s=2.0, patience_s=3.0)
    assert {entry.id for entry in report.failed} & set(planted.found_by)
