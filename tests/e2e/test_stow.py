"""Results over STOW-RS to a real Orthanc with its DICOMweb plug-in."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dicom_io.scu import sendable
from plugin.parts import free_port, start_pacs
from plugin.processes import Processes
from sgmri.lifecycle import Reason, State
from tests.deliveries import delivery_of, to, waiting
from tests.e2e.system import require
from worker.destinations import open_sender

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    require("Orthanc")
    (tmp_path / "logs").mkdir()
    with Processes(tmp_path / "logs") as processes:
        pacs = start_pacs("orthanc", processes, tmp_path / "pacs", {"SGMRI": free_port()})
        if pacs.dicomweb_url is None:
            pytest.skip("orthanc-dicomweb is not installed")
        yield pacs.dicomweb_url


def test_orthanc_takes_and_lists_what_is_sent(url: str, tmp_path: Path) -> None:
    """A SEG and an SR are stored, proved by QIDO-RS, and the series is COMMITTED; a second time is a duplicate."""
    web: dict[str, object] = {"name": "web", "kind": "stow", "url": url, "commitment": "query"}
    settings = to(web, timeout_s=20.0)
    with waiting(settings, tmp_path) as place:
        place.deliver()
        assert (delivery_of(place, "web").state, delivery_of(place, "web").reason) == (State.COMMITTED, Reason.NONE)
        assert place.state() is State.COMMITTED
        paths = sorted(place.workplace.results_dir(place.row).glob("*.dcm"))
        with closing(open_sender(settings, settings.outlets[0])) as sender:
            assert [refusal for _, refusal in sender.store([sendable(path) for path in paths])] == [None, None]


def test_a_wrong_root_is_a_refusal_that_is_tried_slowly(url: str, tmp_path: Path) -> None:
    """404 of a server that is there: STORE_REFUSED, once an hour, and nothing is lost."""
    web: dict[str, object] = {"name": "web", "kind": "stow", "url": f"{url}-not", "commitment": "query"}
    with waiting(to(web, timeout_s=20.0), tmp_path) as place:
        place.deliver()
        one = delivery_of(place, "web")
        assert (one.state, one.reason) == (State.READ, Reason.STORE_REFUSED)
        assert one.next_try_at - place.clock.now >= 3600
