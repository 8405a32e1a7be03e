"""Pixels taken straight from their place in the file are those that pydicom decodes, or pydicom decodes them."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from conformance import phantoms
from dicom_io.decode import stored_frames
from dicom_io.instances import inspect
from dicom_io.native import read
from sgmri.errors import MalformedInstance, SgmriError
from sgmri.lifecycle import Reason

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def _instance(path: Path, **attributes: object) -> Path:
    ds = phantoms.make("brain-normal").datasets[0]
    ds.Rows, ds.Columns = 6, 9
    ds.PixelData = np.random.default_rng(1).integers(0, 1 << 16, 54, dtype=np.uint16).tobytes()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def _both_ways_agree(path: Path) -> bool:
    """Compare both ways; return whether the pixels were taken directly."""
    facts = inspect(path)
    direct = stored_frames(facts)
    decoded = stored_frames(replace(facts, pixels=None))
    np.testing.assert_array_equal(direct, decoded)
    assert direct.dtype.kind == decoded.dtype.kind
    assert direct.shape == decoded.shape
    return facts.pixels is not None and read(path, facts.pixels) is not None


@pytest.mark.parametrize("stored", [1, 9, 12, 15, 16])
@pytest.mark.parametrize("signed", [0, 1])
def test_unused_bits_and_signs_are_treated_alike(tmp_path: Path, stored: int, signed: int) -> None:
    """Rubbish in unused bits goes, signs are carried up, at any depth (PS3.5 8.1.1)."""
    path = _instance(tmp_path / "a.dcm", BitsStored=stored, HighBit=stored - 1, PixelRepresentation=signed)
    assert _both_ways_agree(path)


def test_eight_bits_and_several_frames_are_treated_alike(tmp_path: Path) -> None:
    """An odd number of bytes is padded; frames keep their order."""
    pixels = np.arange(27, dtype=np.uint8).tobytes() + b"\0"
    path = _instance(
        tmp_path / "a.dcm", Rows=3, NumberOfFrames=1, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels
    )
    assert _both_ways_agree(path)
    (ds,) = phantoms.make("brain-enhanced").datasets
    ds.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    assert _both_ways_agree(tmp_path / "b.dcm")


def _as_implicit(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def _with_more(ds: Dataset) -> None:
    ds.PixelData = bytes(ds.PixelData) + bytes(108)


def _as_rle(ds: Dataset) -> None:
    ds.PixelData = np.zeros((6, 9), np.uint16).tobytes()
    ds.compress(RLELossless, generate_instance_uid=False)


@pytest.mark.parametrize(
    ("edit", "is_direct"),
    [(_as_implicit, True), (_with_more, False), (_as_rle, False)],
    ids=["implicit", "padded", "run-length"],
)
def test_only_what_is_regular_is_taken_directly(
    tmp_path: Path, edit: Callable[[Dataset], None], is_direct: bool
) -> None:
    """Both little endian encodings are; padded, compressed and turned ones are left to pydicom."""
    ds = phantoms.make("brain-normal").datasets[0]
    ds.Rows, ds.Columns = 6, 9
    ds.PixelData = np.arange(54, dtype=np.uint16).tobytes()
    edit(ds)
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert _both_ways_agree(tmp_path / "a.dcm") is is_direct


def test_big_endian_is_left_to_pydicom(tmp_path: Path) -> None:
    """The bytes of a big endian file are not taken as they lie."""
    ds = phantoms.make("brain-normal").datasets[0]
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds["PixelData"].VR = "OW"
    ds.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert not _both_ways_agree(tmp_path / "a.dcm")


def test_another_header_is_noticed(tmp_path: Path) -> None:
    """Where the header is not the one that was inspected, its pixels are not taken, though they lie where they lay."""
    path = _instance(tmp_path / "a.dcm")
    facts = inspect(path)
    assert facts.pixels is not None
    content = path.read_bytes()
    rows = struct.pack("<HH2sHH", 0x0028, 0x0010, b"US", 2, 6)
    path.write_bytes(content.replace(rows, rows[:-2] + struct.pack("<H", 5)))
    assert read(path, facts.pixels) is None
    with pytest.raises(MalformedInstance, match="changed"):
        stored_frames(facts)
    path.write_bytes(content[:-1])
    assert read(path, facts.pixels) is None
    with pytest.raises(MalformedInstance) as caught:
        stored_frames(facts)
    assert caught.value.reason is Reason.TRUNCATED_INSTANCE


def test_real_files_are_read_alike() -> None:
    """Every real image that is taken directly has the pixels that pydicom decodes."""
    if not SHARED.is_dir():
        pytest.skip("the real data folder is not there")
    direct = 0
    for path in sorted(SHARED.rglob("*.dcm")):
        try:
            facts = inspect(path)
            stored_frames(facts)
        except SgmriError:
            continue
        if facts.pixels is not None:
            assert facts.transfer_syntax_uid in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
            direct += _both_ways_agree(path)
    assert direct > 40
