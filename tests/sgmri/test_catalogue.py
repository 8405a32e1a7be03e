"""The standard question sets use the coded vocabulary and nothing else."""

import pytest

from sgmri.catalogue import STANDARD, by_id
from sgmri.questions import NONE_OF_THESE, QuestionKind, QuestionSet
from sgmri.vocabulary import FINDINGS, GENERIC_LABEL
from sgmri.volume import Anatomy

sets = pytest.mark.parametrize("question_set", STANDARD.values(), ids=lambda s: s.set_id)


def test_each_anatomy_has_a_set_of_its_own() -> None:
    """Every anatomy is covered, by a set that says so and can be found by its id."""
    assert set(STANDARD) == set(Anatomy)
    for anatomy, question_set in STANDARD.items():
        assert question_set.anatomy is anatomy
        assert by_id(question_set.set_id) is question_set


def test_an_unknown_id_is_a_key_error() -> None:
    """A set that does not exist is not replaced by another."""
    with pytest.raises(KeyError):
        by_id("brain-0")


@sets
def test_every_label_can_be_written(question_set: QuestionSet) -> None:
    """Each label and option has a row in the vocabulary, for this anatomy."""
    for question in question_set.questions:
        for label in (*question.labels, *question.options):
            assert label == NONE_OF_THESE or FINDINGS[label].anatomy is question_set.anatomy, label


@sets
def test_a_choice_can_always_be_refused(question_set: QuestionSet) -> None:
    """Every classification offers "None of these", and at least two real options."""
    for question in question_set.questions:
        if question.kind is QuestionKind.CLASSIFICATION:
            assert question.options.count(NONE_OF_THESE) == 1
            assert len(set(question.options)) == len(question.options) >= 3
        else:
            assert question.options == ()


@sets
def test_every_screened_finding_is_located_when_present(question_set: QuestionSet) -> None:
    """Each screen question has one localisation behind it, about the same labels."""
    screens = [q for q in question_set.questions if ".screen." in q.question_id]
    assert len(screens) >= 10
    for screen in screens:
        followers = [q for q in question_set.questions if q.follows == screen.question_id]
        assert [q.kind for q in followers] == [QuestionKind.LOCALISATION]
        assert followers[0].labels == screen.labels != ()


@sets
def test_the_first_round_assumes_nothing(question_set: QuestionSet) -> None:
    """Without answers, only detections and the summary are asked."""
    kinds = {question.kind for question in question_set.next_round({})}
    assert kinds == {QuestionKind.DETECTION, QuestionKind.CAPTIONING}


@sets
def test_no_screened_label_is_asked_twice(question_set: QuestionSet) -> None:
    """A label belongs to one screen question: two answers about one thing could contradict each other."""
    labels = [label for q in question_set.questions if ".screen." in q.question_id for label in q.labels]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("anatomy", Anatomy)
def test_a_finding_of_unknown_kind_has_a_label(anatomy: Anatomy) -> None:
    """What an engine finds but cannot name is written under a label of the right anatomy."""
    assert FINDINGS[GENERIC_LABEL[anatomy]].anatomy is anatomy
