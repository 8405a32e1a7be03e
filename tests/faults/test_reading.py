"""Rows 30 to 34 of the fault table, behind the listener: what a hostile instance does to its series, and to others."""

import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from dicom_io.spool import Spool
from sgmri.lifecycle import FAULTS, State
from sgmri.settings import parse
from tests.faults.ward import HEALTHY, series
from tests.worker.place import Clock, NegativeEngine, Place
from worker.database import sqlite_url
from worker.journal import Journal
from worker.outbox import Outbox
from worker.tasks import Workplace, begin_reading, end_reading

_GROWTH_KIB = 256 * 1024
"""Three copies of the 64 MiB that a deflated header may take; the deflate bomb would add 768 MiB."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    clock, engine = Clock(), NegativeEngine()
    journal = Journal(sqlite_url(tmp_path), clock=clock)
    workplace = Workplace(
        settings=parse({}),
        journal=journal,
        spool=Spool(tmp_path / "spool"),
        outbox_dir=tmp_path / "outbox",
        engine=lambda: engine,
    )
    yield Place(workplace=workplace, clock=clock, engine=engine)
    journal.close()


def saved(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def inserted(content: bytes, odd: bytes) -> bytes:
    """Put bytes before the Samples per Pixel (0028,0002)."""
    at = content.index(b"\x28\x00\x02\x00US")
    return content[:at] + odd + content[at:]


def nested(path: Path) -> bytes:
    opened = (b"\x27\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 20_000
    return inserted(path.read_bytes(), opened + (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * 20_000)


def deflate_bomb(path: Path) -> bytes:
    """256 MiB of zeros in 300 kB."""
    content = path.read_bytes()
    start = 144 + struct.unpack_from("<L", content, 140)[0]
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head = saved(ds)[: 144 + struct.unpack_from("<L", saved(ds), 140)[0]]
    pixels = content.index(b"\xe0\x7f\x10\x00OW")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = squeeze.compress(content[start:pixels] + struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", 1 << 28))
    return head + bomb + b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(1 << 8)) + squeeze.flush()


def run_length_bomb(path: Path) -> bytes:
    """4 MB that decode to 256 MiB."""
    segment = b"\x81\x07" * (1 << 20)
    header = struct.pack("<16L", 2, 64, 64 + len(segment), *([0] * 13))
    return coded(path, header + segment * 2, RLELossless)


def wavelet_bomb(path: Path) -> bytes:
    ds = dcmread(path)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    content = saved(ds)
    at = content.index(b"\xff\x4f\xff\x51") + 8
    return content[:at] + struct.pack(">2I", 60_000, 60_000) + content[at + 8 :]


def coded(path: Path, frame: bytes, syntax: UID) -> bytes:
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    return saved(ds)


def giant(path: Path) -> bytes:
    ds = dcmread(path)
    ds.Rows = ds.Columns = 65_535
    ds.NumberOfFrames = 100_000
    return saved(ds)


def bad_offsets(path: Path) -> bytes:
    ds = dcmread(path)
    ds.compress(RLELossless, generate_instance_uid=False)
    content = saved(ds)
    item = content.index(b"\xfe\xff\x00\xe0", content.index(b"\xe0\x7f\x10\x00"))
    # the first item says that it goes on far behind the end of the file
    return content[: item + 4] + struct.pack("<L", 0x7FFF_FFF0) + content[item + 8 :]


def no_frames(path: Path) -> bytes:
    return coded(path, bytes(2), RLELossless)


HOSTILE = [nested, deflate_bomb, run_length_bomb, wavelet_bomb, giant, bad_offsets, no_frames]


@pytest.mark.parametrize("injector", HOSTILE, ids=lambda injector: injector.__name__)
def test_a_hostile_instance_fails_its_series_with_a_reason(
    place: Place, tmp_path: Path, injector: Callable[[Path], bytes]
) -> None:
    """Rows 30, 31, 32, 34: no result, a coded fault, no memory to speak of, and the next series is read."""
    paths = series(HEALTHY, 1, tmp_path / "scanner")
    place.store(*paths)
    (first, *_) = sorted(place.workplace.spool.root.glob("*/*.dcm"))
    # in the spool, as if the listener's own checks had let it pass
    first.write_bytes(injector(first))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    place.receive()
    if place.state() is State.QUEUED:
        place.read()
    row = place.row
    assert (row.state, row.reason in FAULTS) == (State.FAILED, True), row.reason
    assert Outbox(journal=place.workplace.journal).results(row) == ()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < _GROWTH_KIB

    place.clock.now += 1
    place.store(*series(HEALTHY, 2, tmp_path / "scanner"))
    healthy = place.workplace.journal.all_series()[1]
    assert read_after_completion(place, healthy.series_key)


def read_after_completion(place: Place, key: str) -> bool:
    from plugin.dispatch import Dispatcher
    from worker.app import create_app

    journal = place.workplace.journal
    app = create_app("redis://127.0.0.1:1/0")
    Dispatcher(journal=journal, spool=place.workplace.spool, app=app).complete(journal.series(key))
    row = begin_reading(place.workplace)
    return row is not None and row.series_key == key and end_reading(place.workplace, row)


ODD = {
    "unknown VR": b"\x27\x00\x11\x00ZZ\x02\x00ab",
    "text in DS": b"\x27\x00\x11\x00DS\x04\x00abc ",
    "US of 3 bytes": b"\x27\x00\x11\x00US\x03\x00abc",
    "IS 1.5": b"\x27\x00\x11\x00IS\x04\x001.5 ",
}


@pytest.mark.parametrize("odd", list(ODD))
def test_odd_values_do_not_keep_a_series_from_being_read(place: Place, tmp_path: Path, odd: str) -> None:
    """Row 33: values that nobody asks for may be anything; the series is read, or fails with a fault's reason."""
    place.store(*series(HEALTHY, 1, tmp_path / "scanner"))
    for path in place.workplace.spool.root.glob("*/*.dcm"):
        path.write_bytes(inserted(path.read_bytes(), ODD[odd]))
    place.receive()
    assert place.row.state is State.FAILED or place.read()
    assert place.row.state is State.READ or place.row.reason in FAULTS


def test_an_unknown_character_set_does_not_keep_a_series_from_being_read(place: Place, tmp_path: Path) -> None:
    """Row 33: no text of the header is needed to read it."""
    paths = series(HEALTHY, 1, tmp_path / "scanner")
    for path in paths:
        content = path.read_bytes()
        at = content.index(b"\x08\x00\x05\x00CS")
        length = struct.unpack_from("<H", content, at + 6)[0]
        path.write_bytes(content[: at + 8] + b"ISO_IR 999"[:length].ljust(length) + content[at + 8 + length :])
    place.receive(*paths)
    assert place.read()
    assert place.row.state is State.READ
