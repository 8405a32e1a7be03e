"""A modality that sends again what was not answered."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from sgmri.errors import PeerUnavailable


def send(listener: Destination, paths: Sequence[Path]) -> None:
    """Send a series, and once more where the association ends early.

    pynetdicom's requestor takes a response for a request now and then, when the machine is busy ("Received unexpected
    C-STORE service message"), and waits for another one until its time is up.
    """
    with suppress(PeerUnavailable):
        store(listener, [sendable(path) for path in paths])
        return
    store(listener, [sendable(path) for path in paths])
