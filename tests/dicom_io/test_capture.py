from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_io.objects import pictures
from dicom_io.objects.capture import decode_capture, encode_capture, shows
from dicom_io.objects.marks import marks_by_frame
from dicom_io.objects.sr import encode_report
from sgmri.errors import MalformedInstance
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.readings import Reading
from sgmri.volume import Anatomy, Orientation
from tests.dicom_io.forms import ALLOWED, LESIONS, MakeCase, pixels_of, saved


@pytest.mark.parametrize("name", LESIONS)
def test_capture_is_valid_and_shows_the_boxes(
    name: str, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """The validator finds nothing; one picture a frame with boxes, in order, with exactly these boxes drawn."""
    reading, sources = make_case(name)
    ds = saved(encode_capture(reading, sources, pixels=pixels_of(reading, name, tmp_path)), tmp_path / "sc.dcm")
    assert [line for line in dciodvfy(tmp_path / "sc.dcm") if ALLOWED not in line] == []
    marks, shown = marks_by_frame(reading), decode_capture(ds)
    for (frame_index, drawn), picture in zip(marks.items(), shown, strict=True):
        ref = reading.frames[frame_index]
        assert (picture.sop_instance_uid, picture.frame_number) == (ref.sop_instance_uid, ref.frame_number)
        assert shows(picture, reading, frame_index, drawn)
        assert not shows(picture, reading, frame_index, drawn[1:])
    assert (ds.BurnedInAnnotation, ds.Modality, ds.SeriesNumber) == ("YES", "OT", 905)
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY"]
    assert "Not for diagnosis" in ds.DerivationDescription


def test_a_single_picture_is_valid(
    make_case: MakeCase, make_reading: Callable[..., Reading], dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """Boxes on one frame alone: the validator finds nothing, and the picture is read back."""
    reading, sources = make_case("brain")
    first = reading.tracklets[0]
    alone = make_reading(sources, reading.anatomy, (replace(first, findings=first.findings[:1]),))
    ds = saved(encode_capture(alone, sources, pixels=pixels_of(alone, "brain", tmp_path)), tmp_path / "sc.dcm")
    assert [line for line in dciodvfy(tmp_path / "sc.dcm") if ALLOWED not in line] == []
    assert len(decode_capture(ds)) == 1


def test_outline_lies_on_the_outermost_pixels_of_the_box(
    make_case: MakeCase, make_reading: Callable[..., Reading], tmp_path: Path
) -> None:
    """On pixels of 1.1 x 0.85 mm the picture has square pixels, and the outline is the box's in millimetres."""
    _, sources = make_case("brain-nonsquare")
    box = Box(x0=40, y0=100, x1=90, y1=150)
    tracklet = Tracklet(tracklet_id="lesion-1", findings=(Finding(label="Mass", frame_index=7, box=box),))
    reading = make_reading(sources, Anatomy.BRAIN, (tracklet,))
    ds = encode_capture(reading, sources, pixels=pixels_of(reading, "brain-nonsquare", tmp_path))
    assert ds is not None
    (picture,) = decode_capture(ds)
    strip = pictures.banner(ds.Columns, "sgmri AI boxes, frame 08 of 22, classical 1.2.0").height
    height, width = ds.Rows - strip, ds.Columns
    assert width / height == pytest.approx((reading.columns * 0.85) / (reading.rows * 1.1), abs=2 / height)
    colour = marks_by_frame(reading)[7][0].colour
    is_line = (picture.pixels == colour).all(axis=2)
    scale_x, scale_y = width / reading.columns, height / reading.rows
    columns = np.flatnonzero(is_line[round(125 * scale_y)])
    rows = np.flatnonzero(is_line[:, round(65 * scale_x)])
    assert (columns[0], columns[-1] + 1) == (round(40 * scale_x), round(90 * scale_x))
    assert (rows[-2], rows[-1] + 1) == (round(100 * scale_y), round(150 * scale_y))


def test_window_is_the_stated_one() -> None:
    """Percentile 0.5 is black, 99.8 white, whatever the values are; a flat image is black, NaN is refused."""
    ramp = np.linspace(-500, 3500, 40_000, dtype=np.float32).reshape(1, 200, 200)
    grey = pictures.windowed(ramp)
    assert (int(grey.min()), int(grey.max())) == (0, 255)
    assert np.mean(grey == 0) == pytest.approx(0.005 + 0.5 / 255, abs=1e-3)
    assert np.mean(grey == 255) == pytest.approx(0.002 + 0.5 / 255, abs=1e-3)
    assert (pictures.windowed(ramp * 7 + 90) == grey).mean() > 0.99
    assert not pictures.windowed(np.full((2, 3, 4), 5, np.float32)).any()
    with pytest.raises(MalformedInstance, match="finite"):
        pictures.windowed(np.array([[[np.nan]]], np.float32))


def test_small_frames_are_enlarged(make_case: MakeCase) -> None:
    """A matrix of 64 becomes a picture of at least 384 pixels, by a whole number; a large one keeps its size."""
    reading, _ = make_case("brain")
    for rows, expected in ((64, 384), (256, 512), (512, 512), (1024, 1024)):
        square = replace(reading, rows=rows, columns=rows, tracklets=(), answers=())
        scaling = pictures.scaling_of(
            square, Orientation(row_cosines=(1, 0, 0), column_cosines=(0, 1, 0), pixel_spacing_mm=(0.9, 0.9))
        )
        assert (scaling.scale_x, scaling.scale_y) == (expected / rows, expected / rows)


def test_without_boxes_there_is_none_and_nothing_is_decoded(make_case: MakeCase) -> None:
    """A picture without a box would read as a negative; and pixels are not asked for."""
    reading, sources = make_case("brain-normal")
    assert encode_capture(reading, sources, pixels=lambda _: pytest.fail("pixels were decoded")) is None


def test_second_time_gives_the_same_bytes(make_case: MakeCase, tmp_path: Path) -> None:
    """The same reading and pixels, the same object."""
    reading, sources = make_case("knee")
    pixels = pixels_of(reading, "knee", tmp_path)
    for name in ("1.dcm", "2.dcm"):
        saved(encode_capture(reading, sources, pixels=pixels), tmp_path / name)
    assert (tmp_path / "1.dcm").read_bytes() == (tmp_path / "2.dcm").read_bytes()


def test_lossy_sources_stay_lossy(make_case: MakeCase, tmp_path: Path) -> None:
    """An image that was compressed with loss once is so for ever (PS3.3 C.7.6.1.1.5)."""
    reading, sources = make_case("brain")
    ds = encode_capture(replace(reading, is_lossy=True), sources, pixels=pixels_of(reading, "brain", tmp_path))
    assert ds is not None
    assert ds.LossyImageCompression == "01"


def _painted(ds: Dataset) -> None:
    frames = ds.pixel_array.copy()
    frames[0, 3, 3] = (255, 0, 0)
    ds.PixelData = frames.tobytes()


def _wiped_banner(ds: Dataset) -> None:
    frames = ds.pixel_array.copy()
    frames[0, -20:] = 0
    ds.PixelData = frames.tobytes()


@pytest.mark.parametrize("change", [_painted, _wiped_banner], ids=lambda one: one.__name__.strip("_"))
def test_what_is_painted_over_is_noticed(
    change: Callable[[Dataset], None], make_case: MakeCase, tmp_path: Path
) -> None:
    """A coloured pixel that is no box, and a banner that is gone, are no longer the reading's picture."""
    reading, sources = make_case("brain")
    ds = encode_capture(reading, sources, pixels=pixels_of(reading, "brain", tmp_path))
    assert ds is not None
    change(ds)
    frame_index, marks = next(iter(marks_by_frame(reading).items()))
    assert not shows(decode_capture(ds)[0], reading, frame_index, marks)


def test_decoder_refuses_other_objects(make_case: MakeCase, tmp_path: Path) -> None:
    """A report is no capture, and one whose sources were cut is not read as if whole."""
    reading, sources = make_case("brain")
    with pytest.raises(MalformedInstance, match="SOP class"):
        decode_capture(encode_report(reading, sources, segmentation=None))
    ds = encode_capture(reading, sources, pixels=pixels_of(reading, "brain", tmp_path))
    assert ds is not None
    del ds.SourceImageSequence[0]
    with pytest.raises(MalformedInstance, match="lacks a part"):
        decode_capture(ds)
