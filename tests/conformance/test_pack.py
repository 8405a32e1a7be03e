import hashlib
from pathlib import Path

import pytest
from PIL import Image
from pydicom import dcmread

from conformance.pack import MANIFEST, PHANTOMS
from dicom_io.kinds import ResultKind
from dicom_io.profiles import profile_for
from dicom_io.results import differences_in_files, write_results
from plugin.cli.main import main
from sgmri import readings
from sgmri.settings import Delivery


def packed(out: Path, *names: str) -> dict[str, bytes]:
    """Write a pack from the command line; return its files."""
    wanted = [word for name in names for word in ("--phantom", name)]
    assert main(["conformance", "pack", "--out", str(out), *wanted]) == 0
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "pack"
    packed(out, "brain", "brain-normal")
    return out


@pytest.mark.exhaustive
def test_a_pack_holds_all_kinds_of_everything(pack: Path) -> None:
    """Images, every kind of object, the note, a picture of what marks, the statement, reports, README, licence."""
    kinds = {dcmread(path).SOPClassUID.name for path in (pack / "brain").rglob("*.dcm")}
    assert len(kinds) == len(ResultKind) + 1
    assert len(list((pack / "brain" / "images").iterdir())) == 22
    assert {path.name for path in (pack / "statement").iterdir()} == {
        f"conformance-statement.{ending}" for ending in ("md", "html", "docx", "json")
    }
    for name in ("results-seg", "results-sr", "results-pr", "results-label-map-labelmap", "results-refined-seg"):
        with Image.open(pack / "brain" / "pictures" / f"{name}.png") as picture:
            assert picture.width == 1920
    assert "MIT License" in (pack / "LICENSE").read_text(encoding="utf-8")
    assert "No model read these images" in (pack / "README.md").read_text(encoding="utf-8")


def test_the_manifest_lists_every_other_file_with_its_digest(tmp_path: Path) -> None:
    """As sha256sum checks it; the reports of what is in it have no error."""
    pack = tmp_path / "pack"
    reports = [content for name, content in packed(pack, "brain-normal").items() if name.endswith("results.json")]
    assert reports
    assert all(b'"error": 0' in report for report in reports)
    lines = (pack / MANIFEST).read_text(encoding="utf-8").splitlines()
    listed = {line[66:]: line[:64] for line in lines}
    files = {path.relative_to(pack).as_posix(): path for path in pack.rglob("*") if path.is_file()}
    assert listed.keys() == files.keys() - {MANIFEST}
    assert all(hashlib.sha256(files[name].read_bytes()).hexdigest() == digest for name, digest in listed.items())


@pytest.mark.exhaustive
def test_objects_say_what_was_planted_and_pass_their_own_check(pack: Path) -> None:
    """Each object is read back to the reading beside it; the reports have no error."""
    for name in ("brain", "brain-normal"):
        reading = readings.from_json((pack / name / "reading.json").read_text(encoding="utf-8"))
        files = {kind: pack / name / "results" / f"{kind.lower().replace('_', '-')}.dcm" for kind in ResultKind}
        assert differences_in_files(reading, {kind: path for kind, path in files.items() if path.exists()}) == ()
        report = (pack / "reports" / f"{name}-results.json").read_text(encoding="utf-8")
        assert '"error": 0' in report
        assert str(pack) not in report


@pytest.mark.exhaustive
def test_an_object_is_the_same_for_every_destination_that_gets_it(pack: Path, tmp_path: Path) -> None:
    """As the README says: those where no viewer is named, and those for OHIF alone, are those of the folder of all."""
    sources = sorted((pack / "brain-normal" / "images").iterdir())
    reading = readings.from_json((pack / "brain-normal" / "reading.json").read_text(encoding="utf-8"))
    for result in write_results(reading, sources, tmp_path, profile=profile_for(Delivery())):
        assert result.path.read_bytes() == (pack / "brain-normal" / "results" / result.path.name).read_bytes()
    for name in ("brain", "brain-normal"):
        texts = {(pack / name / folder / "text-sr.dcm").read_bytes() for folder in ("results", "results-label-map")}
        assert len(texts) == 1


@pytest.mark.exhaustive
def test_the_same_pack_twice(pack: Path, tmp_path: Path) -> None:
    """Every file of a phantom, the statement, and the reports are the same bytes in another folder."""
    again = packed(tmp_path / "again", "brain-normal")
    for name in again.keys() - {MANIFEST, "README.md"}:
        assert (pack / name).read_bytes() == again[name], name


def test_a_folder_that_holds_something_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written over."""
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    assert main(["conformance", "pack", "--out", str(tmp_path)]) == 2
    assert "expected an empty folder" in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_the_whole_pack(tmp_path: Path) -> None:
    """All phantoms that are packed unless others are asked for, without an error in any report."""
    files = packed(tmp_path / "pack")
    assert {name.partition("/")[0] for name in files} >= set(PHANTOMS)
    reports = [content for name, content in files.items() if name.startswith("reports/") and name.endswith(".json")]
    assert len(reports) == 3 * len(PHANTOMS)
    assert all(b'"error": 0' in content for content in reports)
