"""What the annexes claim, held against objects that were not counted."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from conformance import phantoms
from conformance.specimens import planted_reading
from conformance.statement.attributes import Census
from conformance.statement.content import Tree
from conformance.statement.measurement import REJECTION, Measurement, measure
from dicom_io import codes
from dicom_io.kinds import ResultKind
from dicom_io.profiles import Profile
from dicom_io.results import read_object, write_results
from dicom_io.services import SEGMENTATION, Role, Use, for_use


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return measure()


def rows(census: Census) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return presence, value, source and values by attribute and tag; the last of the same name counts."""
    return {(name, tag): (*rest,) for _, name, tag, _, *rest in census.rows()}


def test_every_kind_of_object_is_counted(measured: Measurement) -> None:
    """Each kind of result, and the rejection note, in exactly the SOP classes that are delivered."""
    assert set(measured.censuses) == {*ResultKind, REJECTION}
    delivered = {service.sop_class_uid for service in for_use(Use.DELIVER, role=Role.SCU)}
    assert {census.sop_class_uid for census in measured.censuses.values()} == delivered
    assert set(measured.trees) == {ResultKind.SR, ResultKind.TEXT_SR, ResultKind.KO, REJECTION}


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        (("Patient's Name", "(0010,0010)"), ("ALWAYS", "VNAP", "COPY", "")),
        (("Patient's Weight", "(0010,1030)"), ("ANAP", "ALWAYS", "COPY", "")),
        (("Study Instance UID", "(0020,000D)"), ("ALWAYS", "ALWAYS", "COPY", "")),
        (("SOP Instance UID", "(0008,0018)"), ("ALWAYS", "ALWAYS", "AUTO", "")),
        (("Device UID", "(0018,1002)"), ("ALWAYS", "ALWAYS", "AUTO", "")),
        (("Rows", "(0028,0010)"), ("ALWAYS", "ALWAYS", "COPY", "")),
        (("Columns", "(0028,0011)"), ("ALWAYS", "ALWAYS", "COPY", "")),
        (("Frame of Reference UID", "(0020,0052)"), ("ALWAYS", "ALWAYS", "COPY", "")),
        (("Timezone Offset From UTC", "(0008,0201)"), ("ANAP", "ALWAYS", "COPY", "")),
        (("Content Date", "(0008,0023)"), ("ALWAYS", "ALWAYS", "AUTO", "")),
        (("Modality", "(0008,0060)"), ("ALWAYS", "ALWAYS", "FIXED", "SEG")),
        (("Segmentation Type", "(0062,0001)"), ("ALWAYS", "ALWAYS", "FIXED", "BINARY")),
        (("Content Qualification", "(0018,9004)"), ("ALWAYS", "ALWAYS", "FIXED", "RESEARCH")),
        (("> > Image Orientation (Patient)", "(0020,0037)"), ("ALWAYS", "ALWAYS", "COPY", "")),
        (("> Tracking UID", "(0062,0021)"), ("ALWAYS", "ALWAYS", "AUTO", "")),
        (("Pixel Data", "(7FE0,0010)"), ("ALWAYS", "ALWAYS", "AUTO", "")),
    ],
)
def test_presence_and_source_are_those_of_the_encoder(
    measured: Measurement, attribute: tuple[str, str], expected: tuple[str, ...]
) -> None:
    """Attributes of the segmentation of which the encoder's code tells where they come from."""
    assert rows(measured.censuses[ResultKind.SEG])[attribute] == expected


@pytest.mark.parametrize("name", [pytest.param("knee-oblique", marks=pytest.mark.exhaustive), "brain-normal"])
def test_an_object_that_was_not_counted_has_no_other_attribute_item_or_code(
    name: str, measured: Measurement, tmp_path: Path
) -> None:
    """Objects of phantoms that are no specimens hold what the statement lists, and all that it calls ALWAYS present."""
    phantom = phantoms.make(name)
    paths = phantoms.write(phantom, tmp_path / "images")
    profile = Profile(kinds=frozenset(ResultKind) - {ResultKind.PDF})
    for result in write_results(planted_reading(phantom, paths), paths, tmp_path, profile=profile):
        ds = read_object(result.path)
        listed, found = measured.censuses[result.kind], Census(sop_class_uid=result.sop_class_uid)
        found.add(ds, {})
        assert found.attributes.keys() <= listed.attributes.keys()
        always = {path for path, row in listed.attributes.items() if len(path) == 1 and row.count == listed.objects}
        assert always <= found.attributes.keys()
        if result.kind in measured.trees:
            tree = Tree()
            tree.add(ds)
            assert tree.items.keys() <= measured.trees[result.kind].items.keys()
        assert set(codes.written_in(ds)) <= measured.codes.places.keys()


def test_the_code_table_lists_all_codes_and_nearly_all_were_met(measured: Measurement) -> None:
    """Every code that may be written has its row; the specimens meet all but the two that highdicom could write."""
    listed = {(scheme, value): kinds for scheme, value, _, kinds, _ in measured.codes.rows()}
    assert listed.keys() == codes.CODES.keys()
    assert {key for key, kinds in listed.items() if not kinds} == {("DCM", "111002"), ("SCT", "276214006")}


def test_private_attributes_would_be_told(measured: Measurement) -> None:
    """There are none in our objects; a census of an object that has one names it."""
    assert measured.private() == ()
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.private_block(0x0099, "SOMEBODY", create=True).add_new(1, "LO", "x")
    census = Census(sop_class_uid=SEGMENTATION)
    census.add(ds, {})
    assert len(census.private()) == 2
