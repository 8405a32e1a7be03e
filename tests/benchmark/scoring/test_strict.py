import pytest

from benchmark.items import Item, Prediction
from benchmark.scoring.strict import Outcome, entity_f1, strict_score
from tests.benchmark.scoring.examples import (
    CAPTION,
    HOW_MANY,
    IS_NOT_THERE,
    IS_THERE,
    TEAR,
    WHERE,
    WHERE_IN_FRAME,
    WHICH,
    WHICH_ONE,
)
from worker.engine.profiles import PROFILES

_PUBLISHED = PROFILES["sgmri-vqa-sft"]


def _score(item: Item, text: str, error: str | None = None) -> tuple[Outcome, dict[str, float]]:
    said = Prediction(item_id=item.item_id, text=text, latency_s=0.1, error=error)
    strict = strict_score(item, said, _PUBLISHED)
    return strict.outcome, dict(strict.scores)


@pytest.mark.parametrize(
    ("item", "text", "accuracy"),
    [
        (IS_THERE, "Yes. A tear.", 1.0),
        (IS_THERE, "No.", 0.0),
        (IS_NOT_THERE, "No.", 1.0),
        (HOW_MANY, "There are 3 findings on Frames 1-16.", 1.0),
        (HOW_MANY, "six", 0.0),
        (WHICH, "(A), (C)", 1.0),
        (WHICH, "(A)", 0.0),
        (WHICH_ONE, "(A)", 1.0),
    ],
)
def test_what_is_said_plainly_is_right_or_wrong(item: Item, text: str, accuracy: float) -> None:
    """Yes, numbers and letters are read as statements; a word for a number is one."""
    outcome, scores = _score(item, text)
    assert outcome is Outcome.ANSWERED
    assert scores["accuracy"] == accuracy


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (IS_NOT_THERE, "The image shows an abnormality."),
        (IS_THERE, "There is a tear."),
        (WHICH_ONE, "There is a meniscal defect."),
        (HOW_MANY, "Frames 1-16."),
        (WHERE, "In the left knee."),
        (WHERE, "[100,100,120"),
    ],
)
def test_what_is_not_said_plainly_is_counted_apart(item: Item, text: str) -> None:
    """Neither "abnormal" nor the article "a" is an answer here, and nothing of it is scored as wrong."""
    assert _score(item, text) == (Outcome.UNPARSABLE, {})


def test_no_output_is_unanswered() -> None:
    """A server that failed and a model that abstains cost coverage, not accuracy."""
    for text, error in (("", "HTTP 500"), ("", None), ("Undetermined.", None)):
        assert _score(IS_THERE, text, error) == (Outcome.UNANSWERED, {})


def test_a_count_that_is_wrong_says_by_how_much() -> None:
    """Accuracy is exact; the error is the distance."""
    assert _score(HOW_MANY, "5")[1] == {"accuracy": 0.0, "count error": 2.0}


def test_part_of_a_multiple_choice_is_worth_its_f1() -> None:
    """One of two right letters gives 2/3."""
    assert _score(WHICH, "(A)")[1]["F1"] == pytest.approx(2 / 3)


def test_a_perfect_localization() -> None:
    """The true answer scores 1 everywhere."""
    assert _score(WHERE, WHERE.answer)[1] == {
        "V*": 1.0,
        "frame IoU": 1.0,
        "key frame hit": 1.0,
        "lesion F1": 1.0,
    }


def test_extra_boxes_cost() -> None:
    """Three right boxes and three stray ones: V* is a half, where the published V would be 1."""
    strays = ", ".join(f"Frame {frame}: <bbx>[10,10,5,5]</bbx>" for frame in (1, 2, 3))
    scores = _score(WHERE, f"{WHERE.answer}, {strays}")[1]
    assert scores["V*"] == 0.5
    assert scores["frame IoU"] == 0.5
    assert scores["lesion F1"] == pytest.approx(2 / 3)


def test_a_slip_of_a_frame() -> None:
    """One frame too early keeps two of three frames: V* 2/4, and the key frame (the first of equals) is still met."""
    slipped = ", ".join(f"Frame {frame}: <bbx>[100,180,20,10]</bbx>" for frame in (22, 23, 24))
    scores = _score(WHERE, slipped)[1]
    assert scores == {"V*": 0.5, "frame IoU": 0.5, "key frame hit": 1.0, "lesion F1": 1.0}


def test_a_box_in_an_image_needs_no_frame() -> None:
    """A model that sees one frame calls it the first, or nothing."""
    for text in ("<bbx>[100,180,20,10]</bbx>", "Frame 1: <bbx>[100,180,20,10]</bbx>"):
        assert _score(WHERE_IN_FRAME, text) == (Outcome.ANSWERED, {"V*": 1.0})
    assert _score(WHERE_IN_FRAME, "Frame 24: <bbx>[100,180,20,10]</bbx>")[0] is Outcome.UNPARSABLE


def test_a_plain_denial_is_an_answer_without_boxes() -> None:
    """To say "No findings to localize" is worth 0 where there is something."""
    assert _score(WHERE_IN_FRAME, "No findings to localize.") == (Outcome.ANSWERED, {"V*": 0.0})


@pytest.mark.parametrize(
    ("said", "f1"),
    [
        (CAPTION.answer, 1.0),
        ("A meniscus tear.", 2 / 6),
        ("A normal knee.", 0.0),
        ("Meniscus tear and a joint effusion on Frames 23-25, left.", 10 / 11),
    ],
)
def test_a_caption_is_compared_by_what_it_names(said: str, f1: float) -> None:
    """Findings, sides and frames count; what is named and not there costs."""
    assert entity_f1(said, CAPTION.answer, (TEAR,)) == pytest.approx(f1)


def test_a_caption_is_scored() -> None:
    """The reference caption scores 1 as an output."""
    outcome, scores = _score(CAPTION, CAPTION.answer)
    assert outcome is Outcome.ANSWERED
    assert scores == pytest.approx({"entity F1": 1.0, "ROUGE-L": 1.0, "BLEU": 1.0})
