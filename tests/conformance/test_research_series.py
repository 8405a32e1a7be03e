import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from conformance.research_series import Research, research_series
from sgmri.errors import InvalidGeometry
from sgmri.volume import Anatomy
from tests.conformance.test_phantoms import tool

ABOUT = Research(
    name="file_brain_AXFLAIR_1",
    patient_id="pseudonym",
    anatomy=Anatomy.BRAIN,
    description="AXFLAIR",
    pixel_spacing_mm=(0.6875, 0.6875),
    slice_thickness_mm=5.0,
    timing={"EchoTime": 120.5, "RepetitionTime": 9000.0, "InversionTime": 2500.0},
)
KNEE = replace(ABOUT, name="file1", patient_id="", anatomy=Anatomy.KNEE, description="CORPD_FBK", timing={})


@pytest.fixture
def voxels() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-1e-6, 2e-4, (6, 32, 24)).astype(np.float32)


@pytest.mark.parametrize("about", [ABOUT, KNEE], ids=lambda about: str(about.anatomy))
def test_a_series_is_a_valid_mr_image(about: Research, voxels: NDArray[np.float32], tmp_path: Path) -> None:
    """Attributes that nobody knows are empty where the IOD wants them, and dciodvfy finds no error."""
    datasets = research_series(voxels, about)
    datasets[0].save_as(tmp_path / "one.dcm", enforce_file_format=True)
    done = subprocess.run([tool("dciodvfy"), "-new", tmp_path / "one.dcm"], capture_output=True, text=True, check=False)
    said = (done.stderr + done.stdout).splitlines()
    assert said and [line for line in said if line.startswith("Error")] == []
    assert len({ds.SOPInstanceUID for ds in datasets}) == 6
    assert {ds.PatientID for ds in datasets} == {about.patient_id or about.name}


def test_frames_go_up_a_head_and_back_through_a_knee(voxels: NDArray[np.float32]) -> None:
    """The third coordinate of a head and the second of a knee grow by the slice thickness."""
    for about, axis in ((ABOUT, 2), (KNEE, 1)):
        positions = [float(ds.ImagePositionPatient[axis]) for ds in research_series(voxels, about)]
        assert np.diff(positions) == pytest.approx([5.0] * 5)


def test_the_brightest_voxel_of_all_is_4095(voxels: NDArray[np.float32]) -> None:
    """One scale holds for all frames, and nothing is below 0."""
    stored = np.stack([ds.pixel_array for ds in research_series(voxels, ABOUT)])
    assert (stored.min(), stored.max()) == (0, 4095)
    np.testing.assert_allclose(stored / 4095, np.clip(voxels, 0, None) / voxels.max(), atol=1 / 8000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_voxels_that_cannot_be_scaled_are_refused(value: float) -> None:
    """Not-a-number, infinity and a volume without a positive voxel make no picture."""
    with pytest.raises(InvalidGeometry, match="file_brain"):
        research_series(np.full((2, 4, 4), value, np.float32), ABOUT)
