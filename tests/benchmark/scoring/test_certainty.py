from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.items import Prediction
from benchmark.scoring.answers import ScoredAnswer, TextOptions, score_answers
from benchmark.scoring.certainty import certainty, plot
from tests.benchmark.scoring.examples import IS_THERE
from worker.engine.profiles import PROFILES


def _scored(*said: tuple[str, float | None]) -> list[ScoredAnswer]:
    items = [replace(IS_THERE, item_id=f"{number}/volume/detection") for number in range(len(said))]
    predictions = {
        item.item_id: Prediction(item_id=item.item_id, text=text, latency_s=0.1, certainty=stated)
        for item, (text, stated) in zip(items, said, strict=True)
    }
    return score_answers(items, predictions, PROFILES["sgmri-vqa-sft"], TextOptions())


def test_calibration_counts_only_what_states_a_certainty() -> None:
    """Two answers at 0.9, one of them wrong, are off by 0.4; the third states nothing."""
    found = certainty(_scored(("Yes.", 0.9), ("No.", 0.9), ("Yes.", None)))
    assert (found.asked, found.answered, found.sure) == (3, 3, 2)
    assert found.ece == pytest.approx(0.4)
    (only,) = found.bins
    assert only.certainty == pytest.approx(0.9)
    assert (only.accuracy, only.answers) == (0.5, 2)


def test_risk_rises_with_coverage_and_what_is_not_said_is_no_error() -> None:
    """The surest half is right; the unparsable answer costs coverage, not risk."""
    found = certainty(_scored(("Yes.", 0.9), ("No.", 0.6), ("There is a tear.", None), ("", None)))
    assert found.curve == ((0.25, 0.0), (0.5, 0.5))
    assert found.error == 0.5
    assert found.area == pytest.approx(0.25)


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    """A run with certainties and one without both give a PNG."""
    for number, said in enumerate(((("Yes.", 0.9), ("No.", 0.6)), (("Yes.", None),), (("maybe", None),))):
        plot(certainty(_scored(*said)), "model", tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_a_models_name_is_no_formula(tmp_path: Path) -> None:
    """What the plot is called stands there as it is, with dollars and backslashes."""
    plot(certainty(_scored(("Yes.", 0.9))), r"a$\frac{$b", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"
