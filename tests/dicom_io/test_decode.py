import struct
import zlib
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from conformance import phantoms
from dicom_io.decode import Limits, decode, stored_frames
from dicom_io.instances import inspect
from dicom_io.selection import choose
from dicom_io.series import describe, scan_folder
from dicom_io.stacking import arrange
from sgmri.errors import IncompleteSeries, MalformedInstance, SeriesError, SgmriError, UnsupportedSeries
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy, Volume
from tests.series_files import written

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def _decoded(datasets: list[Dataset], folder: Path, anatomy: Anatomy = Anatomy.BRAIN) -> Volume:
    return decode(describe(written(datasets, folder)), anatomy)


def _small(frames: int = 6) -> list[Dataset]:
    """Return classic instances along z, 5 x 7 pixels, each with its own numbers."""
    datasets = sorted(phantoms.make("brain-normal").datasets, key=lambda ds: float(ds.ImagePositionPatient[2]))[:frames]
    for number, ds in enumerate(datasets):
        ds.Rows, ds.Columns = 5, 7
        ds.PixelData = (np.arange(35, dtype=np.uint16) + 100 * number).tobytes() + b""
    return datasets


def _single(pixels: NDArray[np.integer]) -> Dataset:
    """Return one instance with the given pixels."""
    ds = _small()[0]
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelData = pixels.tobytes()
    return ds


def _expected(datasets: list[Dataset]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Stack classic instances along the normal; affine from first and last position (PS3.3 C.7.6.2.1-1)."""
    row, column = np.split(np.array([float(v) for v in datasets[0].ImageOrientationPatient]), 2)
    places = {float(np.cross(row, column) @ np.array(ds.ImagePositionPatient, dtype=float)): ds for ds in datasets}
    ordered = [places[depth] for depth in sorted(places)]
    first, last = (np.array(ds.ImagePositionPatient, dtype=float) for ds in (ordered[0], ordered[-1]))
    between_rows, between_columns = (float(v) for v in datasets[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.column_stack(
        [row * between_columns, column * between_rows, (last - first) / (len(ordered) - 1), first]
    )
    return np.stack([ds.pixel_array for ds in ordered]).astype(np.float32), affine


@pytest.mark.parametrize("name", ["brain", "brain-oblique", "brain-nonsquare", "knee", "knee-oblique"])
def test_classic_phantom_is_stacked_in_space(tmp_path: Path, name: str) -> None:
    """Interleaved instances come out along the normal, with the affine of an independent computation."""
    phantom = phantoms.make(name)
    volume = _decoded(list(phantom.datasets), tmp_path, phantom.anatomy)
    voxels, affine = _expected(list(phantom.datasets))
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    assert volume.slice_spacing_mm == pytest.approx(float(phantom.datasets[0].SpacingBetweenSlices), abs=1e-6)
    assert {frame.frame_number for frame in volume.frames} == {None}
    by_uid = {str(ds.SOPInstanceUID): ds for ds in phantom.datasets}
    for frame, slice_values in zip(volume.frames, volume.voxels, strict=True):
        source = by_uid[frame.sop_instance_uid]
        np.testing.assert_array_equal(slice_values, source.pixel_array)
        assert frame.position_mm == tuple(float(v) for v in source.ImagePositionPatient)


@pytest.mark.parametrize("name", ["brain-enhanced", "knee-enhanced"])
def test_enhanced_frames_against_the_normal_are_turned(tmp_path: Path, name: str) -> None:
    """Frames stored in reverse come out ascending and keep their own frame numbers."""
    phantom = phantoms.make(name)
    volume = _decoded(list(phantom.datasets), tmp_path, phantom.anatomy)
    (source,) = phantom.datasets
    assert [frame.frame_number for frame in volume.frames] == list(range(22, 0, -1))
    np.testing.assert_array_equal(volume.voxels, source.pixel_array[::-1])
    depths = [np.dot(volume.orientation.normal, frame.position_mm) for frame in volume.frames]
    assert depths == sorted(depths)


@pytest.mark.parametrize("name", ["brain-oblique", "knee"])
def test_classic_and_enhanced_encoding_give_one_volume(tmp_path: Path, name: str) -> None:
    """The same phantom, converted by highdicom to one multi-frame instance, gives equal voxels and places."""
    phantom = phantoms.make(name)
    for ds in phantom.datasets:
        ds.remove_private_tags()
    converted = LegacyConvertedEnhancedMRImage(
        list(phantom.datasets),
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )
    classic = _decoded(list(phantom.datasets), tmp_path / "classic", phantom.anatomy)
    enhanced = _decoded([converted], tmp_path / "enhanced", phantom.anatomy)
    np.testing.assert_array_equal(enhanced.voxels, classic.voxels)
    np.testing.assert_allclose(enhanced.affine, classic.affine, atol=1e-9)
    assert [frame.position_mm for frame in enhanced.frames] == [frame.position_mm for frame in classic.frames]
    assert sorted(frame.frame_number or 0 for frame in enhanced.frames) == list(range(1, 23))


def test_planted_lesions_are_where_they_were_planted(tmp_path: Path) -> None:
    """The brightest voxels of the brain lie inside the planted boxes of their own frame."""
    phantom = phantoms.make("brain-enhanced")
    volume = _decoded(list(phantom.datasets), tmp_path)
    lesion = max(
        (lesion for lesion in phantom.lesions if lesion.polarity == "bright"), key=lambda one: len(one.findings)
    )
    for finding in lesion.findings:
        x0, y0, x1, y1 = (int(edge) for edge in finding.box.as_tuple())
        frame = volume.voxels[finding.frame_index]
        assert frame[y0:y1, x0:x1].mean() > 1.5 * np.median(frame[frame > 100])


@pytest.mark.parametrize(
    ("folder", "frames"), [("classic_mr_brain/ge_signa_fse_pd_ax", 19), ("knee/ge_mr750_mese_sag_te19", 24)]
)
def test_real_series_are_stacked_in_space(shared_series: Callable[[str], list[Path]], folder: str, frames: int) -> None:
    """The real brain and knee come out in the order and affine of an independent computation."""
    paths = shared_series(folder)
    facts = describe(paths)
    choice = choose(facts)
    assert choice.anatomy is not None
    volume = decode(facts, choice.anatomy)
    voxels, affine = _expected([dcmread(path) for path in reversed(paths)])
    assert volume.voxels.shape == (frames, 256, 256)
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)


def test_rescale_is_applied_by_instance(tmp_path: Path) -> None:
    """Each instance's own slope and intercept make the modality values (PS3.3 C.11.1)."""
    datasets = _small()
    for number, ds in enumerate(datasets):
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = str(number + 0.5), "-3", "US"
    volume = _decoded(datasets, tmp_path)
    for number, frame in enumerate(volume.voxels):
        np.testing.assert_allclose(frame.ravel(), (np.arange(35) + 100 * number) * (number + 0.5) - 3)


def test_rescale_is_applied_by_frame(tmp_path: Path) -> None:
    """Each Enhanced frame's own transformation is used, for the frame that it belongs to."""
    (ds,) = phantoms.make("brain-enhanced").datasets
    stored = ds.pixel_array
    for number, item in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
        own = Dataset()
        own.RescaleSlope, own.RescaleIntercept, own.RescaleType = str(number), "10", "US"
        item.PixelValueTransformationSequence = [own]
    volume = _decoded([ds], tmp_path)
    for frame, values in zip(volume.frames, volume.voxels, strict=True):
        assert frame.frame_number is not None
        np.testing.assert_array_equal(values, stored[frame.frame_number - 1].astype(float) * frame.frame_number + 10)


@pytest.mark.parametrize(("slope", "intercept"), [("0", "0"), ("1e999", "0"), ("1", ""), ("1e300", "0"), ("x", "0")])
def test_unusable_rescale_is_malformed(tmp_path: Path, slope: str, intercept: str) -> None:
    """A rescale that makes no finite values fails the series instead of filling it with nonsense."""
    datasets = _small()
    datasets[2].RescaleSlope, datasets[2].RescaleIntercept = "77777777", "66666666"
    paths = written(datasets, tmp_path)
    content = paths[2].read_bytes()
    content = content.replace(b"77777777", slope.encode().ljust(8)).replace(b"66666666", intercept.encode().ljust(8))
    paths[2].write_bytes(content)
    with pytest.raises(MalformedInstance):
        decode(describe(paths), Anatomy.BRAIN)


def test_values_are_finite_and_order_does_not_matter(tmp_path: Path) -> None:
    """The order of the files changes nothing, and no voxel is left without a value."""
    paths = written(_small(), tmp_path)
    volumes = [decode(describe(order), Anatomy.BRAIN) for order in (paths, paths[::-1], paths[3:] + paths[:3])]
    for volume in volumes:
        assert np.isfinite(volume.voxels).all()
        np.testing.assert_array_equal(volume.voxels, volumes[0].voxels)
        assert volume.frames == volumes[0].frames


def test_missing_frame_of_reference_is_empty(tmp_path: Path) -> None:
    """Without a usable Frame of Reference UID the volume says so with an empty text."""
    datasets = _small()
    assert _decoded(datasets, tmp_path).frame_of_reference_uid == datasets[0].FrameOfReferenceUID
    for ds in datasets[::2]:
        del ds.FrameOfReferenceUID
    for ds in datasets[1::2]:
        ds.FrameOfReferenceUID = ""
    assert _decoded(datasets, tmp_path).frame_of_reference_uid == ""


def test_few_missing_slices_are_logged_as_a_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two slices missing of 22 are read; the log says how many, and nothing else."""
    datasets = _small(22)
    del datasets[4], datasets[11]
    paths = written(datasets, tmp_path)
    facts = describe(paths)
    assert arrange(facts).missing == 2
    volume = decode(facts, Anatomy.BRAIN)
    assert volume.voxels.shape[0] == 20
    assert volume.slice_spacing_mm == pytest.approx(5.0)
    (record,) = caplog.records
    assert record.getMessage() == "2 slices seem to be missing between 20"


def test_many_missing_slices_are_incomplete(tmp_path: Path) -> None:
    """More than a fifth of the slices missing is no volume."""
    datasets = _small(22)
    del datasets[3:9]
    with pytest.raises(IncompleteSeries, match="6 missing beside 16"):
        _decoded(datasets, tmp_path)


@pytest.mark.parametrize("shift_mm", [1.0, 4.0])
def test_stack_between_slices_is_mixed(tmp_path: Path, shift_mm: float) -> None:
    """A second stack pushed between the slices of the first is not one volume."""
    datasets = _small(12)
    for ds in datasets[6:]:
        x, y, z = (float(v) for v in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, z - 30 + shift_mm]
    with pytest.raises(UnsupportedSeries) as caught:
        _decoded(datasets, tmp_path)
    assert caught.value.reason is Reason.MIXED_GEOMETRY


# --- stored values -------------------------------------------------------------------------------------------------


def _stored(path: Path) -> NDArray[np.integer]:
    return stored_frames(inspect(path))


def test_one_image_in_nine_encodings_is_equal() -> None:
    """Native, big endian, RLE, JPEG lossless, JPEG-LS and JPEG 2000 of one image decode to the same values."""
    folder = SHARED / "nasty" / "transfer_syntaxes_same_image"
    if not folder.is_dir():
        pytest.skip("the real data folder is not there")
    facts = [inspect(path) for path in sorted(folder.iterdir())]
    assert len({one.transfer_syntax_uid for one in facts}) == 7
    first, *others = (stored_frames(one) for one in facts)
    assert first.max() == 2362
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_multi_frame_encodings_are_equal() -> None:
    """Ten frames in five encodings decode to the same values."""
    folder = SHARED / "enhanced_mr"
    if not folder.is_dir():
        pytest.skip("the real data folder is not there")
    paths = [path for path in sorted(folder.glob("pydicom_emri_small*.dcm")) if "too_short" not in path.name]
    first, *others = (_stored(path) for path in paths)
    assert first.shape == (10, 64, 64)
    assert len(others) == 4
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("signed", [False, True])
def test_uncompressed_encodings_are_read(tmp_path: Path, syntax: UID, signed: bool) -> None:
    """Native pixels come back as written, deflated or not, signed or not."""
    pixels = np.random.default_rng(1).integers(-2048 if signed else 0, 2047 if signed else 4096, (6, 9))
    ds = _single(pixels.astype(np.int16 if signed else np.uint16))
    ds.PixelRepresentation = int(signed)
    ds.file_meta.TransferSyntaxUID = syntax
    (path,) = written([ds], tmp_path)
    np.testing.assert_array_equal(_stored(path)[0], pixels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("signed", [False, True])
def test_compressed_encodings_are_read(tmp_path: Path, syntax: UID, signed: bool) -> None:
    """Lossless compression changes no value, signed or not."""
    pixels = np.random.default_rng(2).integers(-2048 if signed else 0, 2047 if signed else 4096, (64, 48))
    ds = _single(pixels.astype(np.int16 if signed else np.uint16))
    ds.PixelRepresentation = int(signed)
    ds.compress(syntax, generate_instance_uid=False)
    (path,) = written([ds], tmp_path)
    assert inspect(path).transfer_syntax_uid == syntax
    np.testing.assert_array_equal(_stored(path)[0], pixels)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("signed", [False, True])
def test_unused_bits_are_dropped(tmp_path: Path, syntax: UID, signed: bool) -> None:
    """Rubbish above Bits Stored does not reach the values (PS3.5 8.1.1)."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(-2048 if signed else 0, 2047 if signed else 4096, (6, 8))
    rubbish = (pixels & 0x0FFF) | (rng.integers(0, 16, pixels.shape) << 12)
    ds = _single(rubbish.astype(np.uint16))
    ds.PixelRepresentation = int(signed)
    if syntax == RLELossless:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 0  # else the encoder refuses the rubbish
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, int(signed)
    (path,) = written([ds], tmp_path)
    np.testing.assert_array_equal(_stored(path)[0], pixels)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("12bitUnsigned", 0, 2908), ("12bitUnsigned_0x0F0F", 0, 4095), ("12bitSigned_0x0F0F", -2048, 2047)],
)
def test_real_files_with_rubbish_in_unused_bits(name: str, low: int, high: int) -> None:
    """12 bits in 16 stay within 12 bits."""
    path = SHARED / "nasty" / "12bit_in_16" / f"{name}.dcm"
    if not path.is_file():
        pytest.skip("the real data folder is not there")
    stored = _stored(path)
    assert (stored.min(), stored.max()) == (low, high)


def _reason(path: Path, limits: Limits | None = None) -> Reason:
    with pytest.raises(SeriesError) as caught:
        stored_frames(inspect(path), limits)
    assert "CANARY" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("part", [0.5, 0.99])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_cut_file_is_truncated(tmp_path: Path, syntax: UID, part: float) -> None:
    """A file that ends within its pixels is truncated, whatever its encoding."""
    ds = _single(np.random.default_rng(4).integers(0, 4096, (64, 64)).astype(np.uint16))
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    (path,) = written([ds], tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert _reason(path) is Reason.TRUNCATED_INSTANCE


def test_long_pixel_data_cut_on_disk_is_truncated(tmp_path: Path) -> None:
    """Pixels of more than a megabyte, which stay on disk until asked for, are measured too."""
    ds = _single(np.zeros((1024, 1024), np.uint16))
    (path,) = written([ds], tmp_path)
    assert _stored(path).shape == (1, 1024, 1024)
    path.write_bytes(path.read_bytes()[:-10])
    assert _reason(path) is Reason.TRUNCATED_INSTANCE


def test_short_or_missing_pixel_data_is_truncated(tmp_path: Path) -> None:
    """Fewer bytes than the matrix needs, or none, are truncated."""
    short, none, coded = (_single(np.zeros((6, 6), np.uint16)) for _ in range(3))
    short.Rows = 7
    del none.PixelData, coded.PixelData
    coded.file_meta.TransferSyntaxUID = RLELossless
    assert [_reason(path) for path in written([short, none, coded], tmp_path)] == [Reason.TRUNCATED_INSTANCE] * 3


@pytest.mark.parametrize("length", [1000, 2_000_000])
def test_pixel_data_far_beyond_the_matrix_is_refused(tmp_path: Path, length: int) -> None:
    """More bytes than any volume within the limits can have are not read."""
    ds = _single(np.zeros((6, 6), np.uint16))
    ds.PixelData = bytes(length)
    (path,) = written([ds], tmp_path)
    assert _reason(path, Limits(max_voxels=36)) is Reason.TOO_LARGE


def test_missing_compressed_frames_are_truncated(tmp_path: Path) -> None:
    """Encapsulated pixels with fewer frames than announced are truncated (fault 34)."""
    (ds,) = phantoms.make("brain-enhanced").datasets
    ds.Rows = ds.Columns = 16
    ds.PixelData = np.zeros((22, 16, 16), np.uint16).tobytes()
    ds.compress(RLELossless, generate_instance_uid=False)
    (path,) = written([ds], tmp_path / "whole")
    assert _stored(path).shape == (22, 16, 16)
    frame = struct.pack("<16L", 2, 64, 68, *([0] * 13)) + b"\x81\x00\x81\x00" * 2
    ds.PixelData = encapsulate([frame] * 21)
    (path,) = written([ds], tmp_path / "cut")
    assert _reason(path) is Reason.TRUNCATED_INSTANCE


@pytest.mark.parametrize(
    "name", ["nasty/pydicom/MR_truncated.dcm", "enhanced_mr/pydicom_emri_small_jpeg_2k_lossless_too_short.dcm"]
)
def test_real_truncated_files(name: str) -> None:
    """The real files with too little pixel data are truncated."""
    if not (SHARED / name).is_file():
        pytest.skip("the real data folder is not there")
    assert _reason(SHARED / name) is Reason.TRUNCATED_INSTANCE


def test_compressed_frame_of_another_size_is_refused_before_decoding(tmp_path: Path) -> None:
    """A JPEG 2000 or JPEG-LS stream that announces a giant image is not handed to a decoder (fault 31)."""
    pixels = np.zeros((64, 48), np.uint16)
    for syntax, size, giant in (
        (JPEG2000Lossless, struct.pack(">2I", 48, 64), struct.pack(">2I", 60000, 60000)),
        (JPEGLSLossless, struct.pack(">2H", 64, 48), struct.pack(">2H", 60000, 60000)),
    ):
        ds = _single(pixels)
        ds.compress(syntax, generate_instance_uid=False)
        (path,) = written([ds], tmp_path)
        np.testing.assert_array_equal(_stored(path)[0], pixels)
        content = path.read_bytes()
        place = content.index(
            size, content.index(b"\xff\x4f\xff\x51" if syntax == JPEG2000Lossless else b"\xff\xd8\xff")
        )
        path.write_bytes(content[:place] + giant + content[place + len(giant) :])
        with pytest.raises(MalformedInstance, match="announced rows and columns"):
            _stored(path)


@pytest.mark.parametrize("runs", [4, 5, 40_000])
def test_run_lengths_beyond_the_frame_stay_inside_our_errors(tmp_path: Path, runs: int) -> None:
    """Run-length segments that decode to too much neither crash the process nor fill its memory."""
    segment = b"\x81\x07" * runs  # 128 bytes each; the frame needs 256 a segment
    header = struct.pack("<16L", 2, 64, 64 + len(segment), *([0] * 13))
    ds = _single(np.zeros((16, 16), np.uint16))
    ds.PixelData = encapsulate([header + segment * 2])
    ds.file_meta.TransferSyntaxUID = RLELossless
    (path,) = written([ds], tmp_path)
    try:
        assert (_stored(path) == 0x0707).all()
    except MalformedInstance:
        assert runs > 5


def test_deflated_pixels_that_explode_are_refused(tmp_path: Path) -> None:
    """A deflated file is inflated up to the limit only (fault 31)."""
    ds = _single(np.zeros((1000, 1000), np.uint16))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    (path,) = written([ds], tmp_path)
    assert path.stat().st_size < 10_000
    # two bytes a voxel are well within four bytes a voxel, so that only padding can go beyond
    assert _stored(path).shape == (1, 1000, 1000)
    buffer = BytesIO()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(buffer, enforce_file_format=True)
    raw = buffer.getvalue()
    start = 144 + struct.unpack_from("<L", raw, 140)[0]
    padding = struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 1 << 23) + bytes(1 << 23)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    head = path.read_bytes()[: 144 + struct.unpack_from("<L", path.read_bytes(), 140)[0]]
    path.write_bytes(head + deflate.compress(raw[start:] + padding) + deflate.flush())
    assert _stored(path).shape == (1, 1000, 1000)
    assert _reason(path, Limits(max_voxels=1_000_000)) is Reason.TOO_LARGE


def test_limits_come_before_pixels(tmp_path: Path) -> None:
    """A frame above the limits is refused although its pixels are not even there."""
    ds = _single(np.zeros((4, 4), np.uint16))
    ds.Rows = ds.Columns = 65535
    del ds.PixelData
    (path,) = written([ds], tmp_path)
    assert _reason(path) is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0}, Reason.COLOUR),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, Reason.MALFORMED_INSTANCE),
        ({"BitsStored": 17}, Reason.MALFORMED_INSTANCE),
        ({"BitsStored": 0}, Reason.MALFORMED_INSTANCE),
        ({"HighBit": 15}, Reason.MALFORMED_INSTANCE),
        ({"PixelRepresentation": 5}, Reason.MALFORMED_INSTANCE),
    ],
)
def test_impossible_pixel_descriptions_are_refused(tmp_path: Path, attributes: dict[str, int], reason: Reason) -> None:
    """A pixel description that MR cannot have is refused, not guessed at (PS3.3 C.7.6.3)."""
    ds = _single(np.zeros((4, 4), np.uint16))
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    (path,) = written([ds], tmp_path)
    assert _reason(path) is reason


def test_file_changed_after_inspection_is_refused(tmp_path: Path) -> None:
    """A file whose matrix is another one than was inspected is not decoded."""
    first, second = _single(np.zeros((4, 4), np.uint16)), _single(np.zeros((2, 8), np.uint16))
    (path,) = written([first], tmp_path)
    facts = inspect(path)
    written([second], tmp_path)
    with pytest.raises(MalformedInstance, match="changed"):
        stored_frames(facts)


def test_file_gone_after_inspection_is_incomplete(tmp_path: Path) -> None:
    """A file that is gone makes the series incomplete."""
    paths = written(_small(), tmp_path)
    facts = describe(paths)
    paths[3].unlink()
    with pytest.raises(IncompleteSeries):
        decode(facts, Anatomy.BRAIN)


def test_all_real_data_decodes_or_is_refused() -> None:
    """Every MR image at hand decodes or fails with one of our errors, and every series taken becomes a volume."""
    if not SHARED.is_dir():
        pytest.skip("the real data folder is not there")
    reasons: Counter[Reason] = Counter()
    for path in sorted(SHARED.rglob("*.dcm")):
        try:
            facts = inspect(path)
        except SgmriError:
            continue
        if facts.is_mr:
            try:
                stored = stored_frames(facts)
            except SeriesError as error:
                reasons[error.reason] += 1
            else:
                reasons[Reason.NONE] += 1
                assert stored.shape == (facts.number_of_frames, facts.rows, facts.columns)
    assert reasons.pop(Reason.NONE) > 90
    assert reasons == {Reason.COLOUR: 1, Reason.TRUNCATED_INSTANCE: 2}
    taken = [choose(series) for series in scan_folder(SHARED).series]
    volumes = [decode(one.sub_volume.facts, one.anatomy) for one in taken if one.anatomy and one.sub_volume]
    assert len(volumes) == 4, "three brains, one of them noise, and the one whole echo of the knee"
    assert all(np.isfinite(volume.voxels).all() for volume in volumes)


_SMALL_FILES = ("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm")
_DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(_SMALL_FILES), damage=_DAMAGE, kept=st.one_of(st.just(1.0), st.floats(0.5, 1)))
def test_damaged_files_raise_only_our_errors(
    tmp_path: Path, name: str, damage: list[tuple[float, int]], kept: float
) -> None:
    """Whatever bytes are flipped or cut off, pixels are decoded or refused."""
    source = get_testdata_file(name, download=False)
    assert isinstance(source, str)
    content = bytearray(Path(source).read_bytes())
    for place, value in damage:
        content[128 + int(place * (len(content) - 128))] = value
    path = tmp_path / "damaged.dcm"
    path.write_bytes(content[: int(kept * len(content))])
    try:
        facts = inspect(path)
        stored = stored_frames(facts)
    except SgmriError as error:
        assert str(error)
    else:
        assert stored.shape == (facts.number_of_frames, facts.rows, facts.columns)
