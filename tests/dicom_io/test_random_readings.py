"""Findings, objects, findings: the identity, for readings that nobody thought of."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.kinds import ResultKind
from dicom_io.objects.seg import encode_segmentation
from dicom_io.objects.sources import leniently
from dicom_io.objects.sr import DecodedBox, decode_report, encode_report
from dicom_io.objects.text_report import as_text, decode_text_report, encode_text_report
from dicom_io.results import differences
from sgmri.errors import UnsupportedSeries
from sgmri.findings import Finding, Tracklet
from sgmri.readings import Reading
from tests.dicom_io.random_readings import CHARACTER_SETS, readings

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
Validator = Callable[[Path], list[str]]
CASES = ["brain", "brain-enhanced", "knee", "knee-enhanced"]
ALLOWED = "DeviceUID"
"""The one warning of dciodvfy that is wrong: DeviceUID in Contributing Equipment is type 3 (PS3.3 C.12.1)."""


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=3)
@given(data=st.data())
def test_reading_survives_its_objects(
    name: str,
    data: st.DataObject,
    make_case: MakeCase,
    dciodvfy: Validator,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A random reading is written, valid, and read back as what it was; 12 of them."""
    _survives(data, *make_case(name), dciodvfy, tmp_path_factory.getbasetemp())


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=125)
@given(data=st.data())
def test_five_hundred_readings_survive(
    name: str,
    data: st.DataObject,
    make_case: MakeCase,
    dciodvfy: Validator,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The same for 500 (scripts/test-readings)."""
    _survives(data, *make_case(name), dciodvfy, tmp_path_factory.getbasetemp())


def _survives(
    data: st.DataObject, plain: Reading, sources: Sequence[Dataset], dciodvfy: Validator, directory: Path
) -> None:
    reading = data.draw(readings(plain))
    character_set = data.draw(st.sampled_from(CHARACTER_SETS))
    for source in sources:
        source.SpecificCharacterSet = character_set
    as_label_map = data.draw(st.booleans())
    reason = ""
    try:
        segmentation = encode_segmentation(reading, sources, as_label_map=as_label_map)
    except UnsupportedSeries as refusal:  # findings share pixels
        assert as_label_map
        segmentation, reason = None, str(refusal)
    report = encode_report(reading, sources, segmentation=segmentation, no_segmentation_reason=reason)
    page = encode_text_report(reading, sources, no_segmentation_reason=reason)
    written = [_written(ds, directory, dciodvfy) for ds in (report, page, segmentation) if ds is not None]
    decoded = decode_report(written[0])
    assert _tracklets(reading, decoded.boxes) == [_plain(tracklet) for tracklet in reading.tracklets]
    kind = ResultKind.LABELMAP if as_label_map else ResultKind.SEG
    objects = {ResultKind.SR: written[0], ResultKind.TEXT_SR: written[1]}
    assert differences(reading, objects if segmentation is None else objects | {kind: written[2]}) == ()
    assert decode_text_report(written[1]) == as_text(reading, sources, no_segmentation_reason=reason)
    assert (segmentation is None) == (not reading.tracklets or bool(reason))
    assert (f"No segmentation: {reason}" in decoded.notes) == bool(reason)


def _written(ds: Dataset, directory: Path, dciodvfy: Validator) -> Dataset:
    path = directory / "object.dcm"
    with leniently():
        ds.save_as(path, enforce_file_format=True)
    assert [line for line in dciodvfy(path) if ALLOWED not in line] == []
    written = pydicom.dcmread(path)
    for concept in codes.written_in(written):
        assert codes.CODES[concept.scheme, concept.value] == concept
    return written


def _tracklets(reading: Reading, boxes: Sequence[DecodedBox]) -> list[Tracklet]:
    """Put the boxes of a report together again; tracking UIDs are derived and stay out."""
    index_of = {(ref.sop_instance_uid, ref.frame_number): index for index, ref in enumerate(reading.frames)}
    found: dict[str, list[DecodedBox]] = {}
    for box in boxes:
        found.setdefault(box.tracklet_id, []).append(box)
    return [
        Tracklet(
            tracklet_id=name,
            laterality=some[0].laterality,
            findings=tuple(
                Finding(
                    label=box.label,
                    frame_index=index_of[box.sop_instance_uid, box.frame_number],
                    box=box.box,
                    score=box.score,
                )
                for box in some
            ),
        )
        for name, some in found.items()
    ]


def _plain(tracklet: Tracklet) -> Tracklet:
    findings = tuple(replace(finding, tracking_uid=None) for finding in tracklet.findings)
    return replace(tracklet, tracking_uid=None, findings=findings)
