import logging
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.sr import CodedConcept, PlanarROIMeasurementsAndQualitativeEvaluations
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from conformance.phantoms import CANARIES
from dicom_io import codes, identity
from dicom_io.kinds import ResultKind
from dicom_io.objects.answers import as_written
from dicom_io.objects.envelope import clean_text
from dicom_io.objects.seg import encode_segmentation
from dicom_io.objects.sources import PATIENT_AND_STUDY
from dicom_io.objects.sr import decode_report, encode_report, measurement_groups
from sgmri import RESEARCH_USE_STATEMENT, catalogue, vocabulary
from sgmri.errors import EngineError, IncompleteSeries, MalformedInstance
from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.geometry import Box
from sgmri.questions import Answer, Presence, QuestionKind, Unanswered
from sgmri.readings import MeasuredAccuracy, Reading
from sgmri.volume import Anatomy

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
Validator = Callable[[Path], list[str]]
ReadGroups = Callable[[Path], list[PlanarROIMeasurementsAndQualitativeEvaluations]]
LESIONS = ["brain", "brain-enhanced", "brain-nonsquare", "knee", "knee-enhanced"]
ALLOWED = "DeviceUID"
"""The one warning of dciodvfy that is wrong: DeviceUID in Contributing Equipment is type 3 (PS3.3 C.12.1)."""


def _report(reading: Reading, sources: tuple[Dataset, ...], path: Path) -> Dataset:
    """Write report and segmentation as files; return the report as it is in its file."""
    segmentation = encode_segmentation(reading, sources)
    report = encode_report(reading, sources, segmentation=segmentation)
    report.save_as(path / "sr.dcm", enforce_file_format=True)
    if segmentation is not None:
        segmentation.save_as(path / "seg.dcm", enforce_file_format=True)
    return pydicom.dcmread(path / "sr.dcm")


def _items(item: Dataset, value_type: str | None = None) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        if value_type is None or child.ValueType == value_type:
            yield child
        yield from _items(child, value_type)


def _evaluations(report: Dataset) -> Dataset:
    found: Dataset = next(i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "C0034375")
    return found


@pytest.mark.parametrize("name", [*LESIONS, "brain-normal", "knee-normal"])
def test_report_is_valid(name: str, make_case: MakeCase, dciodvfy: Validator, tmp_path: Path) -> None:
    """The validator finds no error and no warning, with findings and without."""
    _report(*make_case(name), tmp_path)
    assert [line for line in dciodvfy(tmp_path / "sr.dcm") if ALLOWED not in line] == []


@pytest.mark.parametrize("name", LESIONS)
def test_highdicom_reads_back_the_same_boxes(
    name: str, make_case: MakeCase, read_groups: ReadGroups, tmp_path: Path
) -> None:
    """An independent reader gives the reading's boxes, frames, codes and sides, exactly and in order."""
    reading, sources = make_case(name)
    _report(reading, sources, tmp_path)
    groups = read_groups(tmp_path / "sr.dcm")
    expected = [(tracklet, finding) for tracklet in reading.tracklets for finding in tracklet.findings]
    assert len(groups) == len(expected) > 0
    for group, (tracklet, finding) in zip(groups, expected, strict=True):
        ref = reading.frames[finding.frame_index]
        concept = codes.finding_concept(tracklet.label)
        assert group.roi is not None
        assert group.finding_type is not None
        assert group.tracking_identifier == tracklet.tracklet_id
        assert np.array_equal(group.roi.value, np.asarray(finding.box.polyline()))
        assert group.roi.graphic_type.value == "POLYLINE"
        image = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        assert image.ReferencedSOPInstanceUID == ref.sop_instance_uid
        assert image.ReferencedSOPClassUID == ref.sop_class_uid
        assert image.get("ReferencedFrameNumber") == ref.frame_number
        assert group.finding_type.value == concept.written.value
        site = group.finding_sites[0]
        assert site.value.value == concept.site.value
        side = None if tracklet.laterality is None else codes.SIDE[tracklet.laterality].value
        assert (None if site.laterality is None else site.laterality.value) == side


@pytest.mark.parametrize("name", LESIONS)
def test_viewer_rules_hold(name: str, make_case: MakeCase, tmp_path: Path) -> None:
    """In "Imaging Measurements" each group has one SCOORD on one image, no NUM, a comment and a UID of its own."""
    reading, sources = make_case(name)
    report = _report(reading, sources, tmp_path)
    groups = measurement_groups(report)
    assert len(groups) == len(reading.findings)
    by_uid = {source.SOPInstanceUID: source for source in sources}
    for group in groups:
        assert [item.ValueType for item in _items(group)].count("NUM") == 0
        (region,) = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
        (image,) = region.ContentSequence
        assert (image.ValueType, image.RelationshipType) == ("IMAGE", "SELECTED FROM")
        reference = image.ReferencedSOPSequence[0]
        assert ("ReferencedFrameNumber" in reference) == (
            "NumberOfFrames" in by_uid[reference.ReferencedSOPInstanceUID]
        )
        assert sum(i.ConceptNameCodeSequence[0].CodeValue == "121106" for i in group.ContentSequence) == 1
        purpose = [i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "130400"]
        assert [item.ConceptCodeSequence[0].CodeValue for item in purpose] == ["75958009"]
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
    uids = [item.UID for group in groups for item in group.ContentSequence if item.ValueType == "UIDREF"]
    assert len(set(uids)) == len(uids) == len(groups)


def test_boxes_on_64ths_return_exactly(
    make_case: MakeCase, make_reading: Callable[..., Reading], tmp_path: Path
) -> None:
    """Sixty boxes with edges on multiples of 1/64 pixel come back equal to the last bit."""
    _, sources = make_case("brain")
    rng = np.random.default_rng(7)
    tracklets = []
    for number in range(1, 21):
        findings = []
        for frame_index in range(number % 5, number % 5 + 3):
            x0, y0 = (int(v) / 64 for v in rng.integers(0, 200 * 64, 2))
            width, height = (int(v) / 64 for v in rng.integers(1, 50 * 64, 2))
            box = Box(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height)
            findings.append(Finding(label="Mass", frame_index=frame_index, box=box, score=float(rng.uniform())))
        tracklets.append(Tracklet(tracklet_id=f"lesion-{number}", findings=tuple(findings)))
    reading = make_reading(sources, Anatomy.BRAIN, tuple(tracklets))
    decoded = decode_report(_report(reading, sources, tmp_path))
    assert [box.box for box in decoded.boxes] == [finding.box for finding in reading.findings]
    assert [box.tracklet_id for box in decoded.boxes] == [f"lesion-{1 + n // 3}" for n in range(60)]


def test_every_answer_returns(make_case: MakeCase, tmp_path: Path) -> None:
    """Each asked question has one item with its text, value, certainty, reasoning and evidence."""
    for name in ("brain", "knee-enhanced", "brain-normal"):
        reading, sources = make_case(name)
        decoded = decode_report(_report(reading, sources, tmp_path))
        questions = catalogue.by_id(reading.question_set_id)
        assert [answer.question_id for answer in decoded.answers] == [a.question_id for a in reading.answers]
        for answer, found in zip(reading.answers, decoded.answers, strict=True):
            assert found == as_written(answer, questions[answer.question_id], reading.engine)
            assert (found.presence, found.count, found.chosen) == (answer.presence, answer.count, answer.chosen)
            assert found.text == answer.text
            assert found.reasoning.replace("\r\n", "\n") == answer.reasoning
            assert found.evidence == tuple(t.tracklet_id for t in answer.evidence)
            assert found.unanswered is answer.unanswered
            if answer.certainty is not None:
                assert found.certainty_percent == answer.certainty * 100
                assert found.calibrated is answer.calibrated


def test_negative_report_says_so(make_case: MakeCase, read_groups: ReadGroups, tmp_path: Path) -> None:
    """Without findings there is no measurement container, and every screened finding is stated absent."""
    reading, sources = make_case("brain-normal")
    report = _report(reading, sources, tmp_path)
    assert read_groups(tmp_path / "sr.dcm") == []
    assert measurement_groups(report) == ()
    assert not (tmp_path / "seg.dcm").exists()
    names = [item.ConceptNameCodeSequence[0].CodeMeaning for item in report.ContentSequence]
    assert "Imaging Measurements" not in names
    assert "Qualitative Evaluations" in names
    absent = [i for i in _evaluations(report).ContentSequence if i.ValueType == "CODE"]
    absent = [i for i in absent if i.ConceptCodeSequence[0].CodeMeaning == "Absent"]
    assert len(absent) == sum(answer.presence is Presence.ABSENT for answer in reading.answers) >= 12
    for item in absent:
        values = {child.ConceptNameCodeSequence[0].CodeMeaning for child in item.ContentSequence}
        assert {"Equivalent Meaning of Concept Name", "Finding Site", "Tracking Identifier"} <= values


def test_unanswered_is_never_a_negative(make_case: MakeCase, dciodvfy: Validator, tmp_path: Path) -> None:
    """An unanswered question of any kind is a sentence with its reason, and makes the report PARTIAL."""
    reading, sources = make_case("brain-normal")
    questions = catalogue.by_id(reading.question_set_id).questions
    answers = tuple(
        Answer(
            question_id=question.question_id, kind=question.kind, unanswered=list(Unanswered)[number % len(Unanswered)]
        )
        for number, question in enumerate(questions)
    )
    report = _report(replace(reading, answers=answers), sources, tmp_path)
    assert report.CompletionFlag == "PARTIAL"
    assert len(decode_report(report).answers) == len(questions)
    for answer, found in zip(answers, decode_report(report).answers, strict=True):
        assert (found.unanswered, found.presence, found.count) == (answer.unanswered, None, None)
    texts = [item.TextValue for item in _evaluations(report).ContentSequence if item.ValueType == "TEXT"]
    assert sum(text.startswith("Not assessed: ") for text in texts) == len(questions)
    assert not [i for i in _items(report, "CODE") if i.ConceptCodeSequence[0].CodeMeaning == "Absent"]
    assert [line for line in dciodvfy(tmp_path / "sr.dcm") if ALLOWED not in line] == []


def test_reason_is_coded_and_what_was_said_is_kept(make_case: MakeCase, dciodvfy: Validator, tmp_path: Path) -> None:
    """Each reason for no answer has its code beside its words, and text and reasoning of the engine stay with it."""
    reading, sources = make_case("brain-normal")
    for reason in Unanswered:
        answers = tuple(
            Answer(question_id=a.question_id, kind=a.kind, unanswered=reason, text="Perhaps.", reasoning="Too dark.")
            for a in reading.answers
        )
        report = _report(replace(reading, answers=answers), sources, tmp_path)
        for found in decode_report(report).answers:
            assert (found.unanswered, found.text, found.reasoning) == (reason, "Perhaps.", "Too dark.")
        coded = [i for i in _items(report, "CODE") if i.ConceptNameCodeSequence[0].CodeMeaning == "Not Evaluated"]
        assert [codes.read(i.ConceptCodeSequence[0]) for i in coded] == [codes.NOT_ASSESSED[reason]] * len(answers)
    assert [line for line in dciodvfy(tmp_path / "sr.dcm") if ALLOWED not in line] == []


def test_a_sentence_about_assessment_is_an_answer(make_case: MakeCase, tmp_path: Path) -> None:
    """A caption in the very words of an unanswered question is read back as the caption that it is."""
    reading, sources = make_case("brain")
    words = f"Not assessed: {Unanswered.DEADLINE.value}"
    summary = replace(reading.answers[-1], text=words)
    assert summary.kind is QuestionKind.CAPTIONING
    report = _report(replace(reading, answers=(*reading.answers[:-1], summary)), sources, tmp_path)
    found = decode_report(report).answers[-1]
    assert (found.text, found.unanswered) == (words, None)


def test_every_answer_bears_the_measured_accuracy_of_its_kind(
    make_case: MakeCase, dciodvfy: Validator, tmp_path: Path
) -> None:
    """Value, interval, number and source of what was measured stand with each answer, or that nothing was."""
    reading, sources = make_case("brain")
    measured = MeasuredAccuracy(
        kind=QuestionKind.COUNTING,
        measure="number of lesions exactly right",
        value=0.86,
        low=0.786,
        high=0.926,
        volumes=200,
        source="held-out synthetic volumes",
    )
    reading = replace(reading, engine=replace(reading.engine, accuracy=(measured,)))
    report = _report(reading, sources, tmp_path)
    for answer, found in zip(reading.answers, decode_report(report).answers, strict=True):
        if answer.kind is QuestionKind.COUNTING:
            assert "86.0% (95 % interval 78.6% to 92.6%; 200 held-out synthetic volumes)" in found.accuracy
        else:
            assert found.accuracy == f"not measured for questions of {answer.kind}"
    assert [line for line in dciodvfy(tmp_path / "sr.dcm") if ALLOWED not in line] == []


def test_complete_only_when_all_is_answered(make_case: MakeCase, tmp_path: Path) -> None:
    """With every question answered the report is COMPLETE; it is never VERIFIED nor final."""
    reading, sources = make_case("brain")
    answered = tuple(answer for answer in reading.answers if answer.unanswered is None)
    assert len(answered) == len(reading.answers) - 1
    report = _report(replace(reading, answers=answered), sources, tmp_path)
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert _report(reading, sources, tmp_path).CompletionFlag == "PARTIAL"


def test_research_use_and_engine_are_stated(make_case: MakeCase, tmp_path: Path) -> None:
    """The report says research use only, who read, with which weights, and why there is no segmentation."""
    reading, sources = make_case("brain")
    report = encode_report(reading, sources, segmentation=None, no_segmentation_reason="no Frame of Reference")
    notes = decode_report(report).notes
    assert notes[0] == RESEARCH_USE_STATEMENT
    assert reading.engine.digest in notes[1]
    assert reading.engine.version in notes[1]
    assert notes[2] == "No segmentation: no Frame of Reference"
    assert len(decode_report(_report(reading, sources, tmp_path)).notes) == 2
    assert report.ContentQualification == "RESEARCH"
    assert "research use only" in report.SeriesDescription
    item = report.ContributingEquipmentSequence[1]
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert item.DeviceUID == report.DeviceUID == identity.device_uid(reading.engine)


def test_patient_and_study_are_repeated_verbatim(make_case: MakeCase, tmp_path: Path) -> None:
    """Every patient and study attribute of the source stands unchanged in report and segmentation."""
    reading, sources = make_case("knee")
    _report(reading, sources, tmp_path)
    for name in ("sr.dcm", "seg.dcm"):
        ds = pydicom.dcmread(tmp_path / name)
        present = [keyword for keyword in PATIENT_AND_STUDY if keyword in sources[0]]
        assert len(present) > 8
        for keyword in present:
            assert ds[keyword].value == sources[0][keyword].value
        assert str(ds.PatientName) == CANARIES.patient_name
        assert ds.SeriesInstanceUID != sources[0].SeriesInstanceUID


def test_missing_type_2_attributes_are_written_empty(make_case: MakeCase, dciodvfy: Validator, tmp_path: Path) -> None:
    """A source without patient and study attributes still gives valid objects (PS3.5 7.4.3)."""
    reading, sources = make_case("brain")
    bare = deepcopy(sources)
    for source in bare:
        for keyword in PATIENT_AND_STUDY:
            if keyword in source and keyword != "StudyInstanceUID":
                del source[keyword]
    report = _report(reading, bare, tmp_path)
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyID", "StudyDate"):
        assert report[keyword].value in ("", None)
    for name in ("sr.dcm", "seg.dcm"):
        assert [line for line in dciodvfy(tmp_path / name) if line.startswith("Error")] == []


def test_invalid_source_values_do_not_break_writing(
    make_case: MakeCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What identifies is repeated as it is, a date or number that is none left out; no error, warning or log record."""
    reading, sources = make_case("brain")
    identifying = {
        "PatientSex": "UNKNOWN",
        "PatientName": "A^B^C^D^E^F",
        "AccessionNumber": "more than sixteen characters",
    }
    values = identifying | {"StudyDate": "00010101", "PatientAge": "0Y", "PatientWeight": "61.23500000000000001"}
    odd = deepcopy(sources)
    for source in odd:
        for keyword, value in values.items():
            vr = pydicom.datadict.dictionary_VR(keyword)
            source[keyword] = DataElement(keyword, vr, value, validation_mode=pydicom.config.IGNORE)
    report = _report(reading, odd, tmp_path)
    assert caplog.records == []
    with pydicom.config.disable_value_validation():
        assert {keyword: str(report[keyword].value) for keyword in identifying} == identifying
    assert report.StudyDate == ""
    assert not {"PatientAge", "PatientWeight"} & set(report.dir())
    assert len(decode_report(report).boxes) == len(reading.findings)


def test_nothing_of_the_patient_is_logged(
    make_case: MakeCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even the libraries, at their most talkative, get to log a canary."""
    reading, sources = make_case("brain")
    with caplog.at_level(logging.DEBUG):
        _report(reading, sources, tmp_path)
    said = " ".join(record.getMessage() for record in caplog.records)
    for canary in (CANARIES.patient_name, CANARIES.patient_id, "NIGHTINGALE"):
        assert canary not in said


def test_evidence_lists_images_before_the_segmentation(make_case: MakeCase, tmp_path: Path) -> None:
    """The image series is the first of the evidence, whole; the segmentation follows (a viewer looks there)."""
    reading, sources = make_case("brain")
    report = _report(reading, sources, tmp_path)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    images, segmentations = study.ReferencedSeriesSequence
    assert images.SeriesInstanceUID == sources[0].SeriesInstanceUID
    listed = {item.ReferencedSOPInstanceUID for item in images.ReferencedSOPSequence}
    assert listed == {source.SOPInstanceUID for source in sources}
    assert segmentations.SeriesInstanceUID == identity.result_uids(reading).series(ResultKind.SEG)


def test_segments_are_referenced_by_their_tracklets(make_case: MakeCase, tmp_path: Path) -> None:
    """Report and segmentation name the same segment by number, Tracking ID and Tracking UID."""
    reading, sources = make_case("brain")
    report = _report(reading, sources, tmp_path)
    segments = {s.TrackingUID: s for s in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence}
    links = [i for i in _evaluations(report).ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121151"]
    assert [link.TextValue for link in links] == [t.tracklet_id for t in reading.tracklets]
    for link in links:
        uid = next(i.UID for i in link.ContentSequence if i.ValueType == "UIDREF")
        image = next(i for i in link.ContentSequence if i.ValueType == "IMAGE").ReferencedSOPSequence[0]
        assert segments[uid].TrackingID == link.TextValue
        assert image.ReferencedSegmentNumber == segments[uid].SegmentNumber


def test_times_are_the_readings(make_case: MakeCase, tmp_path: Path) -> None:
    """Content, series and creation time are the reading's start, in its own zone or the source's declared one."""
    reading, sources = make_case("brain")
    local = replace(reading, started_at=reading.started_at.astimezone(timezone(timedelta(hours=9))))
    for ds in (_report(local, sources, tmp_path), pydicom.dcmread(tmp_path / "seg.dcm")):
        for kind in ("Content", "Series", "InstanceCreation"):
            assert (ds[f"{kind}Date"].value, ds[f"{kind}Time"].value) == ("20260304", "140607.000890")
        assert "TimezoneOffsetFromUTC" not in ds, "the source declares none"
    shifted = deepcopy(sources)
    for source in shifted:
        source.TimezoneOffsetFromUTC = "-0530"
    report = _report(reading, shifted, tmp_path)
    assert (report.ContentDate, report.ContentTime) == ("20260303", "233607.000890")
    assert report.TimezoneOffsetFromUTC == "-0530"


def test_twice_gives_the_same_bytes(make_case: MakeCase, tmp_path: Path) -> None:
    """No clock and no random UID gets into a report."""
    reading, sources = make_case("knee")
    _report(reading, sources, tmp_path)
    first = (tmp_path / "sr.dcm").read_bytes()
    _report(reading, tuple(reversed(sources)), tmp_path)
    assert (tmp_path / "sr.dcm").read_bytes() == first


@pytest.mark.parametrize(
    ("declared", "text", "written"),
    [
        ("ISO_IR 100", "no lesion", "ISO_IR 100"),
        ("ISO_IR 100", "lésion", "ISO_IR 100"),
        ("ISO_IR 100", "病変なし", "ISO_IR 192"),
        ("", "no lesion", None),
        ("", "lésion", "ISO_IR 192"),
        ("ISO_IR 192", "病変なし", "ISO_IR 192"),
    ],
)
def test_text_fits_its_character_set(
    declared: str, text: str, written: str | None, make_case: MakeCase, dciodvfy: Validator, tmp_path: Path
) -> None:
    """The source's character set is kept where it can hold our text; else all is Unicode, the name included."""
    reading, sources = make_case("brain-normal")
    sources = deepcopy(sources)
    for source in sources:
        source.SpecificCharacterSet = declared
        source.PatientName = "Müller^Ägidius" if declared else "Mueller^Aegidius"
    name = str(sources[0].PatientName)
    summary = replace(reading.answers[-1], text=text)
    report = _report(replace(reading, answers=(*reading.answers[:-1], summary)), sources, tmp_path)
    assert report.get("SpecificCharacterSet") == written
    assert str(report.PatientName) == name
    assert decode_report(report).answers[-1].text == text
    assert [line for line in dciodvfy(tmp_path / "sr.dcm") if line.startswith("Error")] == []


def test_model_text_is_cleaned(make_case: MakeCase, dciodvfy: Validator, tmp_path: Path) -> None:
    """Control characters, lone surrogates and outer blanks of a model's text never reach the file."""
    reading, sources = make_case("brain-normal")
    wild = " line one\nline\ttwo\x00\x1b[31m \ud800 end  \n"
    summary = replace(reading.answers[-1], text=wild, reasoning="\x07")
    report = _report(replace(reading, answers=(*reading.answers[:-1], summary)), sources, tmp_path)
    found = decode_report(report).answers[-1]
    assert found.text == clean_text(wild) == "line one\r\nline\ttwo  [31m   end"
    assert found.reasoning == ""
    assert clean_text(clean_text(wild)) == clean_text(wild)
    assert [line for line in dciodvfy(tmp_path / "sr.dcm") if line.startswith("Error")] == []


def test_classification_is_coded_where_the_code_is_sure(make_case: MakeCase) -> None:
    """A sure label is a code, none of these is text, and both come back as the chosen option."""
    reading, sources = make_case("brain")
    place = next(n for n, a in enumerate(reading.answers) if a.kind is QuestionKind.CLASSIFICATION)
    for option, value_type in (("Lacunar infarct", "CODE"), ("None of these", "TEXT"), ("Dural thickening", "TEXT")):
        answers = list(reading.answers)
        answers[place] = replace(answers[place], chosen=(option,))
        report = encode_report(replace(reading, answers=tuple(answers)), sources, segmentation=None)
        assert decode_report(report).answers[place].chosen == (option,)
        item = [i for i in _evaluations(report).ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121071"]
        assert [i.ValueType for i in item] == [value_type]


def test_summary_code_tells_silence_from_absence(make_case: MakeCase) -> None:
    """The summary says whether all, some or none of the questions were answered, and whether anything was found."""

    def summary(reading: Reading, sources: tuple[Dataset, ...]) -> str:
        report = encode_report(reading, sources, segmentation=None)
        items = _evaluations(report).ContentSequence
        (item,) = [item for item in items if item.ConceptNameCodeSequence[0].CodeValue == "111017"]
        return str(item.ConceptCodeSequence[0].CodeValue)

    normal, sources = make_case("brain-normal")
    silent = tuple(
        Answer(question_id=answer.question_id, kind=answer.kind, unanswered=Unanswered.DEADLINE)
        for answer in normal.answers
    )
    answered = tuple(answer for answer in normal.answers if answer.unanswered is None)
    assert summary(normal, sources) == codes.SOME_WITHOUT_FINDINGS.value
    assert summary(replace(normal, answers=answered), sources) == codes.ALL_WITHOUT_FINDINGS.value
    assert summary(replace(normal, answers=silent), sources) == codes.NONE_SUCCEEDED.value
    found, sources = make_case("brain")
    answered = tuple(answer for answer in found.answers if answer.unanswered is None)
    assert summary(found, sources) == codes.SOME_WITH_FINDINGS.value
    assert summary(replace(found, answers=answered), sources) == codes.ALL_WITH_FINDINGS.value


def test_detections_are_named_by_what_was_asked(make_case: MakeCase) -> None:
    """A question of one code bears it; artefacts are artefacts; mixed and unsure ones are generic at their site."""
    reading, sources = make_case("brain-normal")
    items = _evaluations(encode_report(reading, sources, segmentation=None)).ContentSequence
    named = {
        child.TextValue: item
        for item in items
        for child in item.get("ContentSequence", [])
        if child.ConceptNameCodeSequence[0].CodeValue == "112039"
    }

    def name_and_site(question_id: str) -> tuple[str, str]:
        item = named[question_id]
        site = next(i for i in item.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "363698007")
        return item.ConceptNameCodeSequence[0].CodeMeaning, site.ConceptCodeSequence[0].CodeMeaning

    assert name_and_site("brain.quality") == ("Image artifact(s)", "Brain")
    assert name_and_site("brain.screen.mass") == ("Mass", "Brain")
    assert name_and_site("brain.screen.lacunar-infarct") == ("Lacunar infarction", "Brain")
    assert name_and_site("brain.screen.extra-axial") == ("Morphologically Abnormal Structure", "Meninges")
    assert name_and_site("brain.screen.dura") == ("Morphologically Abnormal Structure", "Dura mater")
    assert name_and_site("brain.any") == ("Morphologically Abnormal Structure", "Brain")


def test_modifiers_reach_the_group(
    make_case: MakeCase, make_reading: Callable[..., Reading], read_groups: ReadGroups, tmp_path: Path
) -> None:
    """A sprain's severity is an evaluation, its topography a modifier of the site, the side a laterality."""
    _, sources = make_case("knee")
    finding = Finding(label="Ligament - MCL High Grade sprain", frame_index=3, box=Box(x0=1, y0=2, x1=9, y1=8))
    tracklet = Tracklet(tracklet_id="lesion-1", findings=(finding,), laterality=Laterality.LEFT)
    reading = make_reading(sources, Anatomy.KNEE, (tracklet,))
    _report(reading, sources, tmp_path)
    (group,) = read_groups(tmp_path / "sr.dcm")
    (site,) = group.finding_sites
    assert site.topographical_modifier == CodedConcept(value="255561001", scheme_designator="SCT", meaning="Medial")
    assert site.laterality == CodedConcept(value="7771000", scheme_designator="SCT", meaning="Left")
    said = {str(e.name.meaning): codes.read(e[0].ConceptCodeSequence[0]) for e in group.get_qualitative_evaluations()}
    assert said["Severity"] == vocabulary.SEVERE


def test_comment_names_finding_and_score(make_case: MakeCase, make_reading: Callable[..., Reading]) -> None:
    """A viewer's label reads as finding, tracklet and score; without a score it leaves it out. The score is exact."""
    _, sources = make_case("brain")
    box = Box(x0=1, y0=2, x1=9, y1=8)
    findings = (
        Finding(label="Mass", frame_index=3, box=box, score=0.8340000000000001),
        Finding(label="Mass", frame_index=4, box=box),
    )
    reading = make_reading(sources, Anatomy.BRAIN, (Tracklet(tracklet_id="lesion-1", findings=findings),))
    decoded = decode_report(encode_report(reading, sources, segmentation=None))
    assert [box.comment for box in decoded.boxes] == ["Mass, lesion-1 (score 0.83)", "Mass, lesion-1"]
    assert [box.score for box in decoded.boxes] == [0.8340000000000001, None]
    assert [box.label for box in decoded.boxes] == ["Mass", "Mass"]


def test_refusals(make_case: MakeCase) -> None:
    """A missing source, an unknown label or question set, and an object that is no report of ours are errors."""
    reading, sources = make_case("brain")
    with pytest.raises(IncompleteSeries):
        encode_report(reading, sources[:-1], segmentation=None)
    with pytest.raises(EngineError, match="question set"):
        encode_report(replace(reading, question_set_id="toes-1"), sources, segmentation=None)
    finding = Finding(label="Alien implant", frame_index=0, box=Box(x0=0, y0=0, x1=1, y1=1))
    strange = Tracklet(tracklet_id="lesion-1", findings=(finding,))
    with pytest.raises(EngineError, match="vocabulary"):
        encode_report(replace(reading, answers=(), tracklets=(strange,)), sources, segmentation=None)
    with pytest.raises(MalformedInstance, match="TID 1500"):
        decode_report(sources[0])
    report = encode_report(reading, sources, segmentation=None)
    for item in list(_items(report, "SCOORD")):
        item.GraphicData = [*item.GraphicData[:4], 300, *item.GraphicData[5:]]
    with pytest.raises(MalformedInstance, match="lacks a part"):
        decode_report(report)
