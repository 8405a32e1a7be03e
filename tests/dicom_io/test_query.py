"""What a C-MOVE comes to, against a PACS that answers as it is told."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE, evt

from dicom_io.network import Destination
from dicom_io.query import move
from dicom_io.services import STUDY_ROOT_MOVE
from sgmri.errors import PeerBusy, PeerRejects, PeerUnavailable


@contextmanager
def pacs(*answers: object) -> Iterator[Destination]:
    """Run a PACS whose handler of C-MOVE yields these."""
    ae = AE(ae_title="PACS")
    ae.add_supported_context(STUDY_ROOT_MOVE)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_MOVE, lambda event: iter(answers))]
    )
    assert server is not None
    try:
        yield Destination(ae_title="PACS", host="127.0.0.1", port=int(server.server_address[1]), timeout_s=5.0)
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("answers", "error", "says"),
    [
        ((("127.0.0.1", 104), 0), None, ""),
        (((None, None),), PeerRejects, "enter our AE title, address and port there"),
        ((0,), PeerBusy, "C-MOVE with status 0xC5"),
    ],
)
def test_a_move_ends_well_or_says_why_not(
    answers: tuple[object, ...], error: type[PeerUnavailable] | None, says: str
) -> None:
    """Success is silent; an unknown move destination says what to enter where; other failures carry their status."""
    with pacs(*answers) as destination:
        if error is None:
            move(destination, "2.25.1", "2.25.2", "SGMRI")
            return
        with pytest.raises(error, match=says):
            move(destination, "2.25.1", "2.25.2", "SGMRI")
