import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydicom import dcmread, dcmwrite

from conformance.objects.checking import Options, Report, check
from conformance.objects.findings import Finding, Group, Severity
from conformance.objects.page import as_html
from conformance.objects.reports import as_json, as_junit, lines
from dicom_io.objects.sources import leniently
from plugin.cli.main import main
from sgmri.errors import ConfigError
from tests.conformance.objects.conftest import SHARED, Case, MakeObjects
from tests.dicom_io.test_every_profile import CASES, DESTINATIONS

ALL = Options(workers=1)
OWN = Options(groups=frozenset(Group) - {Group.IOD, Group.ENTITY}, workers=1)


def named(report: Report, *but: Severity) -> set[str]:
    return {finding.check for finding in report.findings if finding.severity not in but}


def test_good_objects_raise_nothing(brain: Case) -> None:
    """SEG, SR, PR and KO beside their sources: no error, no warning, no note, the validators included."""
    assert check([brain.objects], [brain.sources], ALL).findings == ()


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CASES)
def test_good_objects_of_every_profile_raise_nothing(name: str, make_objects: MakeObjects) -> None:
    """No finding at all for any destination, of any phantom, and the rules of the destination's viewers hold."""
    for delivery in DESTINATIONS.values():
        case = make_objects(name, *delivery.viewers, label_map=delivery.label_map)
        if any(case.objects.iterdir()):
            options = Options(viewers=delivery.viewers, workers=1)
            assert check([case.objects], [case.sources], options).findings == (), delivery


def test_without_sources_nothing_counts_as_right(enhanced: Case) -> None:
    """Objects alone: references and identity are said to be unchecked, and no error is made up."""
    report = check([enhanced.objects], (), OWN)
    assert named(report) == {"reference-no-source", "identity-no-source"}
    assert report.sources == 0


def test_sources_are_found_among_the_paths(enhanced: Case) -> None:
    """Images among the paths serve as sources, and are not objects under check."""
    report = check([enhanced.objects, enhanced.sources], (), OWN)
    assert len(report.objects) == 2
    assert report.sources == 1
    assert report.findings == ()


def test_a_folder_without_objects_is_wrong_usage(enhanced: Case, tmp_path: Path) -> None:
    """Only images, or nothing: there is nothing to pass."""
    for place in (enhanced.sources, tmp_path):
        with pytest.raises(ConfigError, match="expected result objects"):
            check([place], (), OWN)
    with pytest.raises(ConfigError, match="found nothing"):
        check([tmp_path / "absent"], (), OWN)


def test_broken_files_are_findings(brain: Case, tmp_path: Path) -> None:
    """Nothing, noise, a file cut at many places, and one without preamble: a finding each, and never a traceback."""
    whole = brain.named("sr.dcm").read_bytes()
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "noise.dcm").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "bare.dcm").write_bytes(whole[132:])
    (tmp_path / "notes.txt").write_text("beside the objects")
    for size in range(140, len(whole), len(whole) // 15):
        (tmp_path / f"cut-{size}.dcm").write_bytes(whole[:size])
    (tmp_path / "good.dcm").write_bytes(whole)
    report = check([tmp_path], [brain.sources], OWN)
    errors = {finding.path.name for finding in report.findings if finding.severity is Severity.ERROR}
    assert {"empty.dcm", "noise.dcm", "bare.dcm"} <= errors
    assert not any("notes" in path.name for path in report.objects)
    assert {path.name for path in report.objects if path.name.startswith("cut")} - errors <= {"cut-140.dcm"}


def test_flipped_bytes_end_in_findings(brain: Case, tmp_path: Path) -> None:
    """A byte changed at each of many places ends in a report, whatever the place."""
    for name in ("sr.dcm", "seg.dcm"):
        whole = bytearray(brain.named(name).read_bytes())
        for place in range(140, len(whole), len(whole) // 12):
            broken = bytes(whole[:place]) + bytes([whole[place] ^ 0xFF]) + bytes(whole[place + 1 :])
            (tmp_path / f"{name}-{place}.dcm").write_bytes(broken)
    report = check([tmp_path], (), Options(groups=OWN.groups - {Group.IDENTITY}, workers=1))
    assert len(report.objects) >= 20


def test_a_missing_validator_is_said_loudly(brain: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dicom3tools there is a warning, which --require-validators makes an error."""
    monkeypatch.setattr("conformance.objects.validators.program", lambda _: None)
    for require, severity in ((False, Severity.WARNING), (True, Severity.ERROR)):
        options = Options(groups=frozenset({Group.IOD}), require_validators=require, workers=1)
        (finding,) = check([brain.named("sr.dcm")], (), options).findings
        assert (finding.check, finding.severity) == ("iod-dciodvfy", severity)
        assert "dicom3tools" in finding.expected


def test_reports_hold_the_finding_and_no_patient(brain: Case, tmp_path: Path) -> None:
    """Console, JSON, JUnit and HTML name check, part and source; the page shows the frame, and is escaped."""
    ds = dcmread(brain.named("sr.dcm"))
    region = next(item for item in ds.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010")
    scoord = next(item for item in region.ContentSequence[0].ContentSequence if item.ValueType == "SCOORD")
    scoord.GraphicData = [value + 2 for value in scoord.GraphicData]
    place = tmp_path / "a<b>&c"
    place.mkdir()
    dcmwrite(place / "sr.dcm", ds)
    report = check([place, brain.named("seg.dcm")], [brain.sources], OWN)
    assert named(report) == {"geometry-segment-extent"}
    page = as_html(report)
    assert "a&lt;b&gt;&amp;c" in page
    assert "data:image/png;base64," in page
    assert 'src="http' not in page and "<script" not in page
    (found,) = json.loads(as_json(report))["findings"]
    assert found["part"].startswith("content item 1.") and found["source"].startswith("PS3.3")
    assert found["mark"]["points"][0] == [scoord.GraphicData[0], scoord.GraphicData[1]]
    suites = ET.fromstring(as_junit(report))  # noqa: S314 -- our own output
    assert [suite.get("failures") for suite in suites] == ["1", "0"]
    text = "\n".join(lines(report)) + page + as_json(report) + as_junit(report)
    assert str(ds.PatientID) not in text and str(ds.PatientName) not in text


def test_groups_are_chosen_and_left_out(brain: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--checks takes only some groups, --without leaves some out; the exit code follows --fail-on."""
    ds = dcmread(brain.named("seg.dcm"))
    ds.PatientID = "OTHER"
    del ds.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    ds.save_as(tmp_path / "seg.dcm")
    base = ["conformance", "objects", str(tmp_path), "--source", str(brain.sources), "--workers", "1"]
    assert main([*base, "--checks", "identity"]) == 1
    assert "identity-attributes" in capsys.readouterr().out
    assert main([*base, "--without", "identity,iod,entity,reference"]) == 0
    assert main([*base, "--checks", "segmentation", "--fail-on", "warning"]) == 1
    out = tmp_path / "report.json"
    assert main([*base, "--checks", "file", "--json", str(out), "--junit", str(tmp_path / "r.xml")]) == 0
    assert json.loads(out.read_text())["counts"] == {"error": 0, "warning": 0, "note": 0}


def test_broken_samples_are_written_with_their_checks(
    enhanced: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``mutate`` writes a folder a fault and a table of what must be found; a used folder is refused."""
    out = tmp_path / "broken"
    assert main(["conformance", "mutate", str(enhanced.objects), "--out", str(out)]) == 0
    table = json.loads((out / "faults.json").read_text())
    assert len(table) > 60 and all((out / row["object"]).is_file() and row["checks"] for row in table)
    assert main(["conformance", "mutate", str(enhanced.objects), "--out", str(out)]) == 2
    assert "empty or new folder" in capsys.readouterr().err


def test_the_checks_need_no_model_and_no_broker() -> None:
    """In a fresh interpreter the whole check is imported without torch, celery, redis or the worker."""
    command = (
        "import sys, conformance.objects.checking, conformance.objects.page, conformance.mutations\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'celery', 'redis', 'worker', 'plugin'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


REVIEWED = json.loads((Path(__file__).parent / "reviewed.json").read_text(encoding="utf-8"))
"""File -> the checks that find a real deviation in it; docs/conformance-objects.md gives the reasons."""


def test_objects_of_others_raise_what_was_reviewed() -> None:
    """Each error and warning in published objects is a deviation that was looked at; there is no other."""
    if not (SHARED / "seg_sr").is_dir():
        pytest.skip("real data folder seg_sr is not there")
    found: dict[str, set[str]] = {}
    for finding in _bad(check([SHARED / "seg_sr"], (), ALL)):
        found.setdefault(finding.path.relative_to(SHARED / "seg_sr").as_posix(), set()).add(finding.check)
    assert {name: sorted(checks) for name, checks in sorted(found.items())} == REVIEWED


def _bad(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity is not Severity.NOTE]


def test_a_deep_tree_is_a_finding(brain: Case, tmp_path: Path) -> None:
    """Content nested a hundred deep is not walked to its end, and that is an error."""
    ds = dcmread(brain.named("sr.dcm"))
    inner = ds.ContentSequence[-1]
    for _ in range(100):
        outer = dcmread(brain.named("sr.dcm")).ContentSequence[-1]
        outer.ContentSequence = [inner]
        inner = outer
    ds.ContentSequence.append(inner)
    with leniently():
        ds.save_as(tmp_path / "deep.dcm")
    assert "content-walked" in named(check([tmp_path], (), OWN), Severity.NOTE)
