import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from conformance import phantoms
from conformance.phantoms import CANARIES
from dicom_io.kinds import ResultKind
from dicom_io.profiles import Profile
from dicom_io.results import write_results
from plugin.cli.main import main
from tests.worker.one_box_engine import read_brightest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a series and the results of its reading."""
    directory = tmp_path_factory.mktemp("shown")
    paths = phantoms.write(phantoms.make("brain"), directory / "sources")
    product, _ = read_brightest(paths)
    write_results(product.reading, paths, directory)
    yield directory


def test_results_are_shown_as_text_and_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder is shown whole: each object's content, and its marks over the images that lie beside it."""
    assert main(["show", str(folder), "--png", str(tmp_path / "marks.png")]) == 0
    printed = capsys.readouterr()
    assert f"{folder / 'seg.dcm'}:\n  Segmentation Storage: BINARY, 1 segments" in printed.out
    assert "Comment: Nonspecific lesion, lesion-1" in printed.out
    assert "drawn: " in printed.err
    with Image.open(tmp_path / "marks.png") as picture:
        assert picture.width == 1920
    assert not any(canary in printed.out for canary in (CANARIES.patient_name, CANARIES.patient_id))


def test_json_holds_items_marks_and_rules(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The machine's form has the same content; a foreign viewer's broken rule is named and ends with 1."""
    assert main(["show", str(folder / "sr.dcm"), "--json", "--check", "slicer", "--check", "ohif-3.11"]) == 1
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["what"].startswith("Comprehensive 3D SR Storage: Imaging Measurement Report")
    assert {mark["label"].partition(" (")[0] for mark in shown["marks"]} == {"Nonspecific lesion, lesion-1"}
    assert shown["broken_rules"] == [{"viewer": "ohif-3.11", "rule": "ohif-3.11-tool-name"}]


def test_what_marks_nothing_is_shown_without_a_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text report, page and key objects have no marks: they are printed, and it is said that nothing is drawn."""
    product, _ = read_brightest(paths := sorted((folder / "sources").iterdir()))
    kinds = frozenset({ResultKind.TEXT_SR, ResultKind.PDF, ResultKind.KO})
    for result in write_results(product.reading, paths, tmp_path, profile=Profile(kinds=kinds)):
        assert main(["show", str(result.path), "--png", str(tmp_path / "marks.png")]) == 0
        printed = capsys.readouterr()
        assert "nothing is drawn" in printed.err
        assert len(printed.out.splitlines()) > 1


def test_what_cannot_be_shown_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An image, a stray file, an empty folder and a missing one end with 2 and a reason; the others are still shown."""
    image = next((folder / "sources").iterdir())
    stray = tmp_path / "stray.dcm"
    stray.write_bytes(b"no DICOM at all" * 40)
    assert main(["show", str(image), str(stray), str(folder / "sr.dcm")]) == 2
    printed = capsys.readouterr()
    assert "found MR Image Storage" in printed.err
    assert "found a file that fails with InvalidDicomError" in printed.err
    assert "Imaging Measurement Report" in printed.out
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        assert main(["show", str(path)]) == 2
        assert "found n" in capsys.readouterr().err
