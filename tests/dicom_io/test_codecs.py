"""Every transfer syntax of the services table decodes to the pixels that went in, or fails with a reason."""

import base64
import io
import shutil
import stat
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from conformance import phantoms
from dicom_io import codecs
from dicom_io.decode import decode, stored_frames
from dicom_io.instances import inspect
from dicom_io.selection import choose
from dicom_io.series import describe
from dicom_io.services import IMAGE_TRANSFER_SYNTAXES
from sgmri.errors import MalformedInstance, UnsupportedSeries
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy, Volume
from tests.series_files import written
from worker.rendering import render

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

_ROWS, _COLUMNS = np.mgrid[:16, :12]
_IMAGE = (_COLUMNS * 300 + _ROWS * 40).astype(np.uint16)
"""16 x 12 pixels of 12 bits, which the streams below hold."""
_HTJ2K_STREAM = (
    "/0//UQApQAAAAAAMAAAAEAAAAAAAAAAAAAAADAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQ"
    "kJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAIAAAf+TwAAm2/QFB3QAAMAAE0AAEwAQ9AOHdADa/gIHdADAABNAABOAp6cB"
    "C3QAbNn+AGNUAMAAFXAABUhEJYooov6X4ot1ALIy2cAQgIy2AMAALRgABXBWrFixYsWKFSveCnp6cgJ4AE7HcRzn/AAI9hCB7LkA/9k="
)
_STREAMS = {
    JPEGLosslessSV1: (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAQAAwBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAACQYQ/9oACAEBAAEAAMliWJYliWJY"
        "liWJYliWVCWJYliWJYliWJYliWJZUJYliWJYliWJYliWJYllQliWJYliWJYliWJYliWVCWJYliWJYliWJYliWJZUJYliWJYliWJY"
        "liWJYllQliWJYliWJYliWJYliWVCWJYliWJYliWJYliWJZUJYliWJYliWJYliWJYllQliWJYliWJYliWJYliWVCWJYliWJYliWJY"
        "liWJZUJYliWJYliWJYliWJYllQliWJYliWJYliWJYliWVCWJYliWJYliWJYliWJZUJYliWJYliWJYliWJYllQliWJYliWJYliWJY"
        "liWf///Z"
    ),
    JPEGLossless: (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAQAAwBAREA/8QAFwABAQEBAAAAAAAAAAAAAAAAAAYJEP/aAAgBAQAEAADtLNLNLNLN"
        "LNLNLNLNLNLNLKgAFQACoABUAAqAAVAAKgAFQACoABUAAqAAVAAKgAFQACoAB///2Q=="
    ),
    JPEGExtended12Bit: (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
        "AQEBAQEBAQEBAQEBAQH/wQALDAAQAAwBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAADg3/xAAiEAAAAwcFAAAAAAAAAAAAAAAACicI"
        "CQwNK0VjOlZYZ3b/2gAIAQEAAD8Ail8qpCk2nDTPipaPKYQ/SIdxKTUsVxEme6rR1Az7hAq3lVIUm04aZ8VLR5TCH6RDuJSaliuI"
        "kz3VaOoGfcI//9k="
    ),
    HTJ2KLossless: _HTJ2K_STREAM,
    HTJ2KLosslessRPCL: _HTJ2K_STREAM,
    HTJ2K: _HTJ2K_STREAM,
}
"""Made with DCMTK and OpenJPH, for which pydicom has no encoders."""
_TOLERANCES = {JPEGExtended12Bit: 2, JPEGBaseline8Bit: 2, JPEGLSNearLossless: 3, JPEG2000: 40}
"""Grey levels; all others are exact."""


def _write(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def _coded(syntax: UID, path: Path) -> tuple[Path, NDArray[np.integer]]:
    """Write the image in a transfer syntax; return the file and the pixels that it should hold."""
    ds = phantoms.make("brain-normal").datasets[0]
    image: NDArray[np.integer] = _IMAGE
    ds.Rows, ds.Columns = image.shape
    ds.BitsStored, ds.HighBit = 12, 11
    ds.PixelData = image.tobytes()
    del ds.LossyImageCompression
    if syntax in _STREAMS:
        ds.PixelData = encapsulate([base64.b64decode(_STREAMS[syntax])])
        ds.file_meta.TransferSyntaxUID = syntax
    elif syntax == JPEGBaseline8Bit:
        image = (_IMAGE // 16).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=100)
        ds.PixelData = encapsulate([stream.getvalue()])
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.file_meta.TransferSyntaxUID = syntax
    elif syntax == ExplicitVRBigEndian:
        ds.PixelData = image.astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        ds["PixelData"].VR = "OW"
        ds.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
        return path, image
    elif syntax.is_encapsulated:
        image = np.tile(_IMAGE, (3, 4))  # JPEG 2000 halves it five times
        ds.Rows, ds.Columns = image.shape
        ds.PixelData = image.tobytes()
        loss: dict[UID, dict[str, Any]] = {JPEGLSNearLossless: {"jls_error": 3}, JPEG2000: {"j2k_cr": [4]}}
        options = loss.get(syntax, {})
        ds.compress(syntax, generate_instance_uid=False, **options)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
    return _write(ds, path), image


@pytest.mark.parametrize("syntax", IMAGE_TRANSFER_SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_every_syntax_that_is_accepted_is_decoded(tmp_path: Path, syntax: UID) -> None:
    """One image comes back from each transfer syntax that the listener accepts, the lossy ones within their loss."""
    path, image = _coded(syntax, tmp_path / "image.dcm")
    facts = inspect(path)
    assert facts.transfer_syntax_uid == syntax
    difference = np.abs(stored_frames(facts)[0].astype(int) - image)
    assert difference.max() <= _TOLERANCES.get(syntax, 0)


@pytest.mark.parametrize("syntax", IMAGE_TRANSFER_SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_lossy_syntaxes_are_noted(tmp_path: Path, syntax: UID) -> None:
    """A lossy transfer syntax is noted; one that can be either counts as lossy unless the header says 00."""
    path, _ = _coded(syntax, tmp_path / "image.dcm")
    either = {JPEG2000, HTJ2K, JPEGLSNearLossless}
    assert inspect(path).is_lossy == (syntax in {JPEGBaseline8Bit, JPEGExtended12Bit} | either)
    ds = dcmread(path)
    for said, expected in (("00", syntax in (JPEGBaseline8Bit, JPEGExtended12Bit)), ("01", True)):
        ds.LossyImageCompression = said
        ds.save_as(path)
        assert inspect(path).is_lossy == expected


def test_a_lossy_copy_of_a_real_image_is_its_image_and_noted() -> None:
    """JPEG lossless of a real slice is equal; its 8-bit JPEG copy is a straight line of it within a few levels."""
    folder = SHARED / "classic_mr_brain" / "siemens_t1_sag_divest"
    if not folder.is_dir():
        pytest.skip("the real data folder is not there")
    for number in ("01", "02"):
        facts = [inspect(next(folder.glob(f"{number}{suffix}.dcm"))) for suffix in ("", "jl", "j")]
        plain, lossless, lossy = (stored_frames(one)[0].astype(float) for one in facts)
        assert [one.is_lossy for one in facts] == [False, False, True]
        np.testing.assert_array_equal(lossless, plain)
        clear = (lossy > 2) & (lossy < 253)
        slope, intercept = np.polyfit(plain[clear], lossy[clear], 1)
        assert np.abs(plain[clear] * slope + intercept - lossy[clear]).mean() < 2


@pytest.mark.parametrize(
    "syntax", [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless]
)
def test_a_frame_that_ends_too_early_is_truncated(tmp_path: Path, syntax: UID) -> None:
    """A coded frame without its end is refused: JPEG decoders fill it up silently, and CharLS may never come back."""
    path, _ = _coded(syntax, tmp_path / "image.dcm")
    ds = dcmread(path)
    (stream,) = generate_frames(ds.PixelData, number_of_frames=1)
    for kept in (0.6, 0.8, 0.95):
        ds.PixelData = encapsulate([stream[: int(kept * len(stream))]])
        ds.save_as(path)
        with pytest.raises(MalformedInstance) as error:
            stored_frames(inspect(path))
        assert error.value.reason is Reason.TRUNCATED_INSTANCE or syntax == JPEG2000Lossless


# --- the fast decoders beside the reference ------------------------------------------------------------------------

_FAST = [syntax for syntax in IMAGE_TRANSFER_SYNTAXES if codecs.pays_in_threads(syntax) or syntax == RLELossless]


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("syntax", _FAST, ids=lambda syntax: syntax.keyword)
def test_fast_decoders_give_the_reference_pixels(tmp_path: Path, syntax: UID, is_signed: bool) -> None:
    """What imagecodecs decodes is, to the bit, what pydicom's decoder gives, with and without signs."""
    path, _ = _coded(syntax, tmp_path / "image.dcm")
    ds = dcmread(path)
    ds.PixelRepresentation = int(is_signed)
    (frame,) = codecs.coded_frames(ds, inspect(path))
    fast = codecs._by_imagecodecs(frame)
    assert fast is not None
    reference, _ = get_decoder(syntax).as_array(ds, raw=True, decoding_plugin=codecs._PLUGINS.get(syntax, "pylibjpeg"))
    assert fast.dtype == reference.dtype
    np.testing.assert_array_equal(fast, reference)


@pytest.mark.parametrize("syntax", _FAST, ids=lambda syntax: syntax.keyword)
def test_what_the_fast_decoders_refuse_is_told_by_the_reference(tmp_path: Path, syntax: UID) -> None:
    """A stream that cannot be decoded is our error with its transfer syntax, and never a crash."""
    path, _ = _coded(syntax, tmp_path / "image.dcm")
    ds = dcmread(path)
    (stream,) = generate_frames(ds.PixelData, number_of_frames=1)
    middle = len(stream) // 3
    ds.PixelData = encapsulate([stream[:middle] + stream[middle + 40 :]])
    ds.save_as(path)
    try:
        stored_frames(inspect(path))
    except MalformedInstance as error:
        assert str(error).startswith("expected")
    else:
        assert syntax in (JPEGLossless, JPEGLosslessSV1, RLELossless), "these have no redundancy"


@pytest.mark.parametrize("name", ["brain", "brain-enhanced"])
@pytest.mark.parametrize("cores", [1, 3])
def test_a_compressed_series_is_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cores: int
) -> None:
    """One after another and side by side, single frames and multi-frame, the volume is that of the plain series."""
    monkeypatch.setattr("dicom_io.decode.permitted_cores", lambda: cores)
    volumes = []
    for syntax in (None, JPEG2000Lossless):
        datasets = phantoms.make(name).datasets
        for ds in datasets:
            if syntax is not None:
                ds.compress(syntax, generate_instance_uid=False)
        volumes.append(decode(describe(written(datasets, tmp_path / str(syntax))), Anatomy.BRAIN))
    np.testing.assert_array_equal(volumes[1].voxels, volumes[0].voxels)
    assert volumes[1].frames == volumes[0].frames


@pytest.mark.parametrize("cores", [1, 3])
def test_the_first_bad_instance_is_the_error_and_no_thread_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """A series with bad instances fails as it does on one core, warnings are as before, and no thread goes on."""
    monkeypatch.setattr("dicom_io.decode.permitted_cores", lambda: cores)
    datasets = phantoms.make("brain").datasets
    for number, ds in enumerate(datasets):
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        if number in (5, 6):
            (stream,) = generate_frames(ds.PixelData, number_of_frames=1)
            ds.PixelData = encapsulate([stream[: len(stream) // 2]])
    facts = describe(written(datasets, tmp_path))
    before = list(warnings.filters)
    with pytest.raises(MalformedInstance, match="gave up with RuntimeError"):
        decode(facts, Anatomy.BRAIN)
    assert list(warnings.filters) == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sgmri-decode")]


# --- the last resort -----------------------------------------------------------------------------------------------


def _old_jpeg() -> tuple[Path, Path]:
    """Return a 12-bit image with scan parameters that the standard forbids, and its mended twin."""
    names = "JPEG-lossy.dcm", "JPGExtended.dcm"
    old, mended = (get_testdata_file(name, download=False) for name in names)
    assert isinstance(old, str) and isinstance(mended, str)
    return Path(old), Path(mended)


def test_dcmtk_reads_what_no_plugin_reads() -> None:
    """A stream with forbidden scan parameters gives the pixels of its mended twin, within a grey level."""
    if shutil.which("dcmdjpeg") is None:
        pytest.skip("DCMTK is not installed")
    old, mended = (stored_frames(inspect(path)).astype(int) for path in _old_jpeg())
    assert old.max() == 264
    assert np.abs(old - mended).max() <= 1


def test_without_dcmtk_the_failure_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tool is missing, only that instance fails, and the message names the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    old, mended = _old_jpeg()
    with pytest.raises(MalformedInstance, match="Debian package dcmtk"):
        stored_frames(inspect(old))
    assert stored_frames(inspect(mended)).max() == 264


@pytest.mark.parametrize(
    "script",
    ["exit 1", "exec sleep 60", "exit 0", 'head -c 2000000 /dev/zero > "$3"', 'echo nonsense > "$3"', "kill -9 $$"],
)
def test_whatever_the_tool_does_is_our_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A tool that fails, hangs, dies, writes nothing, too much or nonsense costs the instance and no more."""
    tool = tmp_path / "dcmdjpeg"
    tool.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="ascii")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(codecs, "_LAST_RESORT_TIMEOUT_S", 1.0)
    with pytest.raises(MalformedInstance, match="neither pylibjpeg nor DCMTK"):
        stored_frames(inspect(_old_jpeg()[0]))
    assert list(tmp_path.iterdir()) == [tool]


# --- grey scale and loss, from the files to the volume -------------------------------------------------------------


def _phantom(folder: Path, *, turned: bool = False, mixed: bool = False, lossy: bool = False) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, ds in enumerate(phantoms.make("brain").datasets):
        if turned:
            ds.PixelData = ((1 << ds.BitsStored) - 1 - ds.pixel_array).astype(np.uint16).tobytes()
        if turned or (mixed and number == 3):
            ds.PhotometricInterpretation = "MONOCHROME1"
        if lossy and number == 3:
            ds.LossyImageCompression = "01"
        paths.append(_write(ds, folder / f"{number:03d}.dcm"))
    return paths


def _volume(paths: list[Path]) -> Volume:
    facts = describe(paths)
    assert choose(facts).anatomy is Anatomy.BRAIN
    return decode(facts, Anatomy.BRAIN)


def test_an_inverted_grey_scale_is_rendered_as_it_is_displayed(tmp_path: Path) -> None:
    """MONOCHROME1: white for the lowest value (PS3.3 C.7.6.3.1.2), so that the engine sees the same frames."""
    plain, turned = _volume(_phantom(tmp_path / "1")), _volume(_phantom(tmp_path / "2", turned=True))
    assert plain.frames == turned.frames
    np.testing.assert_array_equal(np.diff(turned.voxels.ravel()), np.diff(plain.voxels.ravel()))
    np.testing.assert_array_equal(render(turned).pixels, render(plain).pixels)


def test_two_grey_scales_are_no_volume(tmp_path: Path) -> None:
    """A series in which one image alone is inverted is not read."""
    facts = describe(_phantom(tmp_path / "mixed", mixed=True))
    assert choose(facts).reason is Reason.MIXED_GEOMETRY
    with pytest.raises(UnsupportedSeries, match="grey scale"):
        decode(facts, Anatomy.BRAIN)


def test_one_lossy_image_makes_the_volume_lossy(tmp_path: Path) -> None:
    """Lossy Image Compression of any image is kept on the volume."""
    assert not _volume(_phantom(tmp_path / "plain")).is_lossy
    assert _volume(_phantom(tmp_path / "lossy", lossy=True)).is_lossy
