"""Reads fastMRI's HDF5 files: sizes and patients for the generator, voxels and geometry for pictures and DICOM.

A file holds ``reconstruction_rss`` (slices, rows, columns), ``ismrmrd_header`` (XML) and the attributes
``acquisition`` and ``patient_id``; files of the test and challenge folders have no reconstruction. Slices run from
inferior to superior (brain) or anterior to posterior (knee), and rows from bottom to top of the image as it is read:
they are turned here, once, so that boxes and voxels agree (Knoll et al., Radiology: AI 2020; arXiv 2604.15808).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import h5py
import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from benchmark.generator.volumes import Scan
from benchmark.items import Split
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy

_IMAGES = "reconstruction_rss"
_NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"
_SPLITS = {"train": Split.TRAIN, "val": Split.TEST}
"""End of the folder's name, such as multicoil_val."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What the header says of the grid; where slices point is in no header of fastMRI.

    Parameters
    ----------
    row_spacing_mm, column_spacing_mm
        Distance between rows and between columns.
    slice_thickness_mm
        Of a slice; gaps between slices are in no header, so that it is taken for their distance too.
    """

    row_spacing_mm: float
    column_spacing_mm: float
    slice_thickness_mm: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """The voxels of one file.

    Parameters
    ----------
    volume_id, anatomy, scan
        What it is.
    voxels
        float32 (frames, rows, columns), rows from top to bottom as the annotations have them.
    geometry
        None where the header does not tell it.
    timing
        Echo, repetition and inversion time (ms) by DICOM keyword, where the header has them.
    """

    volume_id: str
    anatomy: Anatomy
    scan: Scan
    voxels: NDArray[np.float32]
    geometry: Geometry | None
    timing: Mapping[str, float]


def find_files(folder: Path) -> dict[str, Path]:
    """Return the HDF5 files below a folder by volume, multicoil before singlecoil.

    Raises
    ------
    ConfigError
        If there is none.
    """
    files = sorted(folder.rglob("*.h5"), key=lambda path: ("multicoil" not in path.parent.name, str(path)))
    if not files:
        raise ConfigError(f"--fastmri: expected HDF5 files of fastMRI below {folder}, found none")
    found: dict[str, Path] = {}
    for path in files:
        found.setdefault(path.stem, path)
    return found


def read_scans(
    files: Mapping[str, Path], wanted: Collection[str], progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[dict[str, Scan], dict[str, str]]:
    """Read what the generator needs of volumes.

    Parameters
    ----------
    files
        See :func:`find_files`.
    wanted
        Volumes to read.
    progress
        Is told how many files are done, and of how many.

    Returns
    -------
    Scans by volume; and why a file that is there could not be used, by volume.
    """
    here = [volume_id for volume_id in sorted(wanted) if volume_id in files]
    scans, unusable = {}, {}
    for done, volume_id in enumerate(here, start=1):
        try:
            with _opened(files[volume_id]) as file:
                scans[volume_id] = _scan(file, files[volume_id])
        except ConfigError as error:
            unusable[volume_id] = str(error)
        progress(done, len(here))
    return scans, unusable


def read_images(path: Path) -> Images:
    """Read the voxels of a file, rows turned to the order of the annotations.

    Raises
    ------
    ConfigError
        If it is no file of fastMRI with a reconstruction.
    """
    with _opened(path) as file:
        scan = _scan(file, path)
        voxels = np.ascontiguousarray(file[_IMAGES][()][:, ::-1], dtype=np.float32)
        header = _header(file, path)
    return Images(
        volume_id=path.stem,
        anatomy=anatomy_of(path.stem),
        scan=scan,
        voxels=voxels,
        geometry=_geometry(header),
        timing=_timing(header, scan.sequence),
    )


def anatomy_of(volume_id: str) -> Anatomy:
    """Return the anatomy that fastMRI's name of a volume says."""
    return Anatomy.BRAIN if "brain" in volume_id else Anatomy.KNEE


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ConfigError(
            f"{path.name}: expected an HDF5 file of fastMRI, found none that opens; fetch it again"
        ) from error


def _scan(file: h5py.File, path: Path) -> Scan:
    images = file.get(_IMAGES)
    if not isinstance(images, h5py.Dataset) or images.ndim != 3 or 0 in images.shape:
        raise ConfigError(
            f"{path.name}: expected {_IMAGES} (slices, rows, columns), found none; use the train and val files"
        )
    frame_count, rows, columns = images.shape
    return Scan(
        frame_count=frame_count,
        rows=rows,
        columns=columns,
        is_size_known=True,
        patient_id=_text(file, "patient_id") or None,
        split=_SPLITS.get(path.parent.name.rpartition("_")[2]),
        sequence=_text(file, "acquisition"),
    )


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _header(file: h5py.File, path: Path) -> Element | None:
    stored = file.get("ismrmrd_header")
    if stored is None:
        return None
    try:
        header: Element = fromstring(stored[()])
    except (ParseError, DefusedXmlException, TypeError) as error:
        raise ConfigError(
            f"{path.name}: expected XML in ismrmrd_header, found none that can be read; fetch it again"
        ) from error
    return header


def _numbers(header: Element | None, path: str) -> list[float]:
    """Return the numbers below a path of the header, those that are none left out."""
    steps = "/".join(_NAMESPACE + step for step in path.split("/"))
    found = [] if header is None else [element.text or "" for element in header.findall(steps)]
    return [float(text) for text in found if text.replace(".", "", 1).strip().isdigit()]


def _geometry(header: Element | None) -> Geometry | None:
    # x is the read-out, which fastMRI's reconstructions have along their columns of pixels, from row to row
    sizes = [_numbers(header, f"encoding/reconSpace/fieldOfView_mm/{axis}") for axis in "xyz"]
    counts = [_numbers(header, f"encoding/reconSpace/matrixSize/{axis}") for axis in "xyz"]
    if not all(size and count and size[0] > 0 and count[0] > 0 for size, count in zip(sizes, counts, strict=True)):
        return None
    row, column, thickness = (size[0] / count[0] for size, count in zip(sizes, counts, strict=True))
    return Geometry(row_spacing_mm=row, column_spacing_mm=column, slice_thickness_mm=thickness)


def _timing(header: Element | None, sequence: str) -> dict[str, float]:
    names = {"TE": "EchoTime", "TR": "RepetitionTime"}
    if "FLAIR" in sequence:
        # other sequences have a value there, too, that means nothing: it would make each of them an inversion recovery
        names["TI"] = "InversionTime"
    found = {keyword: _numbers(header, f"sequenceParameters/{name}") for name, keyword in names.items()}
    return {keyword: values[0] for keyword, values in found.items() if values and values[0] > 0}
