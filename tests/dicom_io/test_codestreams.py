"""Headers that lie are found out before a decoder believes them, and memory stays bounded."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from conformance import phantoms
from dicom_io.codestreams import check_stream
from dicom_io.decode import stored_frames
from dicom_io.instances import inspect
from sgmri.errors import MalformedInstance

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
REPOSITORY = Path(__file__).resolve().parents[2]

_SIDE = 240
_GROWTH_MIB = 64
"""What decoding may add to a process that has decoded before; each stream below would add some 500, or 10,000."""
_MEASURE = """
import json, resource, sys
from pathlib import Path
from dicom_io.decode import stored_frames
from dicom_io.instances import inspect
from sgmri.errors import SeriesError

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for path in sys.argv[2:4]:
    stored_frames(inspect(Path(path)))
before, reasons = peak_mib(), {}
for path in sorted(Path(sys.argv[1]).rglob("*.dcm")):
    try:
        stored_frames(inspect(path))
        reasons[path.name] = "NONE"
    except SeriesError as error:
        reasons[path.name] = error.reason.value
print(json.dumps({"growth_mib": peak_mib() - before, "reasons": reasons}))
"""


def _stream(syntax: UID = JPEG2000Lossless) -> bytes:
    ds = phantoms.make("brain-normal").datasets[0]
    ds.Rows = ds.Columns = _SIDE
    ds.PixelData = np.zeros((_SIDE, _SIDE), np.uint16).tobytes()
    ds.compress(syntax, generate_instance_uid=False)
    return next(generate_frames(ds.PixelData, number_of_frames=1)).rstrip(b"\0")


def _instance(stream: bytes, path: Path, syntax: UID = JPEG2000Lossless) -> Path:
    ds: Dataset = phantoms.make("brain-normal").datasets[0]
    ds.Rows = ds.Columns = _SIDE
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([stream])
    ds.save_as(path, enforce_file_format=True)
    return path


def _tiny_tiles(stream: bytes) -> bytes:
    return stream[:24] + struct.pack(">2I", 1, 1) + stream[32:]


def _with_style(stream: bytes, precincts: int | None, code_block: int = 4) -> bytes:
    place = stream.index(b"\xff\x52")
    (length,) = struct.unpack_from(">H", stream, place + 2)
    style = bytearray(stream[place : place + 2 + length])
    style[10] = style[11] = code_block
    if precincts is not None:
        style[4] |= 1
        style += bytes([precincts]) * (style[9] + 1)
    struct.pack_into(">H", style, 2, len(style) - 2)
    return stream[:place] + bytes(style) + stream[place + 2 + length :]


def _tiny_precincts(stream: bytes) -> bytes:
    return _with_style(stream, 0x11)


def _style_in_a_tile(stream: bytes) -> bytes:
    costly = _tiny_precincts(stream)
    place = costly.index(b"\xff\x52")
    style = costly[place : place + 2 + struct.unpack_from(">H", costly, place + 2)[0]]
    start = stream.index(b"\xff\x90")
    (length,) = struct.unpack_from(">I", stream, start + 6)
    longer = struct.pack(">I", length + len(style))
    return stream[: start + 6] + longer + stream[start + 10 : start + 12] + style + stream[start + 12 :]


def _many_components(stream: bytes) -> bytes:
    place = 4 + 36
    size = struct.pack(">H", 38 + 3 * 1000)
    return stream[:4] + size + stream[6:place] + struct.pack(">H", 1000) + stream[42:45] * 1000 + stream[45:]


def _giant(stream: bytes) -> bytes:
    return stream[:8] + struct.pack(">2I", 60000, 60000) + stream[16:]


_LIES = [_tiny_tiles, _tiny_precincts, _style_in_a_tile, _many_components, _giant]


@pytest.mark.parametrize("lie", _LIES)
def test_a_costly_jpeg_2000_stream_is_refused(tmp_path: Path, lie: Callable[[bytes], bytes]) -> None:
    """Two kilobytes that demand hundreds of megabytes do not reach the decoder."""
    stream = _stream()
    assert stored_frames(inspect(_instance(stream, tmp_path / "true.dcm"))).max() == 0
    path = _instance(lie(stream), tmp_path / "lie.dcm")
    assert path.stat().st_size < 10_000
    with pytest.raises(MalformedInstance, match=r"bounded memory|announced rows and columns"):
        stored_frames(inspect(path))


def test_sane_precincts_tiles_and_code_blocks_pass() -> None:
    """What encoders really write is decoded: precincts of 64 pixels, code blocks of 16, tiles of 60."""
    stream = _stream()
    for sane in (
        _with_style(stream, 0x66),
        _with_style(stream, None, code_block=2),
        stream[:24] + struct.pack(">2I", 60, 60) + stream[32:],
        b"\0" * 85 + stream,
    ):
        check_stream(sane, _SIDE, _SIDE)


def test_a_decoy_before_a_wrapped_stream_is_refused() -> None:
    """A harmless codestream in front does not vouch for the one that would be decoded."""
    stream = _stream()
    with pytest.raises(MalformedInstance, match="several"):
        check_stream(b"\0" * 8 + stream[:60] + _giant(stream), _SIDE, _SIDE)


@pytest.mark.parametrize("components", [0, 3, 255])
def test_a_jpeg_of_several_components_is_refused(components: int) -> None:
    """A grey image has one component, whatever its stream says."""
    head = b"\xff\xd8\xff\xc1" + struct.pack(">HBHHB", 8 + 3 * components, 12, _SIDE, _SIDE, components)
    with pytest.raises(MalformedInstance, match="in grey"):
        check_stream(head + bytes(3 * components), _SIDE, _SIDE)


def test_a_hierarchical_jpeg_is_refused() -> None:
    """Its first frame may be small and its last one huge."""
    size = struct.pack(">HBHHB", 11, 12, _SIDE, _SIDE, 1) + b"\x01\x11\x00"
    with pytest.raises(MalformedInstance, match="in grey"):
        check_stream(b"\xff\xd8\xff\xde" + size + b"\xff\xc5" + size, _SIDE, _SIDE)


def _measured(folder: Path, tmp_path: Path) -> tuple[float, dict[str, str]]:
    sane = [
        _instance(_stream(syntax), tmp_path / f"{name}.dcm", syntax)
        for name, syntax in (("first", JPEG2000Lossless), ("second", JPEGLSLossless))
    ]
    answer = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(folder), *map(str, sane)],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    )
    measured = json.loads(answer.stdout)
    return float(measured["growth_mib"]), measured["reasons"]


def test_lies_cost_no_memory(tmp_path: Path) -> None:
    """All lies at once, and pixels that a header promises but does not have, stay within 64 MiB."""
    folder = tmp_path / "lies"
    folder.mkdir()
    stream = _stream()
    for number, lie in enumerate(_LIES):
        _instance(lie(stream), folder / f"lie-{number}.dcm")
    (folder / "giant-header.dcm").write_bytes(_promising(65535))
    (folder / "short.dcm").write_bytes(_promising(2048))
    giant = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 60000, 60000, 1) + b"\x01\x11\x00"
    _instance(giant, folder / "jpeg.dcm", JPEGBaseline8Bit)
    growth_mib, reasons = _measured(folder, tmp_path)
    assert reasons.pop("giant-header.dcm") == "TOO_LARGE"
    assert reasons.pop("short.dcm") == "TRUNCATED_INSTANCE"
    assert set(reasons.values()) == {"MALFORMED_INSTANCE"}
    assert len(reasons) == len(_LIES) + 1
    assert growth_mib < _GROWTH_MIB


def _promising(side: int) -> bytes:
    """Return a file that announces a frame, and four gigabytes of pixels, that it does not have."""
    ds = phantoms.make("brain-normal").datasets[0]
    ds.Rows = ds.Columns = side
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    place = content.rindex(b"\xe0\x7f\x10\x00OW\0\0")
    return content[: place + 8] + struct.pack("<L", 0xFFFFFFF0) + content[place + 12 :]


def test_real_odd_files_cost_no_memory(tmp_path: Path) -> None:
    """The real truncated, garbled and odd files together stay within 64 MiB, and each failure has its reason."""
    folder = SHARED / "nasty"
    if not folder.is_dir():
        pytest.skip("the real data folder is not there")
    growth_mib, reasons = _measured(folder, tmp_path)
    assert growth_mib < _GROWTH_MIB
    assert reasons["MR_truncated.dcm"] == "TRUNCATED_INSTANCE"
    assert set(reasons.values()) <= {"NONE", "TRUNCATED_INSTANCE", "MALFORMED_INSTANCE", "COLOUR"}
