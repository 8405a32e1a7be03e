"""A box drawn in model space is found again as the same voxels in SR and SEG."""

from datetime import UTC, datetime
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from conformance.phantoms import make, write
from dicom_io.decode import decode
from dicom_io.results import write_results
from dicom_io.selection import choose
from dicom_io.series import describe
from sgmri.findings import Laterality
from sgmri.geometry import Box
from sgmri.vocabulary import GENERIC_LABEL
from sgmri.volume import Volume
from tests.worker.one_box_engine import OneBoxEngine
from worker.pipeline import read_paths
from worker.rendering import render


def volume_of(paths: tuple[Path, ...]) -> Volume:
    facts = describe(paths)
    anatomy = choose(facts).anatomy
    assert anatomy is not None
    return decode(facts, anatomy)


@pytest.mark.parametrize(
    "name", ["brain", "brain-oblique", "brain-nonsquare", "brain-enhanced", "knee-nonsquare", "knee-enhanced"]
)
def test_a_box_in_model_space_is_the_same_voxels_in_sr_and_seg(name: str, tmp_path: Path) -> None:
    """Classic and Enhanced, oblique and non-square: frame, pixels and patient positions all agree."""
    paths = write(make(name), tmp_path / "in")
    volume = volume_of(paths)
    drawn = {5: Box(x0=40, y0=61, x1=73, y1=90), 6: Box(x0=42, y0=60, x1=70, y1=88)}
    scaling = render(volume).scaling
    label = GENERIC_LABEL[volume.anatomy]
    engine = OneBoxEngine(boxes={index: scaling.to_model(box) for index, box in drawn.items()}, label=label)
    reading = read_paths(paths, engine, started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)).reading
    assert {finding.frame_index: finding.box for finding in reading.findings} == drawn
    (tmp_path / "out").mkdir()
    seg_object, sr_object = write_results(reading, paths, tmp_path / "out")

    expected = {(volume.frames[index].sop_instance_uid, volume.frames[index].frame_number) for index in drawn}
    assert set(boxes_in_sr(dcmread(sr_object.path))) == expected
    for (instance, frame_number), corners in boxes_in_sr(dcmread(sr_object.path)).items():
        index = [ref.sop_instance_uid for ref in volume.frames].index(instance)
        if frame_number is not None:
            index = [ref.frame_number for ref in volume.frames].index(frame_number)
        assert corners == drawn[index].as_tuple()
    assert_same_voxels(dcmread(seg_object.path), volume, drawn)


def boxes_in_sr(dataset: Dataset) -> dict[tuple[str, int | None], tuple[float, float, float, float]]:
    """Read every SCOORD with nothing of ours: highdicom's reader and the standard's attributes."""
    report = highdicom.sr.Comprehensive3DSR.from_dataset(dataset)
    boxes = {}
    content = report.content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    for group in content.get_planar_roi_measurement_groups():
        assert group.roi is not None
        points = np.asarray(group.roi.value)
        image = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        number = image.get("ReferencedFrameNumber")
        key = (str(image.ReferencedSOPInstanceUID), None if number is None else int(number))
        boxes[key] = (*points.min(axis=0), *points.max(axis=0))
    return boxes


def assert_same_voxels(dataset: Dataset, volume: Volume, drawn: dict[int, Box]) -> None:
    """Compare the patient positions of the SEG's pixels with those of the drawn boxes' pixels."""
    segmentation = highdicom.seg.Segmentation.from_dataset(dataset)
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    spacing = [float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing]
    cosines = [float(value) for value in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    painted = []
    for mask, groups in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.array([float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient])
        for row, column in np.argwhere(mask):
            painted.append(
                origin + np.array(cosines[:3]) * spacing[1] * column + np.array(cosines[3:]) * spacing[0] * row
            )
    expected = [
        volume.to_patient_mm(index, column + 0.5, row + 0.5)
        for index, box in drawn.items()
        for row in range(int(box.y0), int(box.y1))
        for column in range(int(box.x0), int(box.x1))
    ]
    assert len(painted) == len(expected)
    a, b = (np.array(sorted(map(tuple, np.round(positions, 2)))) for positions in (painted, expected))
    assert np.abs(a - b).max() <= 0.02


@pytest.mark.parametrize(("name", "column", "side"), [("brain", 190, Laterality.LEFT), ("brain", 60, Laterality.RIGHT)])
def test_the_side_is_the_patients(name: str, column: int, side: Laterality, tmp_path: Path) -> None:
    """On an axial frame the right half of the picture is the patient's left (LPS)."""
    paths = write(make(name), tmp_path)
    volume = volume_of(paths)
    box = render(volume).scaling.to_model(Box(x0=column, y0=120, x1=column + 8, y1=128))
    reading = read_paths(
        paths, OneBoxEngine(boxes={8: box}, label="Nonspecific lesion"), started_at=datetime(2026, 1, 2, tzinfo=UTC)
    ).reading
    assert reading.tracklets[0].laterality is side


def test_the_middle_has_no_side(tmp_path: Path) -> None:
    """Within 5 mm of the midline no side is claimed."""
    paths = write(make("brain"), tmp_path)
    box = render(volume_of(paths)).scaling.to_model(Box(x0=124, y0=120, x1=132, y1=128))
    reading = read_paths(
        paths, OneBoxEngine(boxes={8: box}, label="Nonspecific lesion"), started_at=datetime(2026, 1, 2, tzinfo=UTC)
    ).reading
    assert reading.tracklets[0].laterality is None


def test_loss_is_carried_from_the_source_to_the_reading(tmp_path: Path) -> None:
    """Lossy Image Compression (0028,2110) of one source image reaches the reading."""
    phantom = make("brain")
    box = Box(x0=120, y0=120, x1=130, y1=130)
    for said, expected in (("00", False), ("01", True)):
        phantom.datasets[4].LossyImageCompression = said
        engine = OneBoxEngine(boxes={8: box}, label="Nonspecific lesion")
        paths = write(phantom, tmp_path)
        assert read_paths(paths, engine, started_at=datetime(2026, 1, 2, tzinfo=UTC)).reading.is_lossy is expected
