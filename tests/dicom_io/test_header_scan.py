import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_io.header_scan import Identifiers, scan
from sgmri.errors import MalformedInstance

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
EXPECTED = Identifiers(
    study_instance_uid="2.25.1",
    series_instance_uid="2.25.2",
    sop_instance_uid="2.25.101",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
    expected_instances=7,
)


def data_set(*, undefined: bool = False) -> Dataset:
    item = Dataset()
    item.SOPInstanceUID = "2.25.666"  # of the item, not of the instance
    item.StudyInstanceUID = "2.25.667"
    nest = Dataset()
    nest.ReferencedImageSequence = Sequence([item, item])
    dataset = Dataset()
    dataset.SOPClassUID = UID(EXPECTED.sop_class_uid)
    dataset.SOPInstanceUID = "2.25.101"
    dataset.ReferencedStudySequence = Sequence([nest])
    dataset.StudyInstanceUID = "2.25.1"
    dataset.SeriesInstanceUID = "2.25.2"
    dataset.ImagesInAcquisition = 7
    dataset.BitsAllocated = 16
    dataset.PixelData = bytes(range(256)) * 400
    dataset["PixelData"].VR = "OW"
    if undefined:
        for sequence in (dataset["ReferencedStudySequence"], nest["ReferencedImageSequence"]):
            sequence.is_undefined_length = True
        for part in (nest, item):
            part.is_undefined_length_sequence_item = True
    return dataset


@pytest.mark.parametrize(("text", "count"), [("2147483647", (1 << 31) - 1), ("2147483648", None), ("9" * 900, None)])
def test_a_count_beyond_what_an_is_can_hold_is_none(text: str, count: int | None) -> None:
    """Images in Acquisition beyond 2^31 - 1 (PS3.5 6.2) is not believed."""
    value = (text + " " * (len(text) % 2)).encode()
    element = struct.pack("<HH2sH", 0x0020, 0x1002, b"IS", len(value)) + value
    found = scan(lambda offset, size: element[offset : offset + size], len(element), ExplicitVRLittleEndian)
    assert found.expected_instances == count


def encode(dataset: Dataset, syntax: UID) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(stream, dataset)
    encoded: bytes = stream.getvalue()
    if syntax == DeflatedExplicitVRLittleEndian:
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return squeeze.compress(encoded) + squeeze.flush()
    return encoded


def scanned(encoded: bytes, syntax: UID = ExplicitVRLittleEndian) -> Identifiers:
    return scan(lambda offset, count: encoded[offset : offset + count], len(encoded), syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True], ids=["with lengths", "without lengths"])
def test_the_instances_own_uids_are_found(syntax: UID, undefined: bool) -> None:
    """In every encoding, the UIDs of the data set are found and those of its items are not."""
    assert scanned(encode(data_set(undefined=undefined), syntax), syntax) == EXPECTED


@pytest.mark.parametrize("syntax", SYNTAXES[:3])
@pytest.mark.parametrize("undefined", [False, True], ids=["with lengths", "without lengths"])
@pytest.mark.parametrize("lost", [1, 100, 60_000, 102_405])
def test_a_data_set_that_was_cut_off_is_malformed(syntax: UID, undefined: bool, lost: int) -> None:
    """An end within the pixel data, or within an element before it, is noticed."""
    encoded = encode(data_set(undefined=undefined), syntax)
    with pytest.raises(MalformedInstance, match="whole"):
        scanned(encoded[:-lost], syntax)


def test_encapsulated_pixels_that_were_cut_off_are_malformed() -> None:
    """Compressed pixel data without its end is noticed, between fragments and within one (PS3.5 A.4)."""
    dataset = data_set()
    del dataset.PixelData
    fragment = struct.pack("<HHL", 0xFFFE, 0xE000, 1000) + bytes(1000)
    start = struct.pack("<HH2sxxL", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    whole = encode(dataset, ExplicitVRLittleEndian) + start + fragment * 3
    assert scanned(whole + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), RLELossless) == EXPECTED
    for cut in (whole, whole[:-10]):
        with pytest.raises(MalformedInstance, match="whole"):
            scanned(cut, RLELossless)


def test_unknown_content_with_implicit_items_is_passed_over() -> None:
    """A UN without a length holds implicit VRs (PS3.5 6.2.2): the walk goes on behind it."""
    implicit = encode(data_set(), ImplicitVRLittleEndian)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + implicit + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    unknown = struct.pack("<HH2sxxL", 0x0009, 0x1001, b"UN", 0xFFFFFFFF) + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    encoded = encode(data_set(), ExplicitVRLittleEndian)
    place = encoded.rindex(b"\x20\x00\x0d\x00")
    assert scanned(encoded[:place] + unknown + encoded[place:]) == EXPECTED


@pytest.mark.parametrize("depth", [16, 20_000])
def test_closed_nesting_of_any_depth_is_passed_over(depth: int) -> None:
    """Twenty thousand nested sequences cost no recursion; the worker decides what to make of them."""
    opened = (b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * depth
    closed = (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * depth
    assert scanned(opened + closed + encode(data_set(), ExplicitVRLittleEndian)) == EXPECTED


def test_odd_representations_are_not_taken_for_an_early_end() -> None:
    """A VR that the standard does not know leaves the rest unjudged: such an instance is kept."""
    encoded = encode(data_set(), ExplicitVRLittleEndian)
    odd = b"\x20\x00\x02\x20ZZ\x02\x00ab"
    place = encoded.index(b"\x28\x00\x00\x01")
    assert scanned(encoded[:place] + odd + encoded[place:-10]) == EXPECTED


def test_a_header_longer_than_the_window_is_read_on() -> None:
    """UIDs behind a megabyte of private values are found."""
    encoded = encode(data_set(), ExplicitVRLittleEndian)
    private = struct.pack("<HH2sxxL", 0x0009, 0x1001, b"OB", 1 << 20) + bytes(1 << 20)
    place = encoded.rindex(b"\x20\x00\x0d\x00")
    assert scanned(encoded[:place] + private + encoded[place:]) == EXPECTED


@given(st.binary(max_size=2000), st.sampled_from(SYNTAXES))
def test_any_bytes_are_scanned_or_malformed(content: bytes, syntax: UID) -> None:
    """Whatever comes ends in identifiers or in our error."""
    with contextlib.suppress(MalformedInstance):
        scanned(content, syntax)


@given(st.integers(0, 1500), st.integers(0, 255), st.sampled_from(SYNTAXES[:3]))
def test_a_changed_byte_is_scanned_or_malformed(place: int, byte: int, syntax: UID) -> None:
    """A damaged header, too, ends in identifiers or in our error."""
    encoded = bytearray(encode(data_set(undefined=True), syntax))
    encoded[place] = byte
    with contextlib.suppress(MalformedInstance):
        scanned(bytes(encoded), syntax)


@given(
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=3),
    st.integers(0, 1500),
    st.booleans(),
    st.sampled_from((ExplicitVRLittleEndian, ExplicitVRBigEndian)),
)
def test_what_is_skimmed_is_what_is_walked(
    changes: list[tuple[int, int]], cut: int, undefined: bool, syntax: UID
) -> None:
    """Passing regular elements in one loop finds and refuses what taking each by itself does, in damaged data too."""
    dataset = data_set(undefined=undefined)
    dataset.PixelData = bytes(100)
    content = bytearray(encode(dataset, syntax))
    for place, byte in changes:
        content[place % len(content)] = byte
    whole = bytes(content[: len(content) - cut % 200])

    def outcome() -> Identifiers | str:
        try:
            return scanned(whole, syntax)
        except MalformedInstance as error:
            return str(error)

    skimmed = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicom_io.header_scan._HEADER_BYTES", {})  # nothing is regular
        assert outcome() == skimmed
