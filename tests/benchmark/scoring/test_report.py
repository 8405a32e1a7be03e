import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.baselines.volumes import from_items
from benchmark.items import ITEMS_FILE, Level, Prediction, Task, write_items
from benchmark.running.card import ANSWERS_FILE, Benchmark, Origin, RunCard, Selection
from benchmark.running.ledger import Ledger
from benchmark.scoring.answers import TextOptions
from benchmark.scoring.report import RunScores
from benchmark.scoring.score import score_run
from benchmark.scoring.table import as_html, as_markdown, leaderboard
from sgmri.errors import ConfigError
from tests.benchmark.scoring.examples import EVERY, IS_NOT_THERE, IS_THERE


def _scored(folder: Path, said: dict[str, str], *, is_blank: bool = False) -> RunScores:
    folder.mkdir(exist_ok=True)
    write_items(EVERY, folder / ITEMS_FILE)
    benchmark = Benchmark.load(folder)
    card = RunCard(
        name="a <model>",
        origin=Origin.MODEL,
        profile="published-minimal",
        items_sha256=benchmark.sha256,
        selection=Selection(),
        is_blank=is_blank,
    )
    card.write(folder)
    with Ledger(folder / ANSWERS_FILE) as ledger:
        ledger.append_all(
            Prediction(item_id=name, text=text, latency_s=2.0, cost_usd=0.5) for name, text in said.items()
        )
    score_run(folder, benchmark, TextOptions(), rounds=20)
    return RunScores.read(folder)


def test_the_true_answers_score_1_in_every_score(tmp_path: Path) -> None:
    """Published or ours: who says what the benchmark says is right everywhere."""
    scores = _scored(tmp_path, {item.item_id: item.answer for item in EVERY})
    for score in scores.scores:
        wanted = 0.0 if score.name == "count error" else 1.0
        assert score.interval.value == pytest.approx(wanted), score
    assert {tally.answered for tally in scores.tallies} == {1, 2}
    assert scores.latency_s == 2.0 and scores.cost_usd == 0.5 * len(EVERY)
    assert math.isnan(scores.certainty.ece)


def test_what_cannot_be_read_is_counted_and_not_scored(tmp_path: Path) -> None:
    """The published score reads "abnormal" as a no; ours says that it was no answer; the rest was not put yet."""
    said = {IS_NOT_THERE.item_id: "There is nothing abnormal.", IS_THERE.item_id: ""}
    scores = _scored(tmp_path, said)
    published, ours = (scores.find(Level.VOLUME, Task.DETECTION, name) for name in ("A", "accuracy"))
    assert published is not None and published.value == 0.5
    assert ours is None
    tally = next(one for one in scores.tallies if one.task is Task.DETECTION)
    assert (tally.asked, tally.answered, tally.unparsable, tally.unanswered, tally.missing) == (2, 0, 1, 1, 0)
    assert sum(one.missing for one in scores.tallies) == len(EVERY) - 2


def test_scores_are_plain_json(tmp_path: Path) -> None:
    """What is no number is null, so that any reader can read it; a run that was not scored says so."""
    _scored(tmp_path, {})
    assert json.loads((tmp_path / "scores.json").read_text(), parse_constant=lambda name: 1 / 0)["latency_s"] is None
    with pytest.raises(ConfigError, match="benchmark score"):
        RunScores.read(tmp_path / "nowhere")


def test_the_leaderboard_has_published_rows_runs_and_ceilings(tmp_path: Path) -> None:
    """Published rows are marked, blind runs too, intervals stand in brackets, and HTML is escaped."""
    true = _scored(tmp_path / "a", {item.item_id: item.answer for item in EVERY})
    blank = _scored(tmp_path / "b", {IS_THERE.item_id: "Yes."}, is_blank=True)
    tables = leaderboard([true, blank], from_items(EVERY))
    text, page = as_markdown(tables), as_html(tables)
    assert "| GPT-4o (published) | 50.74 |" in text
    assert "| a &lt;model&gt; | 100.0 [100.0, 100.0] |" in text
    assert "| a &lt;model&gt; (black images) |" in text
    assert "first and last box, interpolated | - | 100.0 [100.0, 100.0]" in text
    assert "a &lt;model&gt;" in page and "<model>" not in page
    assert "Not for diagnosis" in text and "Not for diagnosis" in page


def test_answers_to_questions_that_were_not_asked_are_refused(tmp_path: Path) -> None:
    """An answer under a wrong name would be missing from the scores in silence."""
    with pytest.raises(ConfigError, match="found 1 to others, such as nowhere/1/detection"):
        _scored(tmp_path, {IS_THERE.item_id: "Yes.", "nowhere/1/detection": "Yes."})


def test_a_run_without_an_answer_has_tallies_and_no_score(tmp_path: Path) -> None:
    """Nothing was put yet: every question is missing, and the leaderboard says so."""
    scores = _scored(tmp_path, {})
    assert scores.scores == () and sum(tally.missing for tally in scores.tallies) == len(EVERY)
    assert f"{len(EVERY)} (100.0)" in as_markdown(leaderboard([scores], [], published=False))


def test_a_hostile_name_breaks_no_table(tmp_path: Path) -> None:
    """A name stays one cell of text, in HTML and in Markdown, which lets HTML through."""
    name = "x</td><script>alert(1)</script> \\| | y\n| z"
    scores = replace(_scored(tmp_path, {IS_THERE.item_id: "Yes."}), name=name)
    tables = leaderboard([scores], [], published=False)
    assert "<script" not in as_html(tables) and "<script" not in as_markdown(tables)
    rows = [line for line in as_markdown(tables).splitlines() if "alert" in line]
    assert len(rows) == len(tables)
    for row, table in zip(rows, tables, strict=True):
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == len(table.head) + 1
