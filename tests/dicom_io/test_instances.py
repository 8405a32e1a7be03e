import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.instances import inspect
from sgmri.errors import IncompleteSeries, MalformedInstance, SgmriError, UnsupportedSeries
from sgmri.lifecycle import Reason

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DEFLATED = "1.2.840.10008.1.2.1.99"


def _phantom(name: str = "brain-normal") -> Dataset:
    """One data set of a phantom with a frame of 4 x 4 zeros, so that headers can be written quickly."""
    ds = phantoms.make(name).datasets[0]
    ds.Rows = ds.Columns = 4
    ds.PixelData = np.zeros((int(ds.get("NumberOfFrames", 1)), 4, 4), np.uint16).tobytes()
    return ds


def _written(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def _with_elements(path: Path, elements: bytes) -> Path:
    """Put raw elements (Explicit VR LE) in front of a file's data set."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<L", content, 140)
    start = 144 + length
    path.write_bytes(content[:start] + elements + content[start:])
    return path


def test_classic_header_is_read(tmp_path: Path) -> None:
    """A classic instance has one frame without a number, and its geometry and physics come with their units."""
    ds = _phantom()
    facts = inspect(_written(ds, tmp_path / "a.dcm"))
    assert facts.is_mr
    assert (facts.rows, facts.columns, facts.number_of_frames) == (4, 4, 1)
    (frame,) = facts.frames
    assert frame.frame_number is None
    assert frame.position_mm == tuple(ds.ImagePositionPatient)
    assert frame.row_cosines == (1.0, 0.0, 0.0)
    assert frame.pixel_spacing_mm == (0.9, 0.9)
    assert (facts.repetition_time_ms, facts.echo_time_ms, facts.inversion_time_ms) == (9000, 120, 2500)
    assert facts.scanning_sequence == ("SE", "IR")
    assert (frame.rescale_slope, frame.rescale_intercept) == (1, 0)


def test_enhanced_header_is_read_from_functional_groups(tmp_path: Path) -> None:
    """An Enhanced instance has numbered frames, their groups before the shared ones (PS3.3 C.7.6.16)."""
    ds = _phantom("knee-enhanced")
    own = Dataset()
    own.EffectiveEchoTime = 77.0
    ds.PerFrameFunctionalGroupsSequence[4].MREchoSequence = [own]
    facts = inspect(_written(ds, tmp_path / "a.dcm"))
    assert [frame.frame_number for frame in facts.frames] == list(range(1, 23))
    positions = [frame.position_mm for frame in facts.frames]
    expected = [
        tuple(item.PlanePositionSequence[0].ImagePositionPatient) for item in ds.PerFrameFunctionalGroupsSequence
    ]
    assert positions == expected
    assert [frame.echo_time_ms for frame in facts.frames] == [30.0] * 4 + [77.0] + [30.0] * 17
    assert facts.repetition_time_ms == 3000
    assert facts.fat_suppressed is True
    assert "Knee" in "".join(facts.region_texts).title()


def test_enhanced_rescale_is_that_of_each_frame(tmp_path: Path) -> None:
    """Pixel Value Transformation of a frame wins over the shared one (PS3.3 C.7.6.16.2.9)."""
    ds = _phantom("brain-enhanced")
    own = Dataset()
    own.RescaleSlope, own.RescaleIntercept, own.RescaleType = "2.5", "-7", "US"
    for item in ds.PerFrameFunctionalGroupsSequence[:1]:
        item.PixelValueTransformationSequence = [own]
    first, second, *_ = inspect(_written(ds, tmp_path / "a.dcm")).frames
    assert (first.rescale_slope, first.rescale_intercept) == (2.5, -7)
    assert (second.rescale_slope, second.rescale_intercept) == (1, 0)


def test_no_text_or_identity_is_in_the_repr(tmp_path: Path) -> None:
    """What is printed of an instance names neither patient, study, nor what somebody typed."""
    ds = _phantom()
    shown = repr(inspect(_written(ds, tmp_path / "a.dcm")))
    assert "PHANTOM" not in shown and "SYNTHETIC" not in shown
    assert "CANARY" not in shown
    assert str(ds.StudyInstanceUID) not in shown
    assert str(ds.SOPInstanceUID) not in shown


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_identifying_uid_is_demanded(tmp_path: Path, keyword: str) -> None:
    """An instance that cannot be identified is malformed, and the text names the attribute only."""
    ds = _phantom()
    del ds[keyword]
    ds.preamble = bytes(128)
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=False)
    with pytest.raises(MalformedInstance, match=keyword):
        inspect(tmp_path / "a.dcm")


def test_path_in_place_of_a_uid_is_refused(tmp_path: Path) -> None:
    """A Study Instance UID that holds a path is no UID, and its text is not repeated."""
    path = _written(_phantom(), tmp_path / "a.dcm")
    uid = str(_phantom().StudyInstanceUID).encode()
    path.write_bytes(path.read_bytes().replace(uid, b"../../evil".ljust(len(uid), b"x")))
    with pytest.raises(MalformedInstance) as caught:
        inspect(path)
    assert "evil" not in str(caught.value)


def test_unreadable_attributes_count_as_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged values cost only themselves, without a warning, and never reach the log."""
    path = _written(_phantom(), tmp_path / "a.dcm")
    content = path.read_bytes()
    content = (
        content.replace(b"9000.0", b"CANARY").replace(b"-113.25", b"1e9999x").replace(b"ISO_IR 192", b"ISO_IR 999")
    )
    path.write_bytes(content)
    with caplog.at_level(logging.DEBUG):
        facts = inspect(path)
    assert facts.repetition_time_ms is None
    assert facts.frames[0].position_mm is None
    assert facts.echo_time_ms == 120
    assert caplog.records == []


@pytest.mark.parametrize("value", ["", "x", "1e999"])
def test_unusable_rescale_is_marked(tmp_path: Path, value: str) -> None:
    """A slope that is there but no number is not silently 1."""
    path = _written(_phantom(), tmp_path / "a.dcm")
    raw = value.encode().ljust(len(value) + len(value) % 2)
    _with_elements(path, struct.pack("<HH2sH", 0x28, 0x1053, b"DS", len(raw)) + raw)
    assert not np.isfinite(inspect(path).frames[0].rescale_slope)


def test_number_of_frames_that_is_no_number_is_not_one(tmp_path: Path) -> None:
    """A damaged Number of Frames leaves no frame count to rely on."""
    path = _written(_phantom(), tmp_path / "a.dcm")
    assert inspect(_with_elements(path, struct.pack("<HH2sH", 0x28, 8, b"IS", 2) + b"1A")).number_of_frames == 0


def test_many_nested_sequences_end_in_an_error(tmp_path: Path) -> None:
    """20,000 nested sequences are a malformed instance, not a crash (fault 30)."""
    path = _written(_phantom(), tmp_path / "a.dcm")
    level = struct.pack("<HH2sHL", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(MalformedInstance, match="nested"):
        inspect(_with_elements(path, level * 20_000))


@pytest.mark.parametrize("vr", [b"ZZ", b"\0\0", b"us"])
def test_unknown_value_representation_stays_inside_our_errors(tmp_path: Path, vr: bytes) -> None:
    """An element of an impossible value representation is survived or refused."""
    path = _written(_phantom(), tmp_path / "a.dcm")
    _with_elements(path, struct.pack("<HH2sH", 0x0008, 0x0001, vr, 4) + b"abcd")
    try:
        assert inspect(path).is_mr
    except SgmriError as error:
        assert error.reason is Reason.MALFORMED_INSTANCE  # type: ignore[attr-defined]


def test_length_field_claims_no_memory(tmp_path: Path) -> None:
    """A private value that claims 4 GB is skipped, not allocated."""
    path = _written(_phantom(), tmp_path / "a.dcm")
    with path.open("rb+") as file:
        content = file.read()
        place = content.index(struct.pack("<HH", 0x0028, 0x0002))
        claim = struct.pack("<HH2sHL", 0x0021, 0x1010, b"OB", 0, 0xFFFFFFF0)
        file.seek(place)
        file.write(claim + content[place:])
    facts = inspect(path)
    assert facts.rows == 0, "everything after the claim is gone, and so is the matrix"


def _deflated(path: Path, raw: bytes) -> Path:
    value = DEFLATED.encode().ljust(len(DEFLATED) + len(DEFLATED) % 2, b"\0")
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(value)) + value
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(element))
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(bytes(128) + b"DICM" + length + element + deflate.compress(raw) + deflate.flush())
    return path


def test_deflated_header_is_read(tmp_path: Path) -> None:
    """A deflated file gives the same facts as the plain one, but for its transfer syntax (PS3.5 A.5)."""
    plain = _written(_phantom(), tmp_path / "a.dcm")
    content = plain.read_bytes()
    (length,) = struct.unpack_from("<L", content, 140)
    facts = inspect(_deflated(tmp_path / "b.dcm", content[144 + length :]))
    assert facts.transfer_syntax_uid == DEFLATED
    assert facts.frames == inspect(plain).frames
    assert facts.sop_instance_uid == inspect(plain).sop_instance_uid


def test_deflate_bomb_is_not_inflated(tmp_path: Path) -> None:
    """A header that inflates to 128 MiB is refused at the limit (fault 31)."""
    bomb = struct.pack("<HH2sHL", 0x0009, 0x1010, b"OB", 0, 1 << 27) + bytes(1 << 27)
    path = _deflated(tmp_path / "a.dcm", bomb)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(MalformedInstance) as caught:
        inspect(path)
    assert caught.value.reason is Reason.TOO_LARGE


def test_other_files_are_refused(tmp_path: Path) -> None:
    """What is no PS3.10 file is malformed, a DICOMDIR is not for us, a missing file makes the series incomplete."""
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "empty").touch()
    for name in ("note.txt", "empty"):
        with pytest.raises(MalformedInstance, match=r"PS3\.10"):
            inspect(tmp_path / name)
    with pytest.raises(IncompleteSeries):
        inspect(tmp_path / "gone.dcm")
    with pytest.raises(MalformedInstance):
        inspect(tmp_path)
    found = get_testdata_file("DICOMDIR", download=False)
    assert isinstance(found, str)
    with pytest.raises(UnsupportedSeries) as caught:
        inspect(Path(found))
    assert caught.value.reason is Reason.NOT_MR


def test_all_real_files_are_survived() -> None:
    """Every file at hand is either read or refused with one of our errors; MR images keep a matrix and UIDs."""
    if not SHARED.is_dir():
        pytest.skip("the real data folder is not there")
    read = refused = 0
    for path in sorted(SHARED.rglob("*")):
        if not path.is_file():
            continue
        try:
            facts = inspect(path)
        except SgmriError:
            refused += 1
            continue
        read += 1
        if facts.is_mr:
            assert facts.rows > 0
            assert facts.columns > 0
    assert read > 130
    assert refused > 20


# bytes of a valid small file that are overwritten, and where it is cut (as a part of its length)
_DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=_DAMAGE, kept=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_damaged_headers_raise_only_our_errors(tmp_path: Path, damage: list[tuple[float, int]], kept: float) -> None:
    """Whatever bytes are flipped or cut off, a header is read or refused."""
    source: Any = get_testdata_file("MR_small.dcm", download=False)
    content = bytearray(Path(source).read_bytes()[:1500])
    for place, value in damage:
        content[128 + int(place * (len(content) - 128))] = value
    path = tmp_path / "damaged.dcm"
    path.write_bytes(content[: int(kept * len(content))])
    try:
        inspect(path)
    except SgmriError as error:
        assert str(error)
