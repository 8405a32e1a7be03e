"""Instances whose spool files are gone, sent again over a real association."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.phantoms import make, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from plugin.listener import ListenerService, spool_dir
from sgmri.lifecycle import Reason, State
from sgmri.settings import Settings, parse
from worker.journal import SeriesRow


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return parse(
        {
            "listener": {"port": 0, "min_free_bytes": 1, "peers": [{"ae_title": "SCANNER"}]},
            "storage": {"state_dir": str(tmp_path / "state")},
            "series": {"quiet_period_s": 1.0},
            "broker": {"url": "redis://127.0.0.1:1/0"},
            "worker": {"sweep_period_s": 0.2},
        }
    )


@pytest.fixture
def service(settings: Settings) -> Iterator[ListenerService]:
    service = ListenerService(settings)
    service.start()
    yield service
    service.stop()


def _wait(service: ListenerService, there: Callable[[SeriesRow], bool]) -> SeriesRow:
    deadline = time.monotonic() + 60
    while not (rows := service.journal.all_series()) or not there(rows[0]):
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)
    return rows[0]


@pytest.mark.parametrize("gone", [1, 22])
def test_what_is_gone_from_the_spool_can_be_sent_again(
    settings: Settings, service: ListenerService, tmp_path: Path, gone: int
) -> None:
    """Files vanish before the series is decided on: it fails as incomplete, is sent again as advised, and is queued."""
    paths = write(make("brain-normal"), tmp_path / "brain")
    listener = Destination(ae_title="SGMRI", host="127.0.0.1", port=service.port, calling_ae_title="SCANNER")
    store(listener, [sendable(path) for path in paths])
    files = sorted(spool_dir(settings).glob("*/*.dcm"))
    for path in files[:gone]:
        path.unlink()
    row = _wait(service, lambda row: row.state is State.FAILED)
    assert row.reason is Reason.INCOMPLETE_SERIES

    store(listener, [sendable(path) for path in paths])
    row = _wait(service, lambda row: row.state is State.QUEUED)
    assert sorted(spool_dir(settings).glob("*/*.dcm")) == files
    assert (row.instances, row.question_set_id) == (22, "brain-1")
