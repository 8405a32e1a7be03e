import html
import re
import subprocess
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from dicom_io import identity
from dicom_io.kinds import ResultKind
from dicom_io.objects.sr import encode_report
from dicom_io.objects.text_report import as_text, decode_text_report, encode_text_report
from sgmri import RESEARCH_USE_STATEMENT, catalogue
from sgmri.errors import EngineError, IncompleteSeries, MalformedInstance
from sgmri.questions import Answer, Presence, QuestionKind, Unanswered
from sgmri.readings import Reading, ReportRef

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
Validator = Callable[[Path], list[str]]
CASES = ["brain", "brain-enhanced", "brain-normal", "knee", "knee-enhanced"]
ALLOWED = "DeviceUID"
"""The one warning of dciodvfy that is wrong: DeviceUID in Contributing Equipment is type 3 (PS3.3 C.12.1)."""


def _saved(ds: Dataset, path: Path) -> Dataset:
    ds.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


@pytest.mark.parametrize("name", CASES)
def test_page_is_valid_and_returns(name: str, make_case: MakeCase, dciodvfy: Validator, tmp_path: Path) -> None:
    """The validator finds nothing, and the page read back from its file says what was to be said."""
    reading, sources = make_case(name)
    report = _saved(encode_text_report(reading, sources), tmp_path / "text.dcm")
    assert [line for line in dciodvfy(tmp_path / "text.dcm") if ALLOWED not in line] == []
    page = decode_text_report(report)
    assert page == as_text(reading, sources)
    assert [answer.question_id for answer in page.answers] == [answer.question_id for answer in reading.answers]
    assert page.notes[0] == RESEARCH_USE_STATEMENT
    assert len(page.tracklets) == len(reading.tracklets)


def test_each_answer_is_in_words(make_case: MakeCase) -> None:
    """Value, certainty, places, accuracy and reasoning of each kind of answer, and why there is none."""
    reading, sources = make_case("brain-enhanced")
    page = decode_text_report(encode_text_report(reading, sources, no_segmentation_reason="no Frame of Reference"))
    assert page.notes[2] == "No segmentation: no Frame of Reference"
    questions = catalogue.by_id(reading.question_set_id)
    for answer, found in zip(reading.answers, page.answers, strict=True):
        assert found.question == questions[answer.question_id].text
        assert found.accuracy == f"not measured for questions of {answer.kind}"
        assert found.reasoning.replace("\r\n", "\n") == answer.reasoning
        assert found.frames.count("frames ") == len(answer.evidence)
        match answer:
            case Answer(unanswered=Unanswered.OUTSIDE_ENGINE_SCOPE):
                assert found.answer == "Not assessed: outside the engine's scope"
            case Answer(presence=Presence.PRESENT):
                certainty = "83 %. Calibrated on a validation set."
                assert (found.answer, found.sentence, found.certainty) == ("Present", "Yes.", certainty)
            case Answer(presence=Presence.ABSENT):
                assert (found.answer, found.sentence) == ("Absent", "No.")
                assert found.certainty.startswith("10 %. Not calibrated")
            case Answer(kind=QuestionKind.COUNTING):
                assert found.answer == str(answer.count)
            case Answer(kind=QuestionKind.CLASSIFICATION):
                assert found.answer == answer.chosen[0]
            case _:
                assert (found.answer, found.sentence) == (answer.text, "")


def test_places_are_in_the_numbers_that_a_viewer_shows(make_case: MakeCase) -> None:
    """Frame numbers of one multi-frame image, Instance Numbers of single frames, else the place in the stack."""
    reading, sources = make_case("brain-enhanced")
    first = reading.tracklets[0].findings[0]
    number = reading.frames[first.frame_index].frame_number
    numbers = sorted(reading.frames[i].frame_number or 0 for i in reading.tracklets[0].frame_indices)
    assert number in numbers
    assert f"frames {numbers[0]}" in as_text(reading, sources).tracklets[0]
    reading, sources = make_case("brain")
    shown = deepcopy(sources)
    for place, source in enumerate(shown):
        source.InstanceNumber = 1001 + place
    number_of = {source.SOPInstanceUID: int(source.InstanceNumber) for source in shown}
    indices = reading.tracklets[0].frame_indices
    numbers = sorted(number_of[reading.frames[index].sop_instance_uid] for index in indices)
    assert f"images {numbers[0]}" in as_text(reading, shown).tracklets[0]
    for wrong in ("1001", None):
        shown[0].InstanceNumber = shown[1].InstanceNumber = wrong
        assert f"slices of the stack {indices[0] + 1}" in as_text(reading, shown).tracklets[0]


def test_viewer_rules_hold(make_case: MakeCase) -> None:
    """No title of a measurement report, a headed line for each item, and no item that a page cannot show."""
    reading, sources = make_case("knee")
    report = encode_text_report(reading, sources)
    assert report.SOPClassUID == EnhancedSRStorage
    assert report.ConceptNameCodeSequence[0].CodeValue != "126000"

    def check(container: Dataset) -> None:
        assert container.ContinuityOfContent == "SEPARATE", "headings are left out of what is continuous"
        for item in container.ContentSequence:
            if item.ValueType == "CONTAINER":
                check(item)
            else:
                assert item.ValueType in {"TEXT", "CODE", "UIDREF"}
                assert "ContentSequence" not in item

    check(report)


def test_it_is_a_series_of_its_own(make_case: MakeCase, tmp_path: Path) -> None:
    """Own UIDs, number and description beside the boxes' report, the same at every writing."""
    reading, sources = make_case("brain")
    report, boxes = encode_text_report(reading, sources), encode_report(reading, sources, segmentation=None)
    uids = identity.result_uids(reading)
    assert (report.SeriesInstanceUID, report.SOPInstanceUID) == (
        uids.series(ResultKind.TEXT_SR),
        uids.instance(ResultKind.TEXT_SR),
    )
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber", "SeriesDescription"):
        assert report[keyword].value != boxes[keyword].value
    assert report.StudyInstanceUID == boxes.StudyInstanceUID
    assert report.CompletionFlag == boxes.CompletionFlag == "PARTIAL"
    _saved(report, tmp_path / "1.dcm")
    _saved(encode_text_report(reading, tuple(reversed(sources))), tmp_path / "2.dcm")
    assert (tmp_path / "1.dcm").read_bytes() == (tmp_path / "2.dcm").read_bytes()


def test_what_revises_says_what_it_revises(make_case: MakeCase) -> None:
    """The predecessor of a revision is named and can be read back; an empty reading still has its page."""
    reading, sources = make_case("brain-normal")
    earlier = ReportRef(sop_class_uid=EnhancedSRStorage, sop_instance_uid="2.25.7", series_instance_uid="2.25.8")
    page = decode_text_report(encode_text_report(replace(reading, predecessor=earlier), sources))
    assert page.predecessor == earlier
    assert decode_text_report(encode_text_report(replace(reading, answers=()), sources)).answers == ()


def test_dcmtk_makes_a_page_of_it(make_case: MakeCase, tmp_path: Path) -> None:
    """An independent program renders every question, answer and the statement as HTML."""
    reading, sources = make_case("brain")
    path = tmp_path / "text.dcm"
    page = decode_text_report(_saved(encode_text_report(reading, sources), path))
    try:
        done = subprocess.run(["dsr2html", str(path)], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("dsr2html of DCMTK is not installed")
    shown = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", done.stdout)))
    for answer in page.answers:
        assert answer.question in shown
        assert answer.answer in shown
    assert RESEARCH_USE_STATEMENT in shown


def test_refusals(make_case: MakeCase) -> None:
    """A missing source, an unknown question set, and a report of boxes are errors."""
    reading, sources = make_case("brain")
    with pytest.raises(IncompleteSeries):
        encode_text_report(reading, sources[1:])
    with pytest.raises(EngineError, match="question set"):
        encode_text_report(replace(reading, question_set_id="toes-1"), sources)
    broken = encode_text_report(reading, sources)
    del broken.ContentSequence[-1].ContentSequence[0].ContentSequence[0].TextValue
    for other in (encode_report(reading, sources, segmentation=None), sources[0], broken):
        with pytest.raises(MalformedInstance, match="text report"):
            decode_text_report(other)
