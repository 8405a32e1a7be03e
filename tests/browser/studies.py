"""Studies for the viewer, and where they lie: images, and results with boxes that are known to the pixel."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page
from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.kinds import ResultKind
from dicom_io.network import Destination
from dicom_io.profiles import profile_for
from dicom_io.results import write_results
from dicom_io.scu import sendable, store
from plugin.parts import free_port, start_pacs, start_viewer
from plugin.processes import Processes
from plugin.viewer.web import deep_link
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.readings import Reading
from sgmri.settings import Delivery, Worker
from worker.engines import create_engine
from worker.pipeline import read_paths

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
OVERLAPPING = "brain-oblique"
"""The study of which two segments overlap."""
LABELS = {"brain": "Nonspecific white matter lesion", "knee": "Joint Effusion"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study in the PACS.

    Parameters
    ----------
    reading
        What its results say.
    sources
        Headers of the images, by SOP Instance UID.
    series
        Series Instance UID of each result, by kind.
    """

    reading: Reading
    sources: dict[str, Dataset]
    series: dict[ResultKind, str]

    def boxes(self) -> list[tuple[str, int, tuple[float, ...]]]:
        """Return every box as SOP Instance UID, frame number and corners, sorted."""
        return sorted(self._place(finding, finding.box) for finding in self.reading.findings)

    def segments(self) -> list[tuple[int, str, int, tuple[float, ...], float]]:
        """Return every segment's extent on a frame: number, instance, frame number, corners, pixels; sorted."""
        return sorted(
            (number, *self._place(finding, finding.box.grown_to_pixels()), finding.box.grown_to_pixels().area)
            for number, tracklet in enumerate(self.reading.tracklets, start=1)
            for finding in tracklet.findings
        )

    def _place(self, finding: Finding, box: Box) -> tuple[str, int, tuple[float, ...]]:
        ref = self.reading.frames[finding.frame_index]
        return ref.sop_instance_uid, ref.frame_number or 1, box.as_tuple()

    def in_pixels(self, sop_instance_uid: str, frame_number: int, point_mm: Sequence[float]) -> tuple[float, float]:
        """Return where a point in the patient lies on a frame: column and row from its outer corner (PS3.3 C.7.6.2)."""
        ds = self.sources[sop_instance_uid]
        if "PerFrameFunctionalGroupsSequence" in ds:
            groups = ds.PerFrameFunctionalGroupsSequence[frame_number - 1]
            position = groups.PlanePositionSequence[0].ImagePositionPatient
            shared = ds.SharedFunctionalGroupsSequence[0]
            orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
            row_spacing, column_spacing = shared.PixelMeasuresSequence[0].PixelSpacing
        else:
            position, orientation = ds.ImagePositionPatient, ds.ImageOrientationPatient
            row_spacing, column_spacing = ds.PixelSpacing
        along_row, along_column = np.reshape(np.asarray(orientation, float), (2, 3))
        offset = np.asarray(point_mm, float) - np.asarray(position, float)
        return (
            float(offset @ along_row) / float(column_spacing) + 0.5,
            float(offset @ along_column) / float(row_spacing) + 0.5,
        )


@dataclass(frozen=True, slots=True)
class Archive:
    """A PACS with a viewer in front of it; a study is made and stored when it is first asked for."""

    url: str
    study: Callable[[str], Study]

    def open(self, page: Page, name: str, kind: ResultKind) -> Study:
        """Open a study's result of a kind as the demo's link does."""
        study = self.study(name)
        page.goto(deep_link(self.url, study.reading.study_instance_uid, study.series[kind]))
        return study


@contextmanager
def running_archive(directory: Path, *, by_hand: bool = True) -> Iterator[Archive]:
    """Run Orthanc and the viewer; readings get boxes by hand or hold those of the engine alone."""
    (directory / "logs").mkdir()
    studies: dict[str, Study] = {}
    with Processes(directory / "logs") as processes:
        pacs = start_pacs("orthanc", processes, directory / "pacs", {"SCANNER": free_port()})
        scanner = Destination(ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port, calling_ae_title="SCANNER")

        def study(name: str) -> Study:
            if name not in studies:
                studies[name] = send(name, scanner, directory / name, by_hand=by_hand)
            return studies[name]

        yield Archive(start_viewer(pacs, processes, print), study)


def images(name: str, directory: Path) -> Sequence[Path]:
    """Return the files of a phantom, or of a folder of real data (with a slash in its name)."""
    if "/" not in name:
        return phantoms.write(phantoms.make(name), directory)
    if not (SHARED / name).is_dir():
        pytest.skip(f"real data folder {name} is not there")
    return sorted((SHARED / name).iterdir())


def read(paths: Sequence[Path]) -> Reading:
    """Read a series with the engine without weights."""
    engine = create_engine("classical", Worker())
    reading = read_paths(paths, engine, started_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)).reading
    engine.close()
    return reading


def send(name: str, pacs: Destination, directory: Path, *, by_hand: bool) -> Study:
    """Read a series with the engine without weights, add boxes by hand, and store images and results.

    A name that ends in "-normal" gets no boxes by hand.
    """
    directory.mkdir(parents=True)
    paths = images(name, directory / "sources")
    reading = read(paths)
    if by_hand and not name.endswith("-normal"):
        added = _by_hand(reading)[: 2 if name == OVERLAPPING else 1]
        reading = replace(reading, tracklets=(*reading.tracklets, *added))
    results = write_results(reading, paths, directory, profile=profile_for(Delivery(viewers=("ohif",))))
    store(pacs, [sendable(path) for path in [*paths, *(result.path for result in results)]])
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    return Study(
        reading=reading,
        sources={str(ds.SOPInstanceUID): ds for ds in headers},
        series={result.kind: result.series_instance_uid for result in results},
    )


def _by_hand(reading: Reading) -> tuple[Tracklet, Tracklet]:
    """Make the hard boxes: in two corners of the volume, between pixels, and one that overlaps the middle one."""
    columns, rows, last = float(reading.columns), float(reading.rows), len(reading.frames) - 1
    x, y = columns // 2, rows // 2

    def found(frame_index: int, *box: float) -> Finding:
        x0, y0, x1, y1 = box
        label = LABELS[reading.anatomy.value]
        return Finding(label=label, frame_index=frame_index, box=Box(x0=x0, y0=y0, x1=x1, y1=y1))

    first = (
        found(0, 0, 0, 7.5, 5.25),
        found(last // 2, x, y, x + 20.75, y + 11.5),
        found(last, columns - 9, rows - 6.5, columns, rows),
    )
    second = (found(last // 2, x + 10, y + 5, x + 41, y + 33),)
    return Tracklet(tracklet_id="hand-1", findings=first), Tracklet(tracklet_id="hand-2", findings=second)


def chromium() -> str:
    """Return Debian's Chromium; skip where it is not installed, which in CI is a failure."""
    path = Path("/usr/bin/chromium")
    if not path.exists() and os.environ.get("CI") != "true":
        pytest.skip("chromium is not installed; scripts/browser installs it")
    return str(path)
