import importlib.util

import pytest

from benchmark.scoring.published_text import (
    Opinion,
    TextMeasures,
    bert_scores,
    measure,
    published_ar_score,
    without_places,
)
from sgmri.errors import ConfigError

_TENS = (10, 10, 10)


@pytest.mark.parametrize(
    ("opinion", "measures", "score"),
    [
        (Opinion(candidate=(7, 8, 6), reference=_TENS), TextMeasures(bert=0.3, bleu=0.1, rouge_l=0.4), 0.44),
        (Opinion(candidate=(9, 9, 9), reference=(8, 8, 8)), TextMeasures(bert=0.5, bleu=0.2, rouge_l=0.5), 0.64),
        (None, TextMeasures(bert=0.3, bleu=0.1, rouge_l=0.4), 0.2667),
        (Opinion(candidate=None), TextMeasures(bert=0.3, bleu=0.1, rouge_l=0.4), 0.16),
        (Opinion(candidate=(7, 8, 6), reference=_TENS), TextMeasures(bleu=0.1, rouge_l=0.4), 0.43),
    ],
)
def test_the_5_published_ar_vectors(opinion: Opinion | None, measures: TextMeasures, score: float) -> None:
    """Judge, capped judge, no judge, a judge that failed, and a missing measure mix as published."""
    assert published_ar_score(measures, opinion) == pytest.approx(score, abs=5e-5)


def test_text_measures() -> None:
    """The same text scores 1, stems count as the same word, nothing at all scores 0."""
    same = measure("Two small lesions are seen", "Two small lesions are seen")
    assert (same.bleu, same.rouge_l) == pytest.approx((1.0, 1.0))
    assert measure("lesion", "lesions").rouge_l == 1.0
    assert measure("  ", "Two lesions") == TextMeasures(bleu=0.0, rouge_l=0.0)
    # 2 of 4 words, no pair: (1/2 * 0.1/3 * 0.1/2 * 0.1/1) ** (1/4)
    assert measure("lesions x two y", "two big lesions here").bleu == pytest.approx(
        (0.5 * 0.1 / 3 * 0.05 * 0.1) ** 0.25
    )


def test_places_are_left_out_of_a_localization() -> None:
    """Boxes and frame numbers are scored by V, and not a second time as words."""
    text = (
        "On the left. Frame 3: <bbx>[1,2,3,4]</bbx>, Frame 4: <bbx>[1,2,3,4]</bbx>. Frames 5-7, seen well [1, 2, 3, 4]"
    )
    assert without_places(text) == "On the left. , . seen well"


@pytest.mark.skipif(importlib.util.find_spec("bert_score") is not None, reason="bert-score is installed")
def test_bert_score_that_is_not_installed_says_so() -> None:
    """A measure that was asked for and cannot be had is an error, not a lower score."""
    with pytest.raises(ConfigError, match="bert-score"):
        bert_scores(["a"], ["a"])


def test_a_box_that_begins_again_and_again_ends_at_the_next_tag() -> None:
    """Only a whole box is taken out, so that output stuck on a tag costs one pass over it, not one a tag."""
    assert without_places("<bbx>[1,2 <bbx>[1,2,3,4]</bbx> left") == "<bbx>[1,2 left"
