"""The frames that a question is about, from a benchmark's folder: PNG for model servers, DICOM for engines."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.items import Item
from sgmri.errors import ConfigError
from sgmri.geometry import FrameScaling
from sgmri.interfaces import Frames
from sgmri.volume import Anatomy, Plane, Weighting
from worker.pipeline import load_frames

_PLANES = {Anatomy.BRAIN: Plane.AXIAL, Anatomy.KNEE: Plane.CORONAL}
"""fastMRI's brains are axial, its knees coronal."""


class Pictures:
    """The PNG frames of one rendering.

    Parameters
    ----------
    benchmark
        Its folder.
    rendering
        Name of the folder under ``frames``.

    Raises
    ------
    ConfigError
        If the benchmark has no such frames.
    """

    def __init__(self, benchmark: Path, rendering: str) -> None:
        self._folder = benchmark / "frames" / rendering
        if not self._folder.is_dir():
            known = sorted(path.name for path in (benchmark / "frames").glob("*"))
            raise ConfigError(
                f"expected PNG frames in {self._folder}, found {', '.join(known) or 'none at all'}; run sgmri "
                "benchmark images, or ask with --blank"
            )

    def of(self, item: Item) -> Frames:
        """Return the frames that an item is about.

        Raises
        ------
        ConfigError
            If one is missing, or has another size than the item says.
        """
        paths = tuple(self._folder / item.volume_id / f"{number:03d}.png" for number in item.frame_numbers)
        return _frames(item, _read(paths, item.rows, item.columns))


def blank(item: Item) -> Frames:
    """Return black frames instead of those that an item is about: what is said of them is said blindly."""
    return _frames(item, np.zeros((len(item.frame_numbers), item.rows, item.columns), np.uint8))


def blackened(frames: Frames) -> Frames:
    """Return the same frames with nothing on them."""
    return replace(frames, pixels=np.zeros_like(frames.pixels))


@lru_cache(maxsize=8)  # the questions about one volume follow each other
def _read(paths: tuple[Path, ...], rows: int, columns: int) -> NDArray[np.uint8]:
    frames = []
    for path in paths:
        try:
            with Image.open(path) as image:
                frames.append(np.asarray(image.convert("L")))
        except OSError as error:
            raise ConfigError(f"expected a PNG frame, found none that can be read: {path} ({error})") from error
        if frames[-1].shape != (rows, columns):
            raise ConfigError(
                f"{path}: expected {columns} x {rows} pixels as the items say, found {frames[-1].shape[::-1]}; take "
                "the published frames, and build the items with the images"
            )
    return np.stack(frames)


def _frames(item: Item, pixels: NDArray[np.uint8]) -> Frames:
    name = item.volume_id.upper()
    weighting = Weighting.FLAIR if "FLAIR" in name else Weighting.T1 if "T1" in name else Weighting.UNKNOWN
    return Frames(
        pixels=pixels,
        scaling=FrameScaling(scale_x=1.0, scale_y=1.0, source_rows=item.rows, source_columns=item.columns),
        pixel_size_mm=1.0,  # PNG has none, and a prompt names none
        slice_spacing_mm=1.0,
        anatomy=item.anatomy,
        plane=_PLANES[item.anatomy],
        weighting=weighting,
        fat_suppressed=None,
    )


def dicom_frames(benchmark: Path, item: Item) -> Frames:
    """Return the volume that an item is about as an engine sees it, by the plug-in's own way from DICOM.

    Raises
    ------
    ConfigError
        If there is no DICOM, or it has another size than the item says.
    SeriesError
        If the plug-in would not read it.
    """
    paths = sorted((benchmark / "dicom" / item.volume_id).glob("*"))
    if not paths:
        raise ConfigError(
            f"expected DICOM of {item.volume_id} in {benchmark / 'dicom'}, found none; run sgmri benchmark images"
        )
    frames = load_frames(paths)
    found = frames.scaling.source_rows, frames.scaling.source_columns
    if found != (item.rows, item.columns):
        raise ConfigError(
            f"{item.volume_id}: expected {item.rows} rows and {item.columns} columns as the items say, found {found} "
            "in the DICOM; build both from the same images"
        )
    return frames
