"""Programs that know nothing of ours read what we write, and find in it what we put there."""

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import highdicom
import numpy as np
import pytest
from highdicom.sr import PlanarROIMeasurementsAndQualitativeEvaluations
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io import identity
from dicom_io.objects.masks import painted
from dicom_io.objects.seg import encode_segmentation
from dicom_io.objects.sr import encode_report
from dicom_io.objects.text_report import encode_text_report
from sgmri.findings import Tracklet
from sgmri.readings import Reading

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
ReadGroups = Callable[[Path], list[PlanarROIMeasurementsAndQualitativeEvaluations]]
CASES = ["brain", "brain-enhanced", "knee", "knee-enhanced"]


@pytest.fixture(scope="module", params=CASES)
def written(
    request: pytest.FixtureRequest, make_case: MakeCase, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Reading, Path]:
    """Return a reading, and the directory of its objects: sr.dcm, text.dcm, seg.dcm and label-map.dcm."""
    reading, sources = make_case(request.param)
    directory = tmp_path_factory.mktemp(request.param)
    segmentation = encode_segmentation(reading, sources)
    objects = {
        "sr": encode_report(reading, sources, segmentation=segmentation),
        "text": encode_text_report(reading, sources),
        "seg": segmentation,
        "label-map": encode_segmentation(reading, sources, as_label_map=True),
    }
    for name, ds in objects.items():
        assert ds is not None
        ds.save_as(directory / f"{name}.dcm", enforce_file_format=True)
    return reading, directory


def _program(package: str, name: str) -> str:
    try:
        return str(distribution(package).locate_file(f"{package}/bin/{name}"))
    except PackageNotFoundError:
        pytest.skip(f"{name} of {package} is not installed")


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def _voxels(tracklet: Tracklet) -> int:
    sizes = [tuple(part.stop - part.start for part in painted(finding.box)) for finding in tracklet.findings]
    return sum(rows * columns for rows, columns in sizes)


def test_dcmqi_reads_the_report(written: tuple[Reading, Path]) -> None:
    """tid1500reader: one measurement group a box, each with its finding's identifier and its own UID."""
    reading, directory = written
    out = directory / "groups.json"
    done = _run(_program("dcmqi", "tid1500reader"), "--inputDICOM", directory / "sr.dcm", "--outputMetadata", out)
    assert done.returncode == 0, done.stderr
    groups = json.loads(out.read_text(encoding="utf-8"))["Measurements"]
    uids = identity.result_uids(reading)
    expected = [(t.tracklet_id, uids.box_uid(t, finding)) for t in reading.tracklets for finding in t.findings]
    assert [(group["TrackingIdentifier"], group["TrackingUniqueIdentifier"]) for group in groups] == expected


def test_dcmqi_reads_the_segmentation(written: tuple[Reading, Path]) -> None:
    """segimage2itkimage: one volume a segment, with as many voxels as its boxes have pixels."""
    reading, directory = written
    out = directory / "volumes"
    out.mkdir(exist_ok=True)
    program = _program("dcmqi", "segimage2itkimage")
    done = _run(program, "--inputDICOM", directory / "seg.dcm", "--outputDirectory", out, "--outputType", "nrrd")
    assert done.returncode == 0, done.stderr
    volumes = [_nrrd(out / f"{number}.nrrd") for number in range(1, len(reading.tracklets) + 1)]
    assert len(list(out.glob("*.nrrd"))) == len(volumes)
    assert [int((volume > 0).sum()) for volume in volumes] == [_voxels(tracklet) for tracklet in reading.tracklets]


def _nrrd(path: Path) -> NDArray[np.integer]:
    header, _, data = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    dtype = {"unsigned char": "u1", "short": "<i2", "unsigned short": "<u2"}[fields["type"]]
    assert fields["encoding"] == "gzip"
    return np.frombuffer(gzip.decompress(data), dtype)


def test_highdicom_agrees(written: tuple[Reading, Path], read_groups: ReadGroups) -> None:
    """Highdicom's own readers count the same groups, and the same voxels in the binary object and the label map."""
    reading, directory = written
    assert len(read_groups(directory / "sr.dcm")) == len(reading.findings)
    for name in ("seg", "label-map"):
        volume = highdicom.seg.segread(directory / f"{name}.dcm").get_volume(combine_segments=True)
        numbers, counts = np.unique(volume.array[volume.array > 0], return_counts=True)
        expected = {n: _voxels(tracklet) for n, tracklet in enumerate(reading.tracklets, start=1)}
        assert dict(zip(numbers.tolist(), counts.tolist(), strict=True)) == expected


def test_dcmtk_reads_the_reports(written: tuple[Reading, Path]) -> None:
    """Dsrdump reads both reports without complaint, and finds a region for every box."""
    reading, directory = written
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump of DCMTK is not installed")
    for name, regions in (("sr", len(reading.findings)), ("text", 0)):
        done = _run("dsrdump", "-q", directory / f"{name}.dcm")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("SCOORD:") == regions


def test_objects_belong_to_their_study(
    written: tuple[Reading, Path], dcentvfy: Callable[[Sequence[Path]], list[str]], request: pytest.FixtureRequest
) -> None:
    """Dcentvfy finds no attribute of patient, study, series or frame of reference that differs within its entity."""
    _, directory = written
    sources = directory / "sources"
    sources.mkdir(exist_ok=True)
    paths = phantoms.write(phantoms.make(request.node.callspec.params["written"]), sources)
    assert dcentvfy([*paths, *sorted(directory.glob("*.dcm"))]) == []
