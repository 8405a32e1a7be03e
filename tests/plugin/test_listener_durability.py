"""What Success means reaches from the setting to the files of a series, through the whole listener."""

import time
from pathlib import Path

import pytest

from conformance.phantoms import make, write
from dicom_io.network import Destination
from dicom_io.scu import sendable, store
from plugin.listener import ListenerService, spool_dir
from sgmri.lifecycle import State
from sgmri.settings import parse


@pytest.mark.parametrize(
    ("receiver", "durability"), [("own", "strict"), ("own", "journal"), ("own", "none"), ("pynetdicom", "strict")]
)
def test_a_complete_series_has_all_its_files(tmp_path: Path, receiver: str, durability: str) -> None:
    """Whatever the policy, when a series is queued for reading each of its instances is a file."""
    settings = parse(
        {
            "listener": {
                "port": 0,
                "min_free_bytes": 1,
                "peers": [{"ae_title": "SCANNER"}],
                "receiver": receiver,
                "durability": durability,
            },
            "storage": {"state_dir": str(tmp_path / "state")},
            "series": {"quiet_period_s": 0.5},
            "broker": {"url": "redis://127.0.0.1:1/0"},
        }
    )
    paths = write(make("brain-normal"), tmp_path / "brain")
    service = ListenerService(settings)
    service.start()
    try:
        listener = Destination(ae_title="SGMRI", host="127.0.0.1", port=service.port, calling_ae_title="SCANNER")
        store(listener, [sendable(path) for path in paths])
        deadline = time.monotonic() + 60
        while [row.state for row in service.journal.all_series()] != [State.QUEUED]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (row,) = service.journal.all_series()
        files = [spool_dir(settings) / row.series_key / name for name in service.journal.file_names(row.series_key)]
        assert len(files) == len(paths)
        assert all(path.is_file() for path in files)
        assert list(spool_dir(settings).glob("segments/*")) == []
    finally:
        service.stop()
