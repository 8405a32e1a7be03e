from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.header_values import MAX_VALUES, is_readable, private_key, read_values


def _written(datasets: tuple[Dataset, ...], folder: Path) -> list[Path]:
    paths = [folder / f"{number}.dcm" for number in range(len(datasets))]
    for ds, path in zip(datasets, paths, strict=True):
        ds.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return paths


def test_values_come_from_every_instance(tmp_path: Path) -> None:
    """Different values are listed once each, in order; numbers are numbers; what is nowhere is not there."""
    datasets = phantoms.make("brain-normal").datasets[:3]
    for ds, name in zip(datasets, ("A", "B", "A"), strict=True):
        ds.StationName = name
    found = read_values(_written(datasets, tmp_path), ["StationName", "EchoTime", "ImageType", "AcquisitionMatrix"])
    assert found["StationName"] == ("A", "B")
    assert found["EchoTime"] == (120.0,)
    assert found["ImageType"][:2] == ("ORIGINAL", "PRIMARY")
    assert "AcquisitionMatrix" not in found


def test_values_of_enhanced_frames_are_found(tmp_path: Path) -> None:
    """Attributes of shared and of per-frame functional groups are found by keyword."""
    paths = _written(phantoms.make("brain-enhanced").datasets, tmp_path)
    found = read_values(paths, ["EffectiveEchoTime", "InStackPositionNumber", "RepetitionTime"])
    assert found["EffectiveEchoTime"] == (120.0,)
    assert sorted(found["InStackPositionNumber"]) == list(range(1, 23))
    assert found["RepetitionTime"] == (9000.0,)


@pytest.mark.parametrize(("vr", "value", "read"), [("IS", "1000", 1000.0), ("LO", "DIFF", "DIFF"), ("OB", b"17", 17.0)])
def test_private_elements_are_found_by_creator(tmp_path: Path, vr: str, value: object, read: object) -> None:
    """A private element is read whatever its value representation; a blob is no value."""
    ds, *_ = phantoms.make("brain-normal").datasets
    ds.private_block(0x0019, "MAKER", create=True).add_new(0x0C, vr, value)
    block = ds.private_block(0x0019, "MAKER")
    block.add_new(0x0D, "OB", bytes(range(256)) * 40)
    block.add_new(0x0E, "SQ", [Dataset()])
    block.add_new(0x0F, "LO", None)
    wanted = [("MAKER", 0x19, element) for element in (0x0C, 0x0D, 0x0E, 0x0F)]
    found = read_values(_written((ds,), tmp_path), [], [*wanted, ("NO", 0x19, 1)])
    assert found == {private_key("MAKER", 0x19, 0x0C): (read,)}


def test_number_and_length_of_values_are_bounded(tmp_path: Path) -> None:
    """Of many different values the first are kept, and long texts are left out."""
    datasets = phantoms.make("brain-normal").datasets[:1]
    datasets[0].ImageType = [f"V{number}" for number in range(100)]
    datasets[0].ImageComments = "x" * 300
    found = read_values(_written(datasets, tmp_path), ["ImageType", "ImageComments"])
    assert len(found["ImageType"]) == MAX_VALUES
    assert not found.get("ImageComments")


@pytest.mark.parametrize(
    ("keyword", "readable"),
    [
        ("SeriesDescription", True),
        ("EchoTime", True),
        ("PixelData", False),
        ("RequestAttributesSequence", False),
        ("NoSuchKeyword", False),
        ("keys", False),
    ],
)
def test_keywords_that_have_values(keyword: str, readable: bool) -> None:
    """Texts and numbers of PS3.6 can be asked for; sequences, pixels and other words cannot."""
    assert is_readable(keyword) is readable
