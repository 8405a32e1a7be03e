import json
from pathlib import Path

import pytest

from plugin.cli.main import main
from tests.benchmark.conftest import FastMri, dirty, fastmri, fastmri_plus  # noqa: F401 -- fixtures of the benchmark


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "benchmark"


def test_build_prints_counts_repairs_and_what_is_missing(
    dirty: Path,  # noqa: F811 -- the fixture
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The table, every kind of repair and each gap are on the screen, and the digest of the file."""
    assert main(["benchmark", "build", "--annotations", str(dirty), "--mode", "exhaustive", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "localization" in said and "the same box twice: dropped" in said
    assert "not known: 3 of 3 brain volumes have no image file" in said
    assert json.loads((out / "build.json").read_text())["sha256"] in said


def test_the_published_plan_needs_the_whole_of_fastmri_plus(
    dirty: Path,  # noqa: F811 -- the fixture
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A few volumes cannot fill its quotas: exit code 2, and no half benchmark."""
    assert main(["benchmark", "build", "--annotations", str(dirty), "--out", str(out)]) == 2
    assert "--mode exhaustive" in capsys.readouterr().err
    assert not (out / "items.parquet").exists()


def test_build_of_phantoms_and_stats_speak_json(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine gets the summary of the build and the tables by title."""
    assert main(["benchmark", "build", "--phantoms", "1", "--seed", "5", "--out", str(out), "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (built["source"], built["seed"], built["volumes"]) == ("phantoms", 5, 1)
    assert main(["benchmark", "stats", "--items", str(out), "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert tables["Items"] == built["counts"]
    assert tables["Letters of single choices"][0][-4:] == list("ABCD")


def test_stats_of_annotations_prints_and_draws(
    dirty: Path,  # noqa: F811 -- the fixture
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Tables have titles, and pictures are where they were asked for."""
    assert main(["benchmark", "stats", "--annotations", str(dirty), "--plots", str(tmp_path / "plots")]) == 0
    said = capsys.readouterr()
    assert "Labels, knee" in said.out and "Meniscus Tear" in said.out
    assert (tmp_path / "plots" / "knee.png").stat().st_size > 10_000
    assert main(["benchmark", "stats"]) == 2


def test_images_says_what_could_not_be_made(
    fastmri: FastMri,  # noqa: F811 -- the fixture
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Complete volumes end with 0, a missing file with 1 and its name."""
    fastmri.write("file1")
    arguments = ["benchmark", "images", "--fastmri", str(fastmri.folder), "--out", str(out)]
    assert main(arguments) == 0
    assert main([*arguments, "--volumes", "file1", "file2", "--only", "published"]) == 1
    assert "file2: expected file2.h5" in capsys.readouterr().out
    assert main([*arguments, "--only", "dicom", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"volume_id": "file1", "pictures": ["dicom"], "missing": ""}]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--legacy-knee-shift"], "--legacy-knee-shift"),
        (["--fastmri", "x"], "--fastmri"),
        (["--seed", "-1"], "found -1"),
    ],
)
def test_phantoms_take_no_options_of_annotations(
    options: list[str], said: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would change nothing is refused, not passed over."""
    assert main(["benchmark", "build", "--phantoms", "1", "--out", str(out), *options]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
