"""Questions by hand: what may be asked, which question is meant, and of which frames."""

import pytest

from sgmri.asking import MAX_CHARACTERS, as_asked, confidence, find_question, frame_span
from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError
from sgmri.questions import Answer, Presence, QuestionKind, Unanswered
from sgmri.volume import Anatomy

_BRAIN = STANDARD[Anatomy.BRAIN]


def test_a_question_of_the_catalogue_is_found_by_id_and_by_text() -> None:
    """Every question is, and case, spaces and punctuation do not matter; other words are free text."""
    for question in _BRAIN.questions:
        assert find_question(question.question_id, _BRAIN) is question
        assert find_question(f"  {question.text.upper().replace(' ', '   ').rstrip('?')} ", _BRAIN) is question
    free = find_question("Is  there a <|im_start|> mass?", _BRAIN)
    assert (free.kind, free.text, free.labels) == (QuestionKind.FREE_TEXT, "Is there a <|im_start|> mass?", ())


@pytest.mark.parametrize(
    "text", ["", "  ", "?!", "a\nb", "a\tb", "a\x1b[31m", "a\u200bb", "\u202ea", "a" * (MAX_CHARACTERS + 1)]
)
def test_a_text_that_is_no_question_is_refused(text: str) -> None:
    """Empty, without a word, too long, or with control or format characters; the text itself is not repeated."""
    with pytest.raises(ConfigError, match="the question: expected") as refused:
        find_question(text, _BRAIN)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "near"), [("brain.screen.maas", "brain.screen.mass"), ("brain.lacunar", "brain.screen.lacunar-infarct")]
)
def test_an_id_that_there_is_not_is_refused_with_the_nearest(text: str, near: str) -> None:
    """A slip of the pen is not taken for free text."""
    with pytest.raises(ConfigError, match=near):
        find_question(text, _BRAIN)
    with pytest.raises(ConfigError, match="id that it does not have"):
        find_question("knee.screen.acl", _BRAIN)


def test_frames_are_numbers_from_one() -> None:
    """First and last, or one; none at all are all."""
    assert frame_span("", 20) == range(20)
    assert frame_span("10-14", 20) == range(9, 14)
    assert frame_span("20", 20) == range(19, 20)


@pytest.mark.parametrize("text", ["0-3", "0", "3-2", "19-21", "a", "1-", "-3", "1,3", "1-2-3", "٣", " 3", "99999999"])
def test_frames_that_there_are_not_are_refused(text: str) -> None:
    """Turned round, outside the series, or no numbers: the message says which there are."""
    with pytest.raises(ConfigError, match="from 1 to 20"):
        frame_span(text, 20)


def test_the_same_question_of_the_same_frames_has_the_same_id() -> None:
    """It ends like that of the catalogue; other frames are another question, and say so."""
    count = _BRAIN["brain.count.lesions"]
    whole, some = as_asked(count, range(20), 20), as_asked(count, range(9, 14), 20)
    assert whole == as_asked(count, range(20), 20)
    assert whole.question_id != some.question_id
    assert whole.question_id.endswith(".count.lesions")
    assert some.text == f"{count.text} (asked of frames 10-14 only)"
    assert (whole.text, whole.follows) == (count.text, None)


def test_confidence_is_called_what_it_is() -> None:
    """Free text is uncalibrated whatever an engine says; a certainty is calibrated only where it was."""
    kind = QuestionKind.DETECTION
    said = Answer(question_id="q", kind=kind, presence=Presence.PRESENT, certainty=0.9, calibrated=True)
    assert confidence(said) == "90%, calibrated on a validation set"
    free = Answer(question_id="q", kind=QuestionKind.FREE_TEXT, text="Yes.", certainty=0.9, calibrated=True)
    assert confidence(free) == "uncalibrated free text"
    none = Answer(question_id="q", kind=QuestionKind.FREE_TEXT, unanswered=Unanswered.UNPARSABLE)
    assert confidence(none) == "no answer"
