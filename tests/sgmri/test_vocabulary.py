"""Every code that can be written is well formed, said once, and agrees with the published subset."""

import pytest
from pydicom.sr.codedict import codes

from sgmri import vocabulary
from sgmri.vocabulary import FINDINGS, GENERIC_FINDING, CodedConcept, FindingConcept, body_part, concept
from sgmri.volume import Anatomy

ALL_CODES = sorted(
    {value for value in vars(vocabulary).values() if isinstance(value, CodedConcept)}
    | {code for row in FINDINGS.values() for code in (row.finding, row.site, *row.modifiers)},
    key=lambda code: (code.scheme, code.value),
)
every_code = pytest.mark.parametrize("code", ALL_CODES, ids=lambda code: f"{code.scheme}-{code.value}")

# Verhoeff's tables, as SNOMED CT's release file specification prints them for the check digit of an identifier
_TIMES = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTED = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def verhoeff(digits: str) -> int:
    """Return 0 exactly for a number whose last digit is its right check digit."""
    checked = 0
    for place, digit in enumerate(reversed(digits)):
        checked = int(_TIMES[checked][int(_PERMUTED[place % 8][int(digit)])])
    return checked


@every_code
def test_a_snomed_code_is_no_typing_error(code: CodedConcept) -> None:
    """A SNOMED CT identifier of a concept has the right check digit and partition 00 or 10; DCM codes are numbers."""
    assert code.scheme in {"SCT", "DCM"}
    assert code.value.isdigit()
    if code.scheme == "SCT":
        assert verhoeff(code.value) == 0
        assert code.value[-3:-1] in {"00", "10"}


def test_the_check_digit_finds_a_swapped_digit() -> None:
    """The check above can fail: neighbours swapped or a digit changed are seen."""
    assert verhoeff("12738006") == 0
    assert verhoeff("21738006") != 0
    assert verhoeff("12738005") != 0


@every_code
def test_a_meaning_fits_its_value_representation(code: CodedConcept) -> None:
    """Code Meaning (0008,0104) is LO: 64 characters, no backslash; Code Value (0008,0100) is SH: 16 characters."""
    assert 0 < len(code.meaning) <= 64
    assert "\\" not in code.meaning
    assert len(code.value) <= 16


@every_code
def test_one_code_has_one_meaning(code: CodedConcept) -> None:
    """The same value never appears with two meanings, nor a meaning with two values."""
    same_value = {other.meaning for other in ALL_CODES if (other.scheme, other.value) == (code.scheme, code.value)}
    same_meaning = {other.value for other in ALL_CODES if other.meaning == code.meaning}
    assert same_value == {code.meaning}
    assert same_meaning == {code.value}


@pytest.mark.parametrize("scheme", ["SCT", "DCM"])
def test_codes_agree_with_the_standard_where_it_has_them(scheme: str) -> None:
    """A code that stands in DICOM's own tables has a meaning given there, but for capitals and semantic tag."""
    dictionary = getattr(codes, scheme)
    published: dict[str, set[str]] = {}
    for code in (getattr(dictionary, name) for name in dictionary.dir()):
        published.setdefault(code.value, set()).add(code.meaning.partition(" (")[0].casefold())
    ours = [code for code in ALL_CODES if code.scheme == scheme]
    known = [code for code in ours if code.value in published]
    assert len(known) > 0.8 * len(ours)
    assert [c for c in known if c.meaning.partition(" (")[0].casefold() not in published[c.value]] == []


@pytest.mark.parametrize("row", FINDINGS.values(), ids=lambda row: row.label)
def test_an_unsure_code_is_never_written(row: FindingConcept) -> None:
    """A row that nobody has verified is written with the generic code; a sure row with its own."""
    assert row.written == (row.finding if row.is_sure else GENERIC_FINDING)
    assert row.is_sure == (row.written != GENERIC_FINDING)


def test_both_anatomies_are_covered_without_shared_labels() -> None:
    """A label says which anatomy it belongs to: 30 for the brain, 22 for the knee and one of ours."""
    counts = {anatomy: sum(row.anatomy is anatomy for row in FINDINGS.values()) for anatomy in Anatomy}
    assert counts == {Anatomy.BRAIN: 30, Anatomy.KNEE: 23}


def test_labels_as_published_are_tolerated() -> None:
    """Stray spaces and the "Global label:" mark of the fastMRI+ file do not matter."""
    plain = concept("Small vessel chronic white matter ischemic change")
    assert concept("Global label: Small vessel chronic white matter ischemic change ") is plain


def test_an_unknown_label_is_refused() -> None:
    """A label without a row raises: there is no code to fall back on in silence."""
    with pytest.raises(KeyError):
        concept("Aneurysm")


def test_the_region_of_an_anatomy_has_a_code() -> None:
    """Each anatomy's region is coded, and differs from the other's."""
    assert len({body_part(anatomy).value for anatomy in Anatomy}) == len(Anatomy)
