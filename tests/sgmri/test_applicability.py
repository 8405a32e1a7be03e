from dataclasses import replace

import pytest

from sgmri.applicability import Look, Span
from sgmri.catalogue import APPLICABILITY, STANDARD
from sgmri.volume import Anatomy, ContrastAgent, Plane, Weighting

USUAL = Look(
    modality="MR",
    anatomy=Anatomy.BRAIN,
    plane=Plane.AXIAL,
    weighting=Weighting.FLAIR,
    frames=22,
    rows=256,
    columns=256,
    pixel_spacing_mm=(0.9, 0.9),
    slice_spacing_mm=5.0,
    coverage_mm=110.0,
)


def test_every_set_says_what_it_is_asked_of() -> None:
    """Each standard question set has its applicability, of the same anatomy, with no weighting or plane forgotten."""
    assert set(APPLICABILITY) == {questions.set_id for questions in STANDARD.values()}
    for anatomy, questions in STANDARD.items():
        assert APPLICABILITY[questions.set_id].anatomy is anatomy
        assert APPLICABILITY[questions.set_id].planes and APPLICABILITY[questions.set_id].weightings


def test_usual_brain_is_inside() -> None:
    """A brain as it is scanned every day has no misfit; the bounds themselves are inside."""
    usual = APPLICABILITY["brain-1"]
    assert usual.misfits(USUAL) == ()
    assert usual.misfits(replace(USUAL, frames=4, slice_spacing_mm=5.0, coverage_mm=4 * 4.9999999)) == ()


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (replace(USUAL, modality="CT"), "expected modality MR, found another"),
        (replace(USUAL, anatomy=Anatomy.KNEE), "expected a brain, found a knee"),
        (replace(USUAL, plane=None), "expected plane axial, coronal, sagittal, found none that all frames share"),
        (replace(USUAL, frames=900), "expected frames of 4 to 600, found 900"),
        (replace(USUAL, columns=40), "expected a matrix of 64 to 1024, found 256 x 40"),
        (
            replace(USUAL, pixel_spacing_mm=(0.9, 4.5)),
            "expected a pixel spacing of 0.2 to 4 mm, found 0.9 x 4.5 mm",
        ),
        (replace(USUAL, slice_spacing_mm=0.1), "expected a slice spacing of 0.3 to 12 mm, found 0.1 mm"),
        (replace(USUAL, coverage_mm=3.6), "expected a coverage of 20 to 400 mm, found 3.6 mm"),
    ],
)
def test_misfit_is_said_with_numbers(look: Look, said: str) -> None:
    """Each way to be outside is one phrase with what was expected and what was found."""
    assert APPLICABILITY["brain-1"].misfits(look) == (said,)


def test_weighting_outside_is_said() -> None:
    """A set that is made for some weightings names them."""
    flair_only = replace(APPLICABILITY["brain-1"], weightings=frozenset({Weighting.FLAIR}))
    assert flair_only.misfits(replace(USUAL, weighting=Weighting.T1)) == ("expected weighting FLAIR, found T1",)


def test_contrast_agent_outside_is_said() -> None:
    """A set that is not made for images after a contrast agent says so; what is unknown it may accept."""
    knee, usual = APPLICABILITY["knee-1"], replace(USUAL, anatomy=Anatomy.KNEE)
    said = "expected contrast agent not given, unknown, found given"
    assert knee.misfits(replace(usual, contrast_agent=ContrastAgent.GIVEN)) == (said,)
    assert knee.misfits(replace(usual, contrast_agent=ContrastAgent.UNKNOWN)) == ()
    assert APPLICABILITY["brain-1"].misfits(replace(USUAL, contrast_agent=ContrastAgent.GIVEN)) == ()


@pytest.mark.parametrize(("least", "most"), [(0, 1), (2, 1), (-1, 1)])
def test_span_goes_upwards_from_above_nothing(least: float, most: float) -> None:
    """A span that holds nothing, or counts from zero, is a mistake in the catalogue."""
    with pytest.raises(ValueError, match="expected 0 < least <= most"):
        Span(least=least, most=most)
