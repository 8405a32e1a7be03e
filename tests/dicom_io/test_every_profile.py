"""The whole table: every kind of object of every profile, of every kind of source, before the validators."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.kinds import FILE_NAME, ResultKind
from dicom_io.profiles import KINDS, profile_for
from dicom_io.results import differences, read_object, write_results
from dicom_io.viewer_rules import violations
from sgmri.readings import Reading
from sgmri.settings import Delivery
from tests.dicom_io.forms import ALLOWED

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
CASES = [
    "brain",
    "knee-enhanced",
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)  # scripts/test-readings
        for name in ("brain-enhanced", "brain-nonsquare", "brain-normal", "brain-oblique", "knee")
    ),
]
DESTINATIONS = {
    "default": Delivery(),
    **{viewer: Delivery(viewers=(viewer,)) for viewer in KINDS},
    "all": Delivery(viewers=tuple(KINDS), cornerstone_tracking=True, refined_masks=True),
    "all-label-map": Delivery(viewers=tuple(KINDS), label_map=True),
}
WITHOUT_BOXES = {ResultKind.SR, ResultKind.TEXT_SR, ResultKind.PDF}
"""What there is to say of a reading that found nothing."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_every_object_of_every_profile_is_valid_and_shown_and_read_back(
    name: str,
    make_case: MakeCase,
    dciodvfy: Callable[[Path], list[str]],
    dcentvfy: Callable[[Sequence[Path]], list[str]],
    tmp_path: Path,
) -> None:
    """Dciodvfy and dcentvfy have nothing to say, every rule of every viewer holds, and decoding gives the reading."""
    reading, _ = make_case(name)
    sources = phantoms.write(phantoms.make(name), tmp_path / "sources")
    for destination, delivery in DESTINATIONS.items():
        directory = tmp_path / destination
        directory.mkdir()
        profile = profile_for(delivery)
        results = write_results(reading, sources, directory, profile=profile)
        expected = profile.kinds if reading.tracklets else profile.kinds & WITHOUT_BOXES
        assert {result.path.name for result in results} == {FILE_NAME[kind] for kind in expected}
        for result in results:
            assert [line for line in dciodvfy(result.path) if ALLOWED not in line] == [], (destination, result.kind)
            ds = read_object(result.path)
            assert violations(ds, profile.rules_of) == (), (destination, result.kind)
            assert differences(reading, {result.kind: ds}) == (), (destination, result.kind)
        assert dcentvfy([*sources, *(result.path for result in results)]) == [], destination
