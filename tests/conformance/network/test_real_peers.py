"""The suite against real peers on the loopback interface: our listener fails no check, and others have a report."""

import pytest

from conformance.report import Outcome
from tests.conformance.network.real_peers import PEERS, report_of


@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PEERS)
def test_every_real_peer_is_reported(name: str) -> None:
    """Each check ends with a verdict; C-ECHO works everywhere; our listener fails nothing, hostile input included."""
    if not PEERS[name].is_here:
        pytest.skip(f"{PEERS[name].title} is not installed")
    is_ours = name.startswith("sgmri")
    report = report_of(name, destructive=is_ours, patience_s=6.0)
    assert report.entries[0].id == "verification.echo"
    assert report.entries[0].result.outcome is Outcome.PASS
    assert [entry.id for entry in report.failed if is_ours] == []
