from contextlib import ExitStack

import pytest

from dicom_io.receiver.admission import Admission
from sgmri.errors import AssociationRejected
from sgmri.settings import Listener, Peer


def opened(admission: Admission, held: ExitStack, peer: str, times: int) -> int:
    """Return how many of so many associations are admitted."""
    admitted = 0
    for _ in range(times):
        try:
            held.enter_context(admission.association(peer))
        except AssociationRejected as rejected:
            assert (rejected.result, rejected.source, rejected.reason) == (2, 3, 2)
        else:
            admitted += 1
    return admitted


@pytest.mark.parametrize(
    ("most", "share", "first"),
    [(32, 16, 16), (8, 100, 6), (8, 3, 3), (4, 100, 3), (1, 100, 1)],
)
def test_one_peer_leaves_places_for_the_idle_ones(most: int, share: int, first: int) -> None:
    """A peer gets its share, and never the last places while other peers have none."""
    peers = tuple(Peer(ae_title=title) for title in ("A", "B", "C"))
    admission = Admission(Listener(peers=peers, max_associations=most, max_associations_per_peer=share))
    with ExitStack() as held:
        assert opened(admission, held, "A", 50) == first
        assert opened(admission, held, "B", 1) == (1 if most > 1 else 0)
    with ExitStack() as held:
        assert opened(admission, held, "C", 1) == 1  # all places are free again
