"""What either receiver tells the audit log: an event for each series of an association, and each rejection."""

import time
from pathlib import Path

import pytest
from pynetdicom import AE

from dicom_io.network import echo
from dicom_io.services import MR_IMAGE
from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.errors import PeerUnavailable
from sgmri.settings import Peer
from tests.receivers import KINDS, Running, mr_instance, running, send


def events_of(place: Running, count: int) -> list[AuditEvent]:
    deadline = time.monotonic() + 30
    while len(place.events) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return sorted(place.events, key=lambda event: event.count)


@pytest.mark.parametrize("kind", KINDS)
def test_an_association_is_one_event_a_series(tmp_path: Path, kind: str) -> None:
    """With count and caller, at its end, released or aborted; a C-ECHO is none, nor is what was refused."""
    with running(kind, tmp_path) as place:
        echo(place.destination())
        other, broken = mr_instance("2.25.5"), mr_instance("2.25.6")
        other.SeriesInstanceUID = "2.25.3"
        del broken.SeriesInstanceUID
        assert send(place, mr_instance("2.25.3"), mr_instance("2.25.4"), other, broken)[:3] == [0, 0, 0]
        one, two = events_of(place, 2)
        keys = [instance.series_key for instance in place.stored]
        assert (two.action, two.outcome, two.who) == (Action.RECEIVE, Outcome.SUCCESS, "SCANNER@127.0.0.1")
        assert [(event.series_key, event.count, event.detail) for event in (one, two)] == [
            (keys[2], 1, ""), (keys[0], 2, "")
        ]  # fmt: skip
        place.events.clear()
        ae = AE(ae_title="SCANNER")
        ae.add_requested_context(MR_IMAGE, "1.2.840.10008.1.2.1")
        association = ae.associate("127.0.0.1", place.scp.port, ae_title="SGMRI")
        association.send_c_store(mr_instance("2.25.7"))
        association.abort()
        (event,) = events_of(place, 1)
        assert (event.count, event.detail) == (1, "the association was aborted afterwards")


@pytest.mark.parametrize("kind", ["own", "pynetdicom"])
@pytest.mark.parametrize(
    ("peers", "calling", "called", "reason"),
    [
        ((Peer(ae_title="SCANNER"),), "STRANGER", "SGMRI", "calling AE title"),
        ((Peer(ae_title="SCANNER", host="192.0.2.1"),), "SCANNER", "SGMRI", "address"),
        ((Peer(ae_title="SCANNER"),), "SCANNER", "OTHER", "called AE title"),
    ],
)
def test_a_rejection_is_an_event_with_its_reason(
    tmp_path: Path, kind: str, peers: tuple[Peer, ...], calling: str, called: str, reason: str
) -> None:
    """Who called from where, and what was wrong, by the name that they called with."""
    with running(kind, tmp_path, peers=peers) as place:
        with pytest.raises(PeerUnavailable):
            echo(place.destination(calling=calling, called=called))
        (event,) = events_of(place, 1)
    assert (event.action, event.outcome, event.who) == (Action.REFUSE, Outcome.FAILURE, f"{calling}@127.0.0.1")
    assert reason in event.detail
