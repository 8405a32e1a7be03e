"""What a revised reading takes over from the earlier one of its series, in memory and in its objects."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io import identity
from dicom_io.kinds import ResultKind
from dicom_io.objects.answers import REVISED
from dicom_io.objects.seg import decode_segmentation
from dicom_io.objects.sr import decode_report
from dicom_io.results import differences, write_results
from dicom_io.revision import revise, with_asked
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.questions import Answer, Question, QuestionKind
from sgmri.readings import EngineIdentity, Reading, from_json, to_json
from sgmri.volume import Anatomy, FrameRef

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
BOX = Box(x0=10, y0=10, x1=20, y1=20)


def tracklet(name: str, boxes: dict[int, Box], label: str = "Mass") -> Tracklet:
    findings = (Finding(label=label, frame_index=index, box=box) for index, box in boxes.items())
    return Tracklet(tracklet_id=name, findings=tuple(findings))


def reading_of(instances: range, *tracklets: Tracklet, text: str = "") -> Reading:
    """Return a reading of the instances with these numbers, whose caption says ``text`` of all its tracklets."""
    answer = Answer(question_id="brain.summary", kind=QuestionKind.CAPTIONING, text=text, evidence=tracklets)
    return Reading(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        anatomy=Anatomy.BRAIN,
        question_set_id="brain-1",
        engine=EngineIdentity(name="classical", version="1", digest="0" * 64),
        started_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=f"2.25.{100 + number}",
                frame_number=None,
                position_mm=(0.0, 0.0, 4.0 * number),
            )
            for number in instances
        ),
        rows=64,
        columns=64,
        answers=(answer,),
        tracklets=tracklets,
    )


def test_the_predecessor_is_the_report_of_the_newest_earlier_reading() -> None:
    """Of two earlier readings the newest is named, by the UIDs that its report bears; without any nothing changes."""
    first, second, third = (reading_of(range(count)) for count in (5, 6, 7))
    revised = revise(third, [second, first])
    uids = identity.result_uids(second)
    assert revised.predecessor is not None
    assert revised.predecessor.sop_instance_uid == uids.instance(ResultKind.SR)
    assert revised.predecessor.series_instance_uid == uids.series(ResultKind.SR)
    assert identity.result_uids(revised) == identity.result_uids(third)
    assert revise(first, []) == first


def test_a_box_on_the_same_instance_keeps_its_identifiers_though_its_frame_index_shifts() -> None:
    """Two instances come in below: the lesion is the earlier one, box by box, and its new box has a UID of its own."""
    before = reading_of(range(2, 7), tracklet("lesion-1", {1: BOX, 2: BOX}))
    moved = Box(x0=11, y0=10, x1=21, y1=20)
    now = reading_of(range(7), tracklet("lesion-1", {3: moved, 4: BOX, 5: BOX}))
    (followed,) = revise(now, [before]).tracklets
    (earlier,) = before.tracklets
    old, new = identity.result_uids(before), identity.result_uids(now)
    assert new.segment_uid(followed) == old.segment_uid(earlier)
    uids = [new.box_uid(followed, finding) for finding in followed.findings]
    assert uids[:2] == [old.box_uid(earlier, finding) for finding in earlier.findings]
    assert uids[2] not in uids[:2]
    assert [finding.box for finding in followed.findings] == [moved, BOX, BOX]


@pytest.mark.parametrize(
    "now",
    [
        tracklet("lesion-1", {2: BOX}, label="Edema"),
        tracklet("lesion-1", {2: Box(x0=17, y0=10, x1=27, y1=20)}),
        tracklet("lesion-1", {3: BOX}),
    ],
    ids=["another label", "hardly overlapping", "another instance"],
)
def test_what_does_not_match_is_new(now: Tracklet) -> None:
    """Another label, place or instance is another finding: no identifier of the earlier one, not even its name."""
    before = reading_of(range(5), tracklet("lesion-1", {2: BOX}))
    (new,) = revise(reading_of(range(6), now), [before]).tracklets
    assert new.tracklet_id == "lesion-2"
    assert new.tracking_uid is None
    assert new.findings == now.findings


def test_names_follow_the_findings_and_so_do_the_sentences() -> None:
    """A finding that comes first now does not take the name of the first one before; sentences say so too."""
    other = Box(x0=40, y0=40, x1=50, y1=50)
    before = reading_of(range(5), tracklet("lesion-1", {2: BOX}), tracklet("lesion-2", {3: BOX}))
    now = reading_of(
        range(6),
        tracklet("lesion-1", {1: other}),
        tracklet("lesion-2", {2: BOX}),
        tracklet("lesion-3", {5: other}),
        text="lesion-1 and lesion-2, not lesion-11 or lesion-3.",
    )
    revised = revise(now, [before])
    assert [one.tracklet_id for one in revised.tracklets] == ["lesion-4", "lesion-1", "lesion-3"]
    (answer,) = revised.answers
    assert answer.evidence == revised.tracklets
    assert answer.text == "lesion-4 and lesion-1, not lesion-11 or lesion-3."


def test_each_earlier_finding_is_continued_once_by_the_best() -> None:
    """Of two findings over the same earlier one, that with the larger overlap keeps the identity."""
    before = reading_of(range(5), tracklet("lesion-1", {2: BOX}))
    near = Box(x0=12, y0=10, x1=22, y1=20)
    now = reading_of(range(6), tracklet("lesion-1", {2: near}), tracklet("lesion-2", {2: BOX}))
    assert [one.tracklet_id for one in revise(now, [before]).tracklets] == ["lesion-3", "lesion-1"]


def test_identifiers_survive_a_second_revision() -> None:
    """Three readings of a growing series: the lesion's UIDs are those of the first."""
    first, second, third = (reading_of(range(count), tracklet("lesion-1", {2: BOX})) for count in (5, 6, 7))
    once = revise(second, [first])
    twice = revise(third, [once, first])
    (lesion,) = twice.tracklets
    original = identity.result_uids(first)
    assert identity.result_uids(twice).segment_uid(lesion) == original.segment_uid(first.tracklets[0])
    assert identity.result_uids(twice).box_uid(lesion, lesion.findings[0]) == original.box_uid(
        first.tracklets[0], first.tracklets[0].findings[0]
    )


def test_a_reading_of_the_same_frames_is_the_earlier_one() -> None:
    """Where nothing that is read has changed, an earlier reading stands, and no report names itself as predecessor."""
    first = reading_of(range(5), tracklet("lesion-1", {2: BOX}))
    second = revise(reading_of(range(6)), [first])
    again = replace(reading_of(range(6)), started_at=second.started_at + timedelta(hours=1))
    assert revise(again, [second, first]) is second
    assert revise(reading_of(range(5)), [second, first]) is first


@pytest.mark.parametrize("name", ["brain", "brain-enhanced", "knee", "brain-normal"])
def test_a_revised_report_is_valid_and_names_its_predecessor(
    name: str, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """The validator has no complaint; predecessor, evidence, note and identifiers stand in the files, provably."""
    reading, _ = make_case(name)
    early = tuple(one for one in reading.tracklets if one.frame_indices[-1] < len(reading.frames) - 4)
    before = replace(reading, frames=reading.frames[:-4], tracklets=early, answers=())
    revised = revise(reading, [before])
    written = write_results(revised, phantoms.write(phantoms.make(name), tmp_path / "sources"), tmp_path)
    for result in written:
        assert [line for line in dciodvfy(result.path) if "DeviceUID" not in line] == []
        assert pydicom.dcmread(result.path).SeriesDescription == "sgmri AI findings, revised (research use only)"
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    decoded = decode_report(report)
    assert decoded.predecessor == revised.predecessor
    assert REVISED in decoded.notes
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == reading.series_instance_uid
    evidence = [one.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for one in s.ReferencedSOPSequence]
    old = identity.result_uids(before)
    assert evidence[-1] == old.instance(ResultKind.SR)
    kept = {old.box_uid(one, finding) for one in early for finding in one.findings}
    assert kept <= {box.tracking_uid for box in decoded.boxes}
    if reading.tracklets:
        segments = decode_segmentation(pydicom.dcmread(tmp_path / "seg.dcm"))
        assert {old.segment_uid(one) for one in early} <= {segment.tracking_uid for segment in segments}


def test_an_answer_that_is_added_stands_in_a_valid_report(
    make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """All that was said stands, and the answer besides, about a known box and a new one; no complaint by dciodvfy."""
    before, _ = make_case("brain")
    known = before.tracklets[0]
    new = tracklet("again-1", {1: BOX})
    text = f"{known.tracklet_id} lies deep, and again-1 is as bright."
    question = Question(question_id="asked.0.free-text", kind=QuestionKind.FREE_TEXT, text="Which is <the> deepest?")
    said = Answer(
        question_id=question.question_id,
        kind=question.kind,
        text=text.replace(known.tracklet_id, "again-2"),
        evidence=(new, replace(known, tracklet_id="again-2")),
    )
    alone = replace(before, answers=(said,), tracklets=said.evidence, asked=(question,))
    revised = revise(with_asked(before, alone), [before])
    ids = [one.tracklet_id for one in before.tracklets]
    assert [one.tracklet_id for one in revised.tracklets] == [*ids, "again-1"]
    written = write_results(revised, phantoms.write(phantoms.make("brain"), tmp_path / "sources"), tmp_path)
    for result in written:
        assert [line for line in dciodvfy(result.path) if "DeviceUID" not in line] == []
    decoded = decode_report(pydicom.dcmread(tmp_path / "sr.dcm"))
    answer = decoded.answers[-1]
    assert (answer.question, answer.text) == (question.text, text)
    assert answer.evidence == ("again-1", known.tracklet_id)
    assert answer.accuracy == "not measured for questions of free text"
    assert len(decoded.answers) == len(before.answers) + 1
    old = identity.result_uids(before)
    kept = {old.box_uid(one, finding) for one in before.tracklets for finding in one.findings}
    assert kept <= {box.tracking_uid for box in decoded.boxes}
    assert decoded.predecessor is not None
    assert identity.reading_key(from_json(to_json(revised))) == identity.reading_key(revised)


@pytest.mark.parametrize("what", ["predecessor", "note"])
def test_a_report_that_hides_its_predecessor_is_noticed(what: str, make_case: MakeCase, tmp_path: Path) -> None:
    """Reference or note of the earlier report lost on the way is a difference, without its UID."""
    reading, _ = make_case("brain-normal")
    revised = revise(reading, [replace(reading, frames=reading.frames[:-4], answers=())])
    write_results(revised, phantoms.write(phantoms.make("brain-normal"), tmp_path / "sources"), tmp_path)
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    assert differences(revised, {ResultKind.SR: report}) == ()
    if what == "predecessor":
        del report.PredecessorDocumentsSequence
    else:
        evaluations = next(i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "C0034375")
        del evaluations.ContentSequence[2]
    (found,) = differences(revised, {ResultKind.SR: report})
    assert "earlier report" in found
    assert "2.25." not in found
