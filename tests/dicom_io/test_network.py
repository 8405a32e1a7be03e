import time
from pathlib import Path

import pytest
from pynetdicom import evt

from dicom_io.network import open_association
from dicom_io.services import VERIFICATION, Use, proposed
from sgmri.errors import PeerRejects
from sgmri.settings import Peer
from tests import receivers


def test_a_rejection_is_one_however_late_we_look(tmp_path: Path) -> None:
    """A peer that has rejected us and gone before our own thread wakes has rejected us, it did not abort."""
    with receivers.running("own", tmp_path / "spool", peers=(Peer(ae_title="OTHER"),)) as place:
        late = [(evt.EVT_REQUESTED, lambda event: time.sleep(0.5))]
        with pytest.raises(PeerRejects, match="rejected"):
            open_association(place.destination(), [proposed(VERIFICATION, Use.ECHO)], handlers=late)
