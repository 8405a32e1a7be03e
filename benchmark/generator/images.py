"""Writes the pictures of a benchmark: frames as published, frames as the product's engines see them, and DICOM series.

As published, a frame is clipped at 0 and divided by its own brightest pixel, at its own size (arXiv 2604.15808); an
almost empty frame becomes noise of full range so. As the product sees it, a volume has one window for all frames and
square pixels; such a picture may have another size than the frame, and boxes scale with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from benchmark.generator.fastmri import Images, find_files, read_images
from benchmark.items import ITEMS_FILE, read_items
from conformance.research_series import Research, research_series
from sgmri.errors import ConfigError, InvalidGeometry, SeriesError
from worker.pipeline import load_frames


class Picture(StrEnum):
    """What is written of a volume."""

    PUBLISHED = "published"
    PRODUCT = "product"
    DICOM = "dicom"


ALL_PICTURES = frozenset(Picture)


def frame_path(folder: Path, profile: Picture, volume_id: str, frame_number: int) -> Path:
    """Return where a frame (from 1) of a profile lies below a benchmark's folder."""
    return folder / "frames" / profile / volume_id / f"{frame_number:03d}.png"


def series_folder(folder: Path, volume_id: str) -> Path:
    """Return where a volume's DICOM series lies below a benchmark's folder."""
    return folder / "dicom" / volume_id


def as_published(voxels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return frames as the published models saw them.

    Parameters
    ----------
    voxels
        float32 (frames, rows, columns).

    Returns
    -------
    uint8 (frames, rows, columns); a frame without a value above 0 is black.
    """
    positive = np.clip(voxels, 0, None)
    brightest = positive.max(axis=(1, 2), keepdims=True)
    scaled = positive / np.where(brightest > 0, brightest, 1)
    return (scaled * 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written of one volume.

    Parameters
    ----------
    volume_id
        Which.
    pictures
        What there is of it now.
    missing
        Why something else is missing; empty where nothing is.
    """

    volume_id: str
    pictures: frozenset[Picture]
    missing: str = ""


def write_images(images: Images, folder: Path, pictures: frozenset[Picture] = ALL_PICTURES) -> Written:
    """Write the pictures of a volume of fastMRI below a benchmark's folder.

    A volume whose header does not tell its grid has published frames only; DICOM is never written with a made-up size.
    """
    if Picture.PUBLISHED in pictures:
        write_frames(as_published(images.voxels), folder, Picture.PUBLISHED, images.volume_id)
    if not pictures - {Picture.PUBLISHED}:
        return Written(volume_id=images.volume_id, pictures=pictures)
    geometry = images.geometry
    if geometry is None:
        return Written(
            volume_id=images.volume_id,
            pictures=pictures & {Picture.PUBLISHED},
            missing="expected field of view and matrix in ismrmrd_header, found none: no DICOM, no product frames",
        )
    about = Research(
        name=images.volume_id,
        patient_id=images.scan.patient_id or "",
        anatomy=images.anatomy,
        description=images.scan.sequence,
        pixel_spacing_mm=(geometry.row_spacing_mm, geometry.column_spacing_mm),
        slice_thickness_mm=geometry.slice_thickness_mm,
        timing=images.timing,
    )
    try:
        write_series(research_series(images.voxels, about), folder, images.volume_id, pictures)
    except SeriesError as error:
        return Written(
            volume_id=images.volume_id, pictures=pictures - {Picture.PRODUCT}, missing=f"no product frames: {error}"
        )
    return Written(volume_id=images.volume_id, pictures=pictures)


def write_series(
    datasets: Sequence[Dataset], folder: Path, volume_id: str, pictures: frozenset[Picture] = ALL_PICTURES
) -> None:
    """Write a series, and the frames that the product makes of it: by the way that a series from a PACS goes."""
    with TemporaryDirectory() as scratch:
        place = series_folder(folder, volume_id) if Picture.DICOM in pictures else Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        paths = [place / f"{number:04d}.dcm" for number in range(1, len(datasets) + 1)]
        for ds, path in zip(datasets, paths, strict=True):
            ds.save_as(path, enforce_file_format=True)
        if Picture.PRODUCT in pictures:
            write_frames(load_frames(paths).pixels, folder, Picture.PRODUCT, volume_id)


def write_frames(pixels: NDArray[np.uint8], folder: Path, profile: Picture, volume_id: str) -> None:
    """Write grey frames, numbered from 1."""
    for frame_number, frame in enumerate(pixels, start=1):
        path = frame_path(folder, profile, volume_id, frame_number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(path)


def write_all(
    fastmri: Path, folder: Path, pictures: frozenset[Picture] = ALL_PICTURES, volumes: Sequence[str] | None = None
) -> Iterator[tuple[Written, int, int]]:
    """Write the pictures of many volumes; yield what was written of each, how many are done, and of how many.

    Parameters
    ----------
    fastmri
        Folder of the HDF5 files.
    folder
        The benchmark's.
    pictures
        What to write.
    volumes
        Which; None for those that the items in ``folder`` ask about, or all files where there are no items.

    Raises
    ------
    ConfigError
        If there are no HDF5 files.
    """
    files = find_files(fastmri)
    if volumes is None:
        items = folder / ITEMS_FILE
        volumes = sorted({item.volume_id for item in read_items(items)} if items.exists() else files)
    for done, volume_id in enumerate(volumes, start=1):
        try:
            if volume_id not in files:
                raise ConfigError(f"expected {volume_id}.h5 below {fastmri}, found none")
            written = write_images(read_images(files[volume_id]), folder, pictures)
        except (ConfigError, InvalidGeometry) as error:
            written = Written(volume_id=volume_id, pictures=frozenset(), missing=str(error))
        yield written, done, len(volumes)
