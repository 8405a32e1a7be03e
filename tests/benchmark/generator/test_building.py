import csv
import json
from pathlib import Path

import pytest

from benchmark.generator.annotations import read_annotations
from benchmark.generator.balance import of_items
from benchmark.generator.building import Mode, Source, build_fastmri, build_phantoms
from benchmark.generator.tables import as_markdown, as_text, distributions, labels, plot
from benchmark.items import Split, read_items
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.volume import Anatomy
from tests.benchmark.conftest import FastMri


def _quiet(what: str, done: int, total: int) -> None:
    pass


def test_a_build_writes_items_card_repairs_and_what_is_missing(dirty: Path, fastmri: FastMri, tmp_path: Path) -> None:
    """Sizes of files are used, repairs are listed by line, and what no file tells is said."""
    fastmri.write("file1", part="multicoil_val", shape=(40, 300, 320))
    source = Source(annotations=dirty, fastmri=fastmri.folder)
    built = build_fastmri(source, tmp_path / "out", Mode.EXHAUSTIVE, _quiet)
    items = list(read_items(built.items))
    assert {(item.rows, item.is_size_known) for item in items if item.volume_id == "file1"} == {(300, True)}
    assert {item.split for item in items if item.volume_id == "file1"} == {Split.TEST}
    with (tmp_path / "out" / "repairs.csv").open() as file:
        assert [row["line"] for row in csv.DictReader(file)] == ["3", "4", "5", "5", "3", "5", "5", "6"]
    summary = json.loads((tmp_path / "out" / "build.json").read_text())
    assert summary["sha256"] == built.sha256
    assert summary["counts"][-1][-1] == f"{len(items):,}"
    assert any("2 of 3 knee volumes have no image file" in sentence for sentence in built.missing)
    card = (tmp_path / "out" / "README.md").read_text()
    assert RESEARCH_USE_STATEMENT in card and "MIT licence, Copyright (c) Microsoft" in card
    assert all(sentence in card for sentence in built.missing)


def test_a_build_is_the_same_bytes_twice(dirty: Path, tmp_path: Path) -> None:
    """Every file that a build writes is the same in another folder."""
    for name in ("one", "two"):
        build_fastmri(Source(annotations=dirty), tmp_path / name, Mode.EXHAUSTIVE, _quiet)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["README.md", "build.json", "items.parquet", "repairs.csv"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_the_legacy_shift_is_told_by_items_and_card(dirty: Path, tmp_path: Path) -> None:
    """Knee frames are one lower, and the card warns."""
    source = Source(annotations=dirty, legacy_knee_shift=True)
    built = build_fastmri(source, tmp_path / "out", Mode.EXHAUSTIVE, _quiet)
    frames = {box.frame_number for item in read_items(built.items) if item.volume_id == "file1" for box in item.boxes}
    assert frames == {5, 23, 24}
    assert "one too low" in (tmp_path / "out" / "README.md").read_text()


def test_phantoms_make_a_benchmark_with_images(tmp_path: Path) -> None:
    """Every volume that is asked about has its series and its frames beside the items."""
    told: list[str] = []
    built = build_phantoms(tmp_path, 2, seed=1, split=Split.TEST, progress=lambda what, done, total: told.append(what))
    items = list(read_items(built.items))
    assert {item.anatomy for item in items} == set(Anatomy)
    for item in items:
        assert (tmp_path / "dicom" / item.volume_id).is_dir()
        for number in item.frame_numbers:
            assert (tmp_path / "frames" / "published" / item.volume_id / f"{number:03d}.png").is_file()
    assert set(told) == {"phantoms painted", "items made"}
    tables = of_items(tmp_path)
    assert tables["Items"][-1][-1] == f"{len(items):,}"


def test_tables_are_text_and_markdown(dirty: Path, tmp_path: Path) -> None:
    """Numbers stand to the right in text; Markdown has a line below the headings; both anatomies are drawn."""
    volumes = read_annotations(dirty, {}).volumes
    table = labels(volumes, Anatomy.KNEE)
    assert table[1] == ("Meniscus Tear", "2", "1", "2", "21x13", "2 / 2")
    assert table[-1][0] == "artifact (study)"
    assert as_text([("label", "boxes"), ("a", "7"), ("b", "1,000")]).splitlines()[1] == "a          7"
    assert as_markdown([("label", "boxes"), ("a", "7")]) == "| label | boxes |\n|---|---|\n| a | 7 |"
    assert dict((row[0], row[2]) for row in distributions(volumes))["3-D lesions"].startswith("2 ")
    assert [path.name for path in plot(volumes, tmp_path / "plots")] == ["brain.png", "knee.png"]


def test_distributions_are_those_that_were_counted_before(fastmri_plus: Path) -> None:
    """The real annotations give the published numbers of boxes, slices, labels and lesions."""
    rows = {row[0]: row[1:] for row in distributions(read_annotations(fastmri_plus, {}).volumes)}
    assert rows["annotated slices"] == ("3,621", "9,581")
    assert rows["(volume, label) pairs"] == ("837", "2,585")
    assert rows["(slice, label) pairs"] == ("5,116", "14,368")
    assert rows["labels per volume: 1 / 2 / 3 / 4 / 5+"] == ("258 / 126 / 58 / 22 / 12", "267 / 267 / 190 / 119 / 126")
    assert rows["box height: 5-25-50-75-95 pct"] == ("6-13-29-60-134", "8-12-18-39-134")
    assert rows["pairs on one frame / on contiguous frames"] == ("78 / 725", "156 / 2,244")
    assert rows["lesion length: median; single-slice"] == ("2; 1,080", "3; 732")


@pytest.mark.slow
def test_the_published_build_is_the_same_bytes_twice(fastmri_plus: Path, tmp_path: Path) -> None:
    """All 41,665 items give the same file in two builds, and 41,665 stands in the table."""
    builds = [build_fastmri(Source(annotations=fastmri_plus), tmp_path / name, Mode.PAPER, _quiet) for name in "ab"]
    assert builds[0].sha256 == builds[1].sha256
    assert builds[0].counts[-1][-1] == "41,665"
