from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import PlanarROIMeasurementsAndQualitativeEvaluations
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.kinds import FILE_NAME, ResultKind
from dicom_io.objects.sources import leniently
from dicom_io.objects.sr import decode_report, measurement_groups
from dicom_io.profiles import KINDS, Profile
from dicom_io.results import differences, differences_in_files, write_results
from dicom_io.writers import WRITERS
from sgmri.errors import EngineError, IncompleteSeries, MalformedInstance
from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.geometry import Box
from sgmri.readings import Reading, from_json, to_json
from sgmri.volume import Anatomy

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
MakeReading = Callable[[Sequence[Dataset], Anatomy, tuple[Tracklet, ...]], Reading]
NAMES = ["brain", "brain-enhanced", "brain-normal", "brain-nonsquare", "knee", "knee-enhanced"]
SR_CLASS, SEG_CLASS = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4"


def _files(name: str, directory: Path) -> tuple[Path, ...]:
    return phantoms.write(phantoms.make(name), directory / "sources")


def _paths(directory: Path) -> dict[ResultKind, Path]:
    return {kind: directory / name for kind, name in FILE_NAME.items() if (directory / name).exists()}


@pytest.fixture(scope="module")
def written(make_case: MakeCase, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Reading, Path]]:
    """Write a phantom's results once; returns the reading and the folder."""
    folders: dict[str, tuple[Reading, Path]] = {}

    def write(name: str) -> tuple[Reading, Path]:
        if name not in folders:
            directory = tmp_path_factory.mktemp(name)
            reading, _ = make_case(name)
            write_results(reading, _files(name, directory), directory)
            folders[name] = (reading, directory)
        return folders[name]

    return write


@pytest.mark.parametrize("name", NAMES)
def test_results_are_written_and_equal_the_reading(name: str, make_case: MakeCase, tmp_path: Path) -> None:
    """Both objects stand under their names, described as they are, and the files differ in nothing."""
    reading, _ = make_case(name)
    written = write_results(reading, _files(name, tmp_path), tmp_path)
    kinds = [ResultKind.SEG, ResultKind.SR] if reading.tracklets else [ResultKind.SR]
    assert [result.kind for result in written] == kinds
    for result in written:
        ds = pydicom.dcmread(result.path)
        assert result.path == tmp_path / ("sr.dcm" if result.kind is ResultKind.SR else "seg.dcm")
        assert (ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID) == (
            result.sop_class_uid,
            result.sop_instance_uid,
            result.series_instance_uid,
        )
        assert result.sop_class_uid == (SR_CLASS if result.kind is ResultKind.SR else SEG_CLASS)
        assert ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert differences_in_files(reading, {result.kind: result.path for result in written}) == ()
    assert {path.name for path in tmp_path.iterdir()} == {"sources", *(result.path.name for result in written)}


def test_second_time_gives_the_same_bytes(make_case: MakeCase, tmp_path: Path) -> None:
    """A redelivered task writes the same files, also from the journal's JSON and files in another order."""
    reading, _ = make_case("brain-oblique")
    paths = _files("brain-oblique", tmp_path)
    first = [result.path.read_bytes() for result in write_results(reading, paths, tmp_path)]
    (tmp_path / "again").mkdir()
    again = write_results(from_json(to_json(reading)), paths[::-1], tmp_path / "again")
    assert [result.path.read_bytes() for result in again] == first


def test_source_that_forbids_a_segmentation_still_gets_a_report(make_case: MakeCase, tmp_path: Path) -> None:
    """Without a Frame of Reference the report alone is written and says why; an older segmentation goes."""
    reading, _ = make_case("brain")
    paths = _files("brain", tmp_path)
    assert len(write_results(reading, paths, tmp_path)) == 2
    for path in paths:
        ds = pydicom.dcmread(path)
        del ds.FrameOfReferenceUID
        ds.save_as(path)
    (result,) = write_results(reading, paths, tmp_path)
    assert result.kind is ResultKind.SR
    assert not (tmp_path / "seg.dcm").exists()
    notes = decode_report(pydicom.dcmread(result.path)).notes
    assert notes[2].startswith("No segmentation: a segmentation needs a Frame of Reference UID")


def test_lossy_sources_are_stated_in_the_report(make_case: MakeCase, tmp_path: Path) -> None:
    """A reading of images with lossy compression says so in the report, and a report that does not is noticed."""
    plain, _ = make_case("brain")
    paths = _files("brain", tmp_path)
    reading = replace(plain, is_lossy=True)
    write_results(reading, paths, tmp_path)
    assert "compressed with loss" in decode_report(pydicom.dcmread(tmp_path / "sr.dcm")).notes[2]
    assert any("lossy" in one for one in differences_in_files(plain, _paths(tmp_path)))


def test_anatomy_by_image_is_stated_in_the_report(make_case: MakeCase, tmp_path: Path) -> None:
    """A reading whose anatomy only the image says has that in the report, and a report that has not is noticed."""
    plain, _ = make_case("brain")
    paths = _files("brain", tmp_path)
    write_results(plain, paths, tmp_path)
    reading = replace(plain, anatomy_certainty=0.987)
    assert any("image" in one for one in differences_in_files(reading, _paths(tmp_path)))
    (tmp_path / "named").mkdir()
    write_results(reading, paths, tmp_path / "named")
    notes = decode_report(pydicom.dcmread(tmp_path / "named" / "sr.dcm")).notes
    assert notes[2] == "No header names the body part: brain by the image, certainty 0.99."


def test_files_of_other_instances_are_passed_over(make_case: MakeCase, tmp_path: Path) -> None:
    """Foreign instances and files that are no DICOM among the paths do not matter; a missing instance does."""
    reading, _ = make_case("knee")
    paths = _files("knee", tmp_path)
    stray = tmp_path / "stray.dcm"
    stray.write_bytes(b"no DICOM at all" * 40)
    foreign = _files("brain-enhanced", tmp_path / "foreign")
    assert len(write_results(reading, [stray, *foreign, *paths], tmp_path)) == 2
    with pytest.raises(IncompleteSeries, match="1 are missing"):
        write_results(reading, paths[1:], tmp_path)


def _moved_box(report: Dataset, _: Dataset) -> None:
    region = next(item for item in _groups(report)[0].ContentSequence if item.ValueType == "SCOORD")
    data = list(region.GraphicData)
    region.GraphicData = [value + (1 if place % 2 == 0 else 0) for place, value in enumerate(data)]


def _groups(report: Dataset) -> Sequence[Dataset]:
    return measurement_groups(report)


def _lost_box(report: Dataset, _: Dataset) -> None:
    measurements = next(i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")
    del measurements.ContentSequence[-1]


def _other_frame(report: Dataset, _: Dataset) -> None:
    first, second = _groups(report)[:2]
    one, two = (next(i for i in g.ContentSequence if i.ValueType == "SCOORD") for g in (first, second))
    one.ContentSequence, two.ContentSequence = two.ContentSequence, one.ContentSequence


def _flipped_side(report: Dataset, _: Dataset) -> None:
    site = next(i for i in _groups(report)[0].ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "363698007")
    code = site.ContentSequence[0].ConceptCodeSequence[0]
    code.CodeValue, code.CodeMeaning = ("7771000", "Left") if code.CodeValue != "7771000" else ("24028007", "Right")


def _other_code(report: Dataset, _: Dataset) -> None:
    found = next(i for i in _groups(report)[0].ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121071")
    found.ConceptCodeSequence[0].CodeValue = "4147007"


def _shared_tracking_uid(report: Dataset, _: Dataset) -> None:
    one, two = (next(i for i in g.ContentSequence if i.ValueType == "UIDREF") for g in _groups(report)[:2])
    two.UID = one.UID


def _flipped_answer(report: Dataset, _: Dataset) -> None:
    evaluations = next(i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "C0034375")
    absent = [i for i in evaluations.ContentSequence if i.ValueType == "CODE"]
    code = next(i for i in absent if i.ConceptCodeSequence[0].CodeMeaning == "Absent").ConceptCodeSequence[0]
    code.CodeValue, code.CodeMeaning = "52101004", "Present"


def _lost_answer(report: Dataset, _: Dataset) -> None:
    evaluations = next(i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "C0034375")
    place = next(n for n, item in enumerate(evaluations.ContentSequence) if item.ValueType == "CODE" and n > 4)
    del evaluations.ContentSequence[place]


def _called_complete(report: Dataset, _: Dataset) -> None:
    report.CompletionFlag = "COMPLETE"


def _other_instance(report: Dataset, _: Dataset) -> None:
    report.SOPInstanceUID = "2.25.1"


def _moved_mask(_: Dataset, segmentation: Dataset) -> None:
    bits = bytearray(segmentation.PixelData)
    segmentation.PixelData = bytes(bits[-1:] + bits[:-1])


def _swapped_places(_: Dataset, segmentation: Dataset) -> None:
    groups = segmentation.PerFrameFunctionalGroupsSequence
    one, two = groups[0].PlanePositionSequence, groups[1].PlanePositionSequence
    groups[0].PlanePositionSequence, groups[1].PlanePositionSequence = two, one


def _other_source(_: Dataset, segmentation: Dataset) -> None:
    groups = segmentation.PerFrameFunctionalGroupsSequence
    one, two = (g.DerivationImageSequence[0].SourceImageSequence for g in groups[:2])
    groups[0].DerivationImageSequence[0].SourceImageSequence = deepcopy(two)
    groups[1].DerivationImageSequence[0].SourceImageSequence = deepcopy(one)


def _other_segment(_: Dataset, segmentation: Dataset) -> None:
    segmentation.SegmentSequence[0].TrackingUID = "2.25.1"


@pytest.mark.parametrize(
    "break_it",
    [
        *(_moved_box, _lost_box, _other_frame, _flipped_side, _other_code, _shared_tracking_uid, _flipped_answer),
        *(_lost_answer, _called_complete, _other_instance, _moved_mask, _swapped_places, _other_source, _other_segment),
    ],
    ids=lambda function: function.__name__.strip("_"),
)
@pytest.mark.parametrize("name", ["brain", "brain-enhanced"])
def test_every_falsification_is_noticed(
    name: str, break_it: Callable[[Dataset, Dataset], None], written: Callable[[str], tuple[Reading, Path]]
) -> None:
    """Each single change of a box, frame, side, code, UID, answer, mask or place is a difference."""
    reading, directory = written(name)
    report, segmentation = (pydicom.dcmread(directory / file) for file in ("sr.dcm", "seg.dcm"))
    assert differences(reading, {ResultKind.SEG: segmentation, ResultKind.SR: report}) == ()
    break_it(report, segmentation)
    found = differences(reading, {ResultKind.SEG: segmentation, ResultKind.SR: report})
    assert found
    assert not any(canary in " ".join(found) for canary in ("NIGHTINGALE", "2.25."))


def test_a_segmentation_too_many_is_noticed(make_case: MakeCase, tmp_path: Path) -> None:
    """A reading without a box has no segmentation."""
    reading, _ = make_case("brain")
    write_results(reading, _files("brain", tmp_path), tmp_path)
    empty = replace(reading, tracklets=(), answers=())
    found = differences_in_files(empty, _paths(tmp_path))
    assert any("holds no box" in line for line in found)


def test_a_box_that_cannot_be_written_exactly_is_never_sent(
    make_case: MakeCase, make_reading: MakeReading, tmp_path: Path
) -> None:
    """A box off the 1/64 grid comes back rounded to float32: writing fails, and names the difference."""
    _, sources = make_case("brain")
    finding = Finding(label="Mass", frame_index=3, box=Box(x0=10.1, y0=2, x1=30, y1=8))
    reading = make_reading(sources, Anatomy.BRAIN, (Tracklet(tracklet_id="lesion-1", findings=(finding,)),))
    with pytest.raises(EngineError, match=r"found 1 differences, the first: report, box 1 \(lesion-1\): box differs"):
        write_results(reading, _files("brain", tmp_path), tmp_path)


def test_unreadable_results_are_refused(make_case: MakeCase, tmp_path: Path) -> None:
    """A file that is no DICOM is an error with our type, not a difference."""
    reading, _ = make_case("brain")
    (tmp_path / "sr.dcm").write_bytes(b"nothing")
    with pytest.raises(MalformedInstance):
        differences_in_files(reading, {ResultKind.SR: tmp_path / "sr.dcm"})


def test_labels_with_an_alias_survive(make_case: MakeCase, make_reading: MakeReading, tmp_path: Path) -> None:
    """A raw fastMRI+ label, with mark and stray space, is written as the vocabulary's label."""
    _, sources = make_case("brain")
    label = " Global label: Small vessel chronic white matter ischemic change "
    finding = Finding(label=label, frame_index=3, box=Box(x0=1, y0=2, x1=9, y1=8))
    tracklet = Tracklet(tracklet_id="lesion-1", findings=(finding,))
    write_results(make_reading(sources, Anatomy.BRAIN, (tracklet,)), _files("brain", tmp_path), tmp_path)
    ((name, shown),) = decode_report(pydicom.dcmread(tmp_path / "sr.dcm")).labels
    assert (name, shown) == ("lesion-1", "Small vessel chronic white matter ischemic change")


REAL = [
    ("classic_mr_brain/ge_signa_fse_pd_ax", Anatomy.BRAIN, "Nonspecific lesion"),
    ("knee/ge_mr750_mese_sag_te19", Anatomy.KNEE, "Joint Effusion"),
    ("classic_mr_brain/siemens_skyra_mprage_sag_paed", Anatomy.BRAIN, "Mass"),
    ("classic_mr_brain/uih_umr770_t1_sag", Anatomy.BRAIN, "Edema"),
    ("enhanced_mr/philips_achieva_b0_64f.dcm", Anatomy.BRAIN, "Lacunar infarct"),
    ("enhanced_mr/siemens_xa10_vida_6_1.dcm", Anatomy.BRAIN, "Mass"),
]


@pytest.mark.parametrize("real", REAL, ids=[row[0].rpartition("/")[2] for row in REAL])
def test_real_series_are_written(
    real: tuple[str, Anatomy, str],
    read_groups: Callable[[Path], list[PlanarROIMeasurementsAndQualitativeEvaluations]],
    make_reading: MakeReading,
    shared_series: Callable[[str], list[Path]],
    dciodvfy: Callable[[Path], list[str]],
    tmp_path: Path,
) -> None:
    """Real headers (odd UIDs and dates, Big Endian, Enhanced) give every kind, whose only errors are the source's."""
    folder, anatomy, label = real
    paths = shared_series(folder)
    with leniently():
        sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    # A position may have several frames, of which a reading takes one
    frames = tuple({ref.position_mm: ref for ref in make_reading(sources, anatomy, ()).frames}.values())
    findings = tuple(
        Finding(label=label, frame_index=n, box=Box(x0=10.5 + n, y0=20, x1=40, y1=50.25), score=0.5)
        for n in range(min(3, len(frames)))
    )
    tracklet = Tracklet(tracklet_id="lesion-1", findings=findings, laterality=Laterality.LEFT)
    reading = replace(make_reading(sources, anatomy, (tracklet,)), frames=frames)
    profile = Profile(viewers=tuple(KINDS), kinds=frozenset(ResultKind), refined_masks=True)
    written = write_results(reading, paths, tmp_path, profile=profile)
    assert [result.kind for result in written] == list(ResultKind)
    assert len(read_groups(tmp_path / "sr.dcm")) == len(findings)
    # the study's own UID cannot be mended without losing the study
    inherited = ("UID uses non-existent ITU-T arc",)
    for result in written:
        errors = [line for line in dciodvfy(result.path) if line.startswith("Error")]
        assert [line for line in errors if not any(cause in line for cause in inherited)] == []


def test_every_kind_can_be_made(make_case: MakeCase, tmp_path: Path) -> None:
    """A profile with every kind gives each of them, in the order in which they are sent."""
    reading, _ = make_case("brain")
    profile = Profile(kinds=frozenset(ResultKind), refined_masks=True)
    written = write_results(reading, _files("brain", tmp_path), tmp_path, profile=profile)
    assert [result.kind for result in written] == [kind for kind in ResultKind if kind in WRITERS]
    assert len({result.sop_instance_uid for result in written}) == len(written) == len(ResultKind)


def test_a_profile_chooses_the_objects(make_case: MakeCase, tmp_path: Path) -> None:
    """Only the profile's kinds are written, and what an earlier attempt left of others goes."""
    reading, _ = make_case("brain")
    paths = _files("brain", tmp_path)
    write_results(reading, paths, tmp_path)
    (report,) = write_results(reading, paths, tmp_path, profile=Profile(kinds=frozenset({ResultKind.SR})))
    assert report.kind is ResultKind.SR
    assert set(_paths(tmp_path)) == {ResultKind.SR}
