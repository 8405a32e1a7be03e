import pytest

from benchmark.items import AnswerType
from benchmark.scoring.published_values import published_a_score, published_answer_text

_CLOSED, _SINGLE, _MULTIPLE = AnswerType.CLOSED, AnswerType.SINGLE, AnswerType.MULTIPLE
_ALL = "(A), (B), (C), (D)"


@pytest.mark.parametrize(
    ("prediction", "truth", "answer_type", "score"),
    [
        ("Yes. There is oedema.", "Yes", _CLOSED, 1),
        ("The image shows an abnormality in the right hemisphere.", "Yes", _CLOSED, 0),
        ("There is a tear.", "Yes", _CLOSED, 0),
        ("my answer is: **Yes**, not normal", "Yes", _CLOSED, 1),
        ("", "Yes", _CLOSED, 0),
        ("The volume is normal.", "No", _CLOSED, 1),
        ("Frame 1: <bbx>[126,111,53,109]</bbx>. Total abnormal findings: 6.", "6", _CLOSED, 1),
        ("There are 3 findings on Frames 1-16.", "3", _CLOSED, 0),
        ("No abnormal findings.", "0", _CLOSED, 1),
        ("six", "6", _CLOSED, 0),
        ("T1", "T1", _CLOSED, 0),
        ("(A). The ligament is thick. It is not (B) ACL Tear because the fibres are whole.", "(A)", _SINGLE, 1),
        ("There is a meniscus tear.", "(A)", _SINGLE, 1),
        ("There is a meniscus tear.", "(B)", _SINGLE, 0),
        ("(B) or (A)", "(A)", _SINGLE, 1),
        ("(A), (B)", _ALL, _MULTIPLE, 0.6667),
        ("(A)", _ALL, _MULTIPLE, 0.4),
        ("(A), (B)", "(A), (C)", _MULTIPLE, 0.5),
        ("(B), (D)", "(A), (C)", _MULTIPLE, 0),
    ],
)
def test_the_19_published_a_vectors(prediction: str, truth: str, answer_type: AnswerType, score: float) -> None:
    """Every A vector of the paper's code scores as it did there, right or wrong."""
    assert published_a_score(prediction, truth, answer_type) == pytest.approx(score, abs=5e-5)


def test_an_open_answer_has_no_a_score() -> None:
    """The paper reports none, so none is made up."""
    with pytest.raises(ValueError, match="open-ended"):
        published_a_score("x", "x", AnswerType.OPEN)


@pytest.mark.parametrize(
    ("text", "is_volume", "read"),
    [
        ("<think>no\nno</think> Yes", False, "Yes"),
        ("3 seen. Therefore, the final answer is: 2", True, "2"),
        ("3 seen. Therefore, the final answer is: 2", False, "3 seen. Therefore, the final answer is: 2"),
    ],
)
def test_what_is_read_of_an_output(text: str, is_volume: bool, read: str) -> None:
    """Thoughts are dropped everywhere; the set phrase counts for volumes only."""
    assert published_answer_text(text, is_volume=is_volume) == read


@pytest.mark.parametrize(
    "text", ["9" * 5000, "the final answer is " + "9" * 5000, "3 findings on Frames 1-" + "9" * 5000]
)
def test_a_number_without_end_is_no_count(text: str) -> None:
    """A model that repeats a digit for ever has a wrong count, and does not end the scoring."""
    assert published_a_score(text, "3", _CLOSED) == 0
