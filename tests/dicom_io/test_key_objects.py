from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from conformance.phantoms import CANARIES
from dicom_io.objects.key_objects import (
    REJECTION_TITLE,
    decode_key_objects,
    encode_key_objects,
    encode_rejection,
)
from dicom_io.objects.seg import encode_segmentation
from dicom_io.objects.sr import encode_report
from sgmri.errors import MalformedInstance
from sgmri.lifecycle import Reason
from sgmri.readings import Reading
from tests.dicom_io.forms import ALLOWED, LESIONS, MakeCase, saved

REJECTED_AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize("name", LESIONS)
def test_key_objects_are_valid_and_name_the_frames_with_boxes(
    name: str, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """The validator finds nothing; each frame that bears a box is named once, frame numbers for multi-frame sources."""
    reading, sources = make_case(name)
    ds = saved(encode_key_objects(reading, sources), tmp_path / "ko.dcm")
    assert [line for line in dciodvfy(tmp_path / "ko.dcm") if ALLOWED not in line] == []
    decoded = decode_key_objects(ds)
    assert (decoded.title.value, decoded.rejection) == ("113000", None)
    expected = {
        (reading.frames[f.frame_index].sop_instance_uid, reading.frames[f.frame_index].frame_number)
        for f in reading.findings
    }
    found = {(uid, number) for uid, numbers in decoded.objects for number in numbers or (None,)}
    assert found == expected
    assert sum(len(numbers) or 1 for _, numbers in decoded.objects) == len(expected)
    assert all(tracklet.tracklet_id in decoded.description for tracklet in reading.tracklets)
    assert decoded.description.endswith("Not for diagnosis.")
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (
        reading.study_instance_uid,
        reading.series_instance_uid,
    )
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence} == {uid for uid, _ in found}


def test_without_boxes_there_is_none(make_case: MakeCase) -> None:
    """A reading that marks nothing selects nothing."""
    assert encode_key_objects(*make_case("knee-normal")) is None


def test_second_time_gives_the_same_bytes(make_case: MakeCase, tmp_path: Path) -> None:
    """The same reading, the same object."""
    reading, sources = make_case("brain-enhanced")
    for name in ("1.dcm", "2.dcm"):
        saved(encode_key_objects(reading, sources), tmp_path / name)
    assert (tmp_path / "1.dcm").read_bytes() == (tmp_path / "2.dcm").read_bytes()


def results(reading: Reading, sources: tuple[Dataset, ...]) -> list[Dataset]:
    segmentation = encode_segmentation(reading, sources)
    made = [segmentation, encode_report(reading, sources, segmentation=segmentation)]
    return [ds for ds in (*made, encode_key_objects(reading, sources)) if ds is not None]


@pytest.mark.parametrize(
    ("name", "reason"),
    list(zip(["brain", "knee-enhanced", "brain-normal", "knee"], REJECTION_TITLE, strict=True)),
)
def test_rejection_note_is_valid_and_names_every_object(
    name: str, reason: Reason, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """For each reason the title is IHE's, every result object is named in its own series, none beside."""
    reading, sources = make_case(name)
    objects = results(reading, sources)
    ds = saved(encode_rejection(reading, objects, reason, rejected_at=REJECTED_AT), tmp_path / "note.dcm")
    assert [line for line in dciodvfy(tmp_path / "note.dcm") if ALLOWED not in line] == []
    decoded = decode_key_objects(ds)
    assert decoded.rejection is reason
    assert decoded.objects == tuple((str(one.SOPInstanceUID), ()) for one in objects)
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    evidence = {
        series.SeriesInstanceUID: [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    }
    assert evidence == {one.SeriesInstanceUID: [one.SOPInstanceUID] for one in objects}
    assert (ds.StudyInstanceUID, ds.PatientName) == (reading.study_instance_uid, CANARIES.patient_name)
    assert (ds.ContentDate, ds.ContentTime) == ("20260506", "070809")
    assert "rejected" in ds.SeriesDescription


def test_rejection_titles_are_the_standards(make_case: MakeCase) -> None:
    """The four reasons of IHE's Imaging Object Change Management, with their meanings of CID 7011."""
    assert {reason: (title.value, title.meaning) for reason, title in REJECTION_TITLE.items()} == {
        Reason.REJECTED_QUALITY: ("113001", "Rejected for Quality Reasons"),
        Reason.REJECTED_SAFETY: ("113037", "Rejected for Patient Safety Reasons"),
        Reason.REJECTED_WORKLIST: ("113038", "Incorrect Modality Worklist Entry"),
        Reason.REJECTED_RETENTION: ("113039", "Data Retention Policy Expired"),
    }


def test_each_rejection_is_an_object_of_its_own(make_case: MakeCase) -> None:
    """The same rejection has the same UID; another reason, another reading and the key objects have others."""
    reading, sources = make_case("brain")
    objects = results(reading, sources)

    def uid(one: Reading, reason: Reason) -> str:
        return str(encode_rejection(one, objects, reason, rejected_at=REJECTED_AT).SOPInstanceUID)

    other = replace(reading, engine=replace(reading.engine, version="2"))
    known = [str(ds.SOPInstanceUID) for ds in objects]
    found = [
        uid(reading, Reason.REJECTED_QUALITY),
        uid(reading, Reason.REJECTED_SAFETY),
        uid(other, Reason.REJECTED_SAFETY),
    ]
    assert len({*known, *found}) == len(known) + 3
    assert uid(reading, Reason.REJECTED_QUALITY) == found[0]


def test_decoder_refuses_other_objects(make_case: MakeCase) -> None:
    """A report is no selection, and one whose references were cut is not read as if whole."""
    reading, sources = make_case("brain")
    with pytest.raises(MalformedInstance, match="SOP class"):
        decode_key_objects(encode_report(reading, sources, segmentation=None))
    ds = encode_key_objects(reading, sources)
    assert ds is not None
    del ds.ContentSequence[-1].ReferencedSOPSequence
    with pytest.raises(MalformedInstance, match="lacks a part"):
        decode_key_objects(ds)
