from dataclasses import replace

import pytest

from conformance import phantoms
from dicom_io.preferences import built_in, rank
from dicom_io.series import SeriesFacts, describe
from sgmri.catalogue import APPLICABILITY
from sgmri.volume import ContrastAgent, Plane, Weighting


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> SeriesFacts:
    return describe(phantoms.write(phantoms.make("brain-normal"), tmp_path_factory.mktemp("brain")))


def _order(usual: SeriesFacts, question_set_id: str, looks: list[dict[str, object]]) -> list[int]:
    return [rank(built_in(), question_set_id, replace(usual, **look)) for look in looks]  # type: ignore[arg-type]  # a table's keyword soup


def test_brain_prefers_axial_flair(usual: SeriesFacts) -> None:
    """A brain is asked of axial FLAIR first, then T2, T1, T1 after contrast agent; PD and the rest come last."""
    axial, unknown = Plane.AXIAL, ContrastAgent.UNKNOWN
    looks: list[dict[str, object]] = [
        {"weighting": Weighting.FLAIR, "plane": axial},
        {"weighting": Weighting.FLAIR, "plane": Plane.CORONAL},
        {"weighting": Weighting.T2, "plane": axial},
        {"weighting": Weighting.T1, "plane": axial, "contrast_agent": ContrastAgent.NOT_GIVEN},
        {"weighting": Weighting.T1, "plane": axial, "contrast_agent": ContrastAgent.GIVEN},
        {"weighting": Weighting.PD, "plane": axial},
        {"weighting": Weighting.UNKNOWN, "plane": axial},
        {"weighting": Weighting.UNKNOWN, "plane": None},
    ]
    places = _order(usual, "brain-1", looks)
    assert places == sorted(set(places))
    before: dict[str, object] = {"weighting": Weighting.T1, "plane": axial, "contrast_agent": unknown}
    assert _order(usual, "brain-1", [before]) == places[3:4]


def test_knee_prefers_coronal_pd_with_fat_saturation(usual: SeriesFacts) -> None:
    """A knee is asked of coronal PD with, then without fat saturation, then sagittal PD, then of other weightings."""
    looks: list[dict[str, object]] = [
        {"weighting": Weighting.PD, "plane": Plane.CORONAL, "fat_suppressed": True},
        {"weighting": Weighting.PD, "plane": Plane.CORONAL, "fat_suppressed": False},
        {"weighting": Weighting.PD, "plane": Plane.SAGITTAL, "fat_suppressed": True},
        {"weighting": Weighting.PD, "plane": Plane.SAGITTAL, "fat_suppressed": None},
        {"weighting": Weighting.PD, "plane": Plane.AXIAL, "fat_suppressed": True},
        {"weighting": Weighting.T2, "plane": Plane.CORONAL},
        {"weighting": Weighting.T1, "plane": Plane.CORONAL},
        {"weighting": Weighting.UNKNOWN, "plane": Plane.AXIAL},
    ]
    places = _order(usual, "knee-1", looks)
    assert places == sorted(set(places))


def test_every_question_set_has_preferences() -> None:
    """The file that comes with the product is sound, and no question set is forgotten in it."""
    assert {one.question_set_id for one in built_in()} == set(APPLICABILITY)
