from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance import phantoms
from dicom_io.profiles import profile_for
from dicom_io.results import write_results
from sgmri.findings import Laterality, Tracklet
from sgmri.readings import Reading
from sgmri.settings import Delivery
from sgmri.volume import Anatomy
from tests.dicom_io.conftest import make_reading as _make_reading

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
make_reading = _make_reading


@dataclass(frozen=True)
class Case:
    """A reading's objects, and what they were made of."""

    objects: Path
    sources: Path

    def named(self, name: str) -> Path:
        return self.objects / name


MakeObjects = Callable[..., Case]


@pytest.fixture(scope="session")
def make_objects(make_reading: Callable[..., Reading], tmp_path_factory: pytest.TempPathFactory) -> MakeObjects:
    """Write the objects of a phantom's reading for a destination; sides are those of the phantom."""
    sources: dict[str, Path] = {}

    def make(name: str, *viewers: str, label_map: bool = False) -> Case:
        phantom = phantoms.make(name)
        if name not in sources:
            sources[name] = tmp_path_factory.mktemp(name) / "sources"
            phantoms.write(phantom, sources[name])
        sides = [Laterality.LEFT, Laterality.LEFT if phantom.anatomy is Anatomy.KNEE else Laterality.RIGHT, None, None]
        tracklets = tuple(
            Tracklet(tracklet_id=f"lesion-{number}", findings=lesion.findings, laterality=side)
            for number, (lesion, side) in enumerate(zip(phantom.lesions, sides, strict=False), start=1)
        )
        reading = make_reading(phantom.datasets, phantom.anatomy, tracklets)
        directory = tmp_path_factory.mktemp("objects")
        profile = profile_for(Delivery(viewers=viewers, label_map=label_map))
        write_results(reading, sorted(sources[name].iterdir()), directory, profile=profile)
        return Case(directory, sources[name])

    return make


@pytest.fixture(scope="session")
def brain(make_objects: MakeObjects) -> Case:
    """SEG, SR, PR and KO of a classic brain."""
    return make_objects("brain", "weasis")


@pytest.fixture(scope="session")
def enhanced(make_objects: MakeObjects) -> Case:
    """SEG and SR of an Enhanced brain."""
    return make_objects("brain-enhanced")
