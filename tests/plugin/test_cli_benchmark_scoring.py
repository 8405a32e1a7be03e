"""``sgmri benchmark run|score|baselines|table`` as a researcher meets them, on phantoms and on the real annotations."""

import json
from pathlib import Path

import pytest

from benchmark.items import Level, Task
from benchmark.running.ledger import read_answers
from benchmark.scoring.report import RunScores
from plugin.cli.main import main


def _built(folder: Path, volumes: int) -> str:
    assert main(["benchmark", "build", "--phantoms", str(volumes), "--seed", "1", "--out", str(folder)]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def phantom_benchmark(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two phantoms with findings, a brain and a knee."""
    return _built(tmp_path_factory.mktemp("benchmark"), 2)


def _run(benchmark: str, engine: str, out: Path, *more: str) -> None:
    assert main(["benchmark", "run", "--benchmark", benchmark, "--model", engine, "--out", str(out), *more]) == 0


def _to_the_table(benchmark: str, tmp_path: Path, *engines: str) -> tuple[str, dict[str, RunScores]]:
    """Run and score; return the leaderboard and the scores."""
    runs = {engine: tmp_path / engine for engine in engines}
    for engine, run in runs.items():
        _run(benchmark, engine, run)
    assert main(["benchmark", "score", *map(str, runs.values()), "--benchmark", benchmark]) == 0
    page, text = tmp_path / "table.html", tmp_path / "table.md"
    table = ["benchmark", "table", *map(str, runs.values()), "--benchmark", benchmark]
    assert main([*table, "--html", str(page), "--out", str(text)]) == 0
    assert page.read_text().count("<table>") == text.read_text().count("\n## ")
    return text.read_text(), {engine: RunScores.read(run) for engine, run in runs.items()}


def test_phantoms_from_building_to_the_leaderboard(
    phantom_benchmark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The classical engine finds what was painted, stands with ranges beside the published rows; again adds nothing."""
    text, scores = _to_the_table(phantom_benchmark, tmp_path, "classical")
    classical = scores["classical"]
    where = classical.find(Level.VOLUME, Task.LOCALIZATION, "key frame hit")
    assert where is not None and where.value > 0.5
    assert "| GPT-4o (published) |" in text
    assert "| classical | " in text and "[" in text.partition("| classical | ")[2].partition("\n")[0]
    assert sum(tally.missing for tally in classical.tallies) == 0
    assert (tmp_path / "classical" / "certainty.png").read_bytes().startswith(b"\x89PNG")

    answers = tmp_path / "classical" / "answers.jsonl"
    before = answers.read_bytes()
    _run(phantom_benchmark, "classical", tmp_path / "classical")
    assert answers.read_bytes() == before
    _run(phantom_benchmark, "classical", tmp_path / "blank", "--blank", "--limit", "5")
    assert len(read_answers(tmp_path / "blank" / "answers.jsonl")) == 5
    assert "Not for diagnosis" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_embedded_model_sits_the_same_examination(tmp_path: Path) -> None:
    """Grounded and classical on three phantoms: both scored, the grounded one with its calibration."""
    text, scores = _to_the_table(_built(tmp_path / "benchmark", 3), tmp_path, "classical", "grounded")
    assert "| grounded | " in text
    accuracy = scores["grounded"].find(Level.VOLUME, Task.DETECTION, "accuracy")
    assert accuracy is not None and accuracy.value > 0.5
    assert scores["grounded"].certainty.sure > 0


def test_baselines_of_a_built_benchmark(
    phantom_benchmark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is a scored run, ready for the table."""
    assert main(["benchmark", "baselines", "--benchmark", phantom_benchmark, "--out", str(tmp_path / "runs")]) == 0
    assert "| always yes (baseline) |" in capsys.readouterr().out
    scores = json.loads((tmp_path / "runs" / "always-yes" / "scores.json").read_text())
    assert scores["origin"] == "baseline"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--model", "none"], "--model: expected classical, grounded"),
        (["run", "--model", "http://127.0.0.1:9/v1"], "--model-name"),
        (["run", "--model", "classical", "--limit", "0"], "--limit"),
        (["run", "--model", "classical", "--split", "train"], "found none"),
        (["baselines"], "--annotations"),
        (["baselines", "--out", "x"], "--benchmark and --out together"),
    ],
)
def test_wrong_usage_says_what_to_do(
    arguments: list[str], words: str, phantom_benchmark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the message names the option."""
    if arguments[0] == "run":
        arguments = [*arguments, "--benchmark", phantom_benchmark, "--out", str(tmp_path / "run")]
    assert main(["benchmark", *arguments]) == 2
    assert words in capsys.readouterr().err
