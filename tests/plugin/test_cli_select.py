"""The command ``sgmri select``, and that ``sgmri read`` reads what it shows."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from conformance.phantom_contrast import give_contrast_agent
from conformance.phantom_headers import make_item
from conformance.phantoms import make, make_non_mr, write
from plugin.cli.main import main
from sgmri import readings

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CANARIES = ("PHANTOM", "SYNTHETIC", "CANARY", "NIGHTINGALE", "2.25.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A brain whose one Enhanced instance has every frame twice (the first echo without anything), a knee, a CT."""
    path = tmp_path_factory.mktemp("study")
    (ds,) = make("brain-enhanced").datasets
    voxels = np.frombuffer(ds.PixelData, np.uint16).reshape(-1, ds.Rows, ds.Columns)
    frames = []
    for groups in ds.PerFrameFunctionalGroupsSequence:
        frames += [deepcopy(groups), groups]
        frames[-2].MREchoSequence = [make_item(EffectiveEchoTime=190.0)]
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.NumberOfFrames = len(frames)
    ds.PixelData = np.stack([np.full_like(voxels, 7), voxels], axis=1).tobytes()
    (path / "brain").mkdir()
    ds.save_as(path / "brain" / "1.dcm", enforce_file_format=True)
    write(make("knee-oblique"), path / "knee")
    make_non_mr().save_as(path / "ct.dcm", enforce_file_format=True)
    (path / "notes.txt").write_text("not DICOM")
    return path


def _shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["select", *arguments]) == 0
    shown = capsys.readouterr().out
    assert not any(canary in shown.replace(arguments[0], "") for canary in CANARIES)
    return shown


def test_table_shows_every_series_and_sub_volume(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a line for each series, each of several sub-volumes and each refused file, and names nobody."""
    shown = _shown([str(folder)], capsys)
    lines = shown.splitlines()
    words = [line.split() for line in lines]
    assert words[0][:3] == ["series", "instances", "frames"]
    assert any(line[1:] == ["1", "44", "brain", "axial", "FLAIR", "no", "-", "taken"] for line in words)
    assert [line for line in lines if line.startswith("  echo 2 of 2") and "left (OTHER_SUBVOLUME)" in line]
    assert any(line[3:] == ["knee", "coronal", "PD", "yes", "-", "taken"] for line in words), shown
    assert any("left (NOT_MR)" in line for line in lines)
    assert f"{folder / 'notes.txt'}: left (MALFORMED_INSTANCE)" in lines
    assert lines[-1] == "2 of 3 series would be read; files that are no DICOM instance: 1."


def test_explanations_are_sentences(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --explain each line is followed by why, and by what the anatomy was taken from."""
    shown = _shown([str(folder), "--explain"], capsys)
    assert "Of 2 sub-volumes echo 1 of 2 is read: its echo time is the shortest." in shown
    assert "It could be read, but echo 1 of 2 is." in shown
    assert "Anatomy: brain, by: region." in shown
    assert "notes.txt: left (MALFORMED_INSTANCE): expected a DICOM PS3.10 file" in shown


def test_document_is_stable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON document has a named format, the same keys for every series, and is the same twice."""
    shown = _shown([str(folder), "--json"], capsys)
    assert shown == _shown([str(folder), "--json", "--explain"], capsys)
    document = json.loads(shown)
    assert document["format"] == "sgmri-select-3"
    brain = next(series for series in document["series"] if series["anatomy"] == "brain")
    assert (brain["taken"], brain["reason"], brain["sub_volume"]) == (True, "NONE", "echo 1 of 2")
    assert [(one["name"], one["frames"], one["taken"]) for one in brain["sub_volumes"]] == [
        ("echo 1 of 2", 22, True),
        ("echo 2 of 2", 22, False),
    ]
    assert len({tuple(series) for series in document["series"]}) == 1
    assert [refused["reason"] for refused in document["refused"]] == ["MALFORMED_INSTANCE"]


def test_contrast_agent_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A T1 after contrast agent differs from a T1 in the table, in the JSON document, and by --explain."""
    for name, given in (("before", False), ("after", True)):
        phantom = make("brain-normal", seed=int(given))
        for ds in phantom.datasets:
            ds.RepetitionTime, ds.EchoTime, ds.ScanningSequence, ds.InversionTime = "500", "10", "SE", ""
            ds.SeriesDescription = ds.ProtocolName = "AX T1" if given else "AX T1 PRE"
            if given:
                give_contrast_agent(ds)
        write(phantom, tmp_path / name)
    shown = _shown([str(tmp_path), "--explain"], capsys)
    looks = [line.split()[4:] for line in shown.splitlines() if "taken" in line]
    assert sorted(looks) == [["axial", "T1", "-", "given", "taken"], ["axial", "T1", "-", "not", "given", "taken"]]
    assert "Contrast agent: given, by: agent." in shown
    assert "Contrast agent: not given, by: series text." in shown
    document = json.loads(_shown([str(tmp_path), "--json"], capsys))
    volumes = [one for series in document["series"] for one in series["sub_volumes"]]
    assert {(one["weighting"], one["contrast_agent"], one["contrast_agent_evidence"]) for one in volumes} == {
        ("T1", "given", "agent"),
        ("T1", "not given", "series text"),
    }


def test_defaults_can_be_copied_into_a_rule_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What --show-defaults prints is a rule file that changes nothing; without it a path is asked for."""
    assert main(["select", "--show-defaults"]) == 0
    path = tmp_path / "rules.toml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert _shown([str(folder), "--rules", str(path)], capsys) == _shown([str(folder)], capsys)
    assert main(["select"]) == 2
    assert "expected the path of a DICOM file or folder" in capsys.readouterr().err


def test_nothing_to_select_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a DICOM instance ends with 2 and lists why; so does a missing one."""
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert main(["select", str(tmp_path)]) == 2
    assert "notes.txt: left (MALFORMED_INSTANCE)" in capsys.readouterr().out
    assert main(["select", str(tmp_path / "gone")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_results_refer_to_the_frames_that_were_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reading one echo of an Enhanced instance refers, in SR and SEG, to frames of that echo only."""
    out = tmp_path / "out"
    assert main(["read", str(folder / "brain"), "--out", str(out), "--engine", "classical"]) == 0
    reading = readings.from_json((out / "reading.json").read_text(encoding="utf-8"))
    numbers = [frame.frame_number for frame in reading.frames]
    assert numbers == sorted(range(2, 45, 2), reverse=True), "the phantom stores its frames against the normal"
    assert reading.tracklets
    boxed = {numbers[finding.frame_index] for tracklet in reading.tracklets for finding in tracklet.findings}
    for name in ("sr.dcm", "seg.dcm"):
        referenced = {
            int(number)
            for element in dcmread(out / name).iterall()
            if element.keyword == "ReferencedFrameNumber"
            for number in ([element.value] if element.VM == 1 else element.value)
        }
        assert boxed <= referenced <= set(numbers), name


RULES = """
[[rule]]
name = "no coronal knees"
when = 'anatomy == "knee" and plane == "coronal"'
leave = true

[[rule]]
name = "brains of one station"
when = 'header.StationName == "MR3" and anatomy == "brain"'
leave = true
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return path


def test_rule_file_can_be_tried(folder: Path, rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --rules the knee is left; --explain says by which rule, and why the others do not match."""
    shown = _shown([str(folder), "--rules", str(rules), "--explain"], capsys)
    assert "left (RULE)" in shown
    assert "The rule 'no coronal knees' leaves it." in shown
    assert "The rule 'no coronal knees' decides." in shown
    assert "The rule 'brains of one station' does not match: StationName is missing." in shown
    assert "No rule of the file matches." in shown
    assert "1 of 3 series would be read" in shown


def test_document_names_the_rule(folder: Path, rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON document has for each sub-volume the rule that decided and those that did not match."""
    document = json.loads(_shown([str(folder), "--rules", str(rules), "--json"], capsys))
    decided = {one["rule"]: one for series in document["series"] for one in series["sub_volumes"]}
    assert set(decided) == {"no coronal knees", "built-in"}
    assert len(decided["built-in"]["rules_not_matching"]) == 2


def test_wrong_rule_file_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake ends with 2 and names file, rule and what was expected; so it does for ``read`` and ``serve``."""
    path = tmp_path / "wrong.toml"
    path.write_text("[[rule]]\nname = 'x'\nwhen = 'frame > 3'\nleave = true", encoding="utf-8")
    config = tmp_path / "sgmri.toml"
    config.write_text(f"[storage]\nstate_dir = '{tmp_path}'\n[selection]\nrules = '{path}'", encoding="utf-8")
    for command in (
        ["select", str(folder), "--rules", str(path)],
        ["read", str(folder), "--out", str(tmp_path / "out"), "--rules", str(path)],
        ["serve", "listener", "--config", str(config)],
        ["serve", "worker", "--config", str(config)],
        ["serve", "all", "--config", str(config)],
    ):
        assert main(command) == 2
        assert f"{path}: rule 1 ('x'): when: unknown name 'frame'; did you mean 'frames'?" in capsys.readouterr().err


def test_a_slice_taken_out_of_a_real_brain_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The GE brain is one axial volume of 19 slices; without one, 18 are read and one is said to be missing."""
    source = SHARED / "classic_mr_brain" / "ge_signa_fse_pd_ax"
    if not source.is_dir():
        pytest.skip("the real data folder is not there")
    for path in source.iterdir():
        shutil.copy(path, tmp_path)
    for frames, missing in ((19, 0), (18, 1)):
        arguments = [str(tmp_path), "--explain"]
        assert main(["select", *arguments]) == 0
        shown = capsys.readouterr().out
        assert "1 of 1 series would be read" in shown
        assert ("1 slice seems to be missing." in shown) is bool(missing)
        assert main(["select", str(tmp_path), "--json"]) == 0
        (series,) = json.loads(capsys.readouterr().out)["series"]
        (sub_volume,) = series["sub_volumes"]
        assert (sub_volume["frames"], sub_volume["plane"], sub_volume["missing"]) == (frames, "axial", missing)
        sorted(tmp_path.iterdir())[9].unlink()
