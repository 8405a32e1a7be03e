import contextlib
import re
from collections import defaultdict

import pytest
from highdicom.sr import CodedConcept as WrittenConcept
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts

from dicom_io import codes
from sgmri import catalogue, vocabulary
from sgmri.errors import EngineError, MalformedInstance, SgmriError
from sgmri.questions import Unanswered
from sgmri.vocabulary import CodedConcept


def _dictionary() -> dict[tuple[str, str], set[str]]:
    meanings: dict[tuple[str, str], set[str]] = defaultdict(set)
    tables: dict[str, dict[str, dict[str, tuple[str, list[int]]]]] = concepts  # type: ignore[assignment]
    for scheme, keywords in tables.items():
        for values in keywords.values():
            for value, (meaning, *_) in values.items():
                meanings[scheme, value].add(_plain(meaning))
    return meanings


def _plain(meaning: str) -> str:
    return re.sub(r"\s*\([a-z /]+\)$", "", meaning).strip().lower()


DICTIONARY = _dictionary()
NOT_IN_THE_DICTIONARY = {"202381003", "230698000", "239720000", "444448004", "444470001", "6118003", "C0034375", "en"}
BY_ITS_TEMPLATE = {"276214006": "finding category"}
"""Meanings of PS3.16's templates (TID 1410) that are not those of its dictionary."""


@pytest.mark.parametrize("concept", codes.CODES.values(), ids=lambda concept: f"{concept.scheme}-{concept.value}")
def test_meaning_agrees_with_the_dictionary(concept: CodedConcept) -> None:
    """Every code that DICOM's dictionary has is written with the dictionary's meaning."""
    known = DICTIONARY.get((concept.scheme, concept.value))
    if known is None:
        assert concept.value in NOT_IN_THE_DICTIONARY
    else:
        assert _plain(concept.meaning) in known | {BY_ITS_TEMPLATE.get(concept.value)}


def test_schemes_are_standard() -> None:
    """No private coding scheme is used (PS3.16 8)."""
    assert {scheme for scheme, _ in codes.CODES} == {"SCT", "DCM", "UCUM", "LN", "UMLS", "RFC5646"}


def test_code_outside_the_table_cannot_be_written() -> None:
    """An unknown code, and a known one with another meaning, are refused."""
    with pytest.raises(SgmriError, match="code table"):
        codes.written(CodedConcept(value="432504007", scheme="SCT", meaning="Cerebral infarction"))
    with pytest.raises(SgmriError, match="code table"):
        codes.written(CodedConcept(value="4147007", scheme="SCT", meaning="Lump"))


def test_an_object_with_another_code_cannot_be_finished() -> None:
    """At any depth, a code that is not in the table, has another meaning or lacks a part is refused."""
    for item, error in (
        (codes.written(codes.COMMENT), None),
        (WrittenConcept(value="432504007", scheme_designator="SCT", meaning="Cerebral infarction"), SgmriError),
        (WrittenConcept(value="121106", scheme_designator="DCM", meaning="Remark"), SgmriError),
        (Dataset(), MalformedInstance),
    ):
        item.CodeMeaning = item.get("CodeMeaning", "Comment")
        ds, group = Dataset(), Dataset()
        group.ConceptNameCodeSequence = [item]
        ds.ContentSequence = [Dataset(), group]
        with contextlib.nullcontext() if error is None else pytest.raises(error):
            codes.require_known(ds)
        assert error is not None or list(codes.written_in(ds)) == [codes.COMMENT]


def test_each_reason_has_a_code_of_its_own() -> None:
    """Every reason for no answer can be told from the others by its code."""
    assert set(codes.NOT_ASSESSED) == set(Unanswered)
    assert len(set(codes.NOT_ASSESSED.values())) == len(Unanswered)


def test_unsure_codes_are_not_in_the_table() -> None:
    """A label whose code nobody has verified is written with the generic code only."""
    unsure = [row for row in vocabulary.FINDINGS.values() if not row.is_sure]
    assert unsure
    assert {codes.finding_concept(row.label).written for row in unsure} == {codes.ABNORMAL_STRUCTURE}


def test_every_label_and_question_can_be_written() -> None:
    """Each label's code, site and modifiers, and the labels of every standard question, are in the table."""
    for row in vocabulary.FINDINGS.values():
        for concept in (row.written, row.site, *row.modifiers, codes.category(row.written)):
            assert codes.written(concept).value == concept.value
    for question_set in catalogue.STANDARD.values():
        for question in question_set.questions:
            for label in question.labels:
                codes.finding_concept(label)


def test_unknown_label_is_an_engine_error() -> None:
    """A label outside the vocabulary stops the encoder instead of getting a code."""
    with pytest.raises(EngineError, match="label of the vocabulary"):
        codes.finding_concept("Alien implant")


def test_modifiers_are_told_apart() -> None:
    """Severity, topography and side of a label go to three different places."""
    row = codes.finding_concept("Ligament - MCL High Grade sprain")
    assert codes.severity(row) == vocabulary.SEVERE
    assert codes.topographical_modifier(row) == vocabulary.MEDIAL
    assert codes.topographical_modifier(codes.finding_concept("Ligament - ACL High Grade Sprain")) is None
    bilateral = codes.finding_concept("Global white matter disease")
    assert codes.severity(bilateral) is None
    assert codes.topographical_modifier(bilateral) is None


def test_artefact_is_no_abnormal_structure() -> None:
    """An artefact and a normal variant are places in the image, not diseases (CID 7150)."""
    for label in ("Motion artifact", "Possible artifact", "Normal variant"):
        assert codes.category(codes.finding_concept(label).written) == codes.SPATIAL_CONCEPT
    assert codes.category(codes.finding_concept("Mass").written) == codes.ABNORMAL_STRUCTURE


def test_read_undoes_written() -> None:
    """A written code is read back as the same concept; an incomplete one is refused."""
    for concept in codes.CODES.values():
        assert codes.read(codes.written(concept)) == concept
    with pytest.raises(MalformedInstance):
        codes.read(Dataset())
