"""Attributes of a header as they are read for facts."""

from copy import deepcopy
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from conformance import phantoms
from dicom_io.headers import Header, quietly

_ODD = Dataset()
_ODD.Rows, _ODD.Columns = 258, 1
_ODD.ImageType = ["ORIGINAL", "", "M"]
_ODD.PixelSpacing = [" 0.5", "1e-1 "]
_ODD.SOPInstanceUID = "1.2.3"
_ODD.StudyDescription = "頭 T2"
_ODD.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
_ODD.InstanceNumber = 7
_ODD.ProtocolName = ["T1 一", "~"]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("name", ["odd", "brain", "knee-enhanced"])
def test_values_are_what_pydicom_converts_them_to(syntax: UID, name: str, tmp_path: Path) -> None:
    """Texts and numbers read past pydicom's conversion are those that it would have given, in every encoding."""
    dataset = deepcopy(_ODD if name == "odd" else phantoms.make(name).datasets[0])
    dataset.pop("PixelData", None)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "header.dcm"
    dcmwrite(path, dataset, enforce_file_format=False)
    with quietly():
        raw, converted = dcmread(path, force=True), dcmread(path, force=True)
        keywords = [element.keyword for element in converted if element.VR != "SQ"]
        assert keywords
        for keyword in keywords:
            read, expected = Header(raw), Header(converted)
            assert read.texts(keyword) == expected.texts(keyword), keyword
            assert read.numbers(keyword) == expected.numbers(keyword), keyword


@pytest.mark.parametrize("group", [0x0019, 0x0043])
def test_private_elements_are_found_only_with_their_creator(group: int) -> None:
    """A private element is read from the block of its creator, and nothing from a group that is not there."""
    dataset = Dataset()
    dataset.private_block(0x0019, "ACME", create=True).add_new(0x0C, "DS", "5.5")
    assert Header(dataset).private_number("ACME", group, 0x0C) == (5.5 if group == 0x0019 else None)
    assert Header(dataset).private_number("OTHER", group, 0x0C) is None
