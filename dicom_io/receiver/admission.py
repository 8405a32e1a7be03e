"""How many associations there may be: in all, of one peer, and a reserve for the peers that have none.

References
----------
PS3.8 9.3.4 (rejected-transient: temporary congestion, local limit exceeded)
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_io.statuses import Rejection
from sgmri.settings import Listener


class Admission:
    """Counts associations.

    Parameters
    ----------
    settings
        The limits and the peers.
    """

    def __init__(self, settings: Listener) -> None:
        self._max_associations = settings.max_associations
        self._max_per_peer = settings.max_associations_per_peer
        self._peers = {peer.ae_title.strip() for peer in settings.peers}
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def association(self, peer: str) -> Iterator[None]:
        """Count an association of a peer, by AE title, for as long as the block runs.

        Raises
        ------
        AssociationRejected
            If there are too many. A quarter of all places at most is kept for peers without an association, one for
            each, so that a peer that opens ever more does not shut the others out.
        """
        with self._lock:
            free = self._max_associations - self._open.total()
            idle = sum(not self._open[known] for known in self._peers)
            kept = min(idle, self._max_associations // 4) if self._open[peer] else 0
            if free <= kept or self._open[peer] >= self._max_per_peer:
                raise Rejection.LOCAL_LIMIT.error("there are too many associations")
            self._open[peer] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[peer] -= 1
