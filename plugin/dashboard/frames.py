"""The frames of readings, decoded from the spool when they are looked at; no pixel is kept."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_io.decode import Limits, decode_frames
from dicom_io.frames import FrameFacts
from dicom_io.instances import InstanceFacts
from dicom_io.source_pixels import Place, frames_by_place
from sgmri import readings
from sgmri.errors import IncompleteSeries
from sgmri.readings import Reading
from worker.outbox import READING_FILE

_KEPT = 8
"""Readings whose frames' headers are kept: they are read once for all frames of a reading."""
_DARKEST_PERCENT, _BRIGHTEST_PERCENT = 0.5, 99.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """A reading, and where its frames lie.

    Parameters
    ----------
    reading
        What was read.
    places
        Its frames by instance and frame number, as far as the spool still has them.
    """

    reading: Reading
    places: Mapping[Place, tuple[InstanceFacts, FrameFacts]]

    def pixels(self, frame_index: int) -> NDArray[np.float32]:
        """Decode one frame.

        Parameters
        ----------
        frame_index
            0-based frame of the reading.

        Returns
        -------
        float32 (rows, columns)
            Modality values, more is brighter.

        Raises
        ------
        IncompleteSeries
            If the spool no longer has it.
        SeriesError
            If it cannot be decoded.
        """
        try:
            frames = decode_frames([self._found(frame_index)], Limits())
        except FileNotFoundError:
            raise _gone() from None
        pixels: NDArray[np.float32] = frames[0]
        return pixels

    def window(self, frame_index: int) -> tuple[float, float]:
        """Return the values of a frame that are shown black and white at first."""
        low, high = np.percentile(self.pixels(frame_index), (_DARKEST_PERCENT, _BRIGHTEST_PERCENT))
        return float(low), float(max(high, low + 1e-6))

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel over its width."""
        spacing_mm = self._found(0)[1].pixel_spacing_mm
        return spacing_mm[0] / spacing_mm[1] if spacing_mm else 1.0

    def _found(self, frame_index: int) -> tuple[InstanceFacts, FrameFacts]:
        ref = self.reading.frames[frame_index]
        found = self.places.get((ref.sop_instance_uid, ref.frame_number))
        if found is None:
            raise _gone()
        return found


def _gone() -> IncompleteSeries:
    return IncompleteSeries(
        "expected the image in the spool, found that it is not there any more: retention removes images; the answers "
        "stay"
    )


class Frames:
    """Readings that are looked at; of the last few, what the headers of their frames say is kept in memory."""

    def __init__(self) -> None:
        self._known: OrderedDict[Path, Shown] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, directory: Path, paths: Sequence[Path]) -> Shown:
        """Return a reading with its frames.

        Parameters
        ----------
        directory
            Where the reading's results lie.
        paths
            The files of its series.

        Raises
        ------
        FileNotFoundError
            If there is no reading.
        """
        text = (directory / READING_FILE).read_text(encoding="utf-8")
        with self._lock:
            if directory in self._known:
                self._known.move_to_end(directory)
                return self._known[directory]
        shown = Shown(reading=readings.from_json(text), places=frames_by_place(paths))
        with self._lock:
            if shown.places:
                self._known[directory] = shown
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return shown


def as_bytes(pixels: NDArray[np.float32]) -> tuple[bytes, float, float]:
    """Return a frame for the browser: 16 bits a pixel, little-endian, with the values of 0 and of 65535.

    Parameters
    ----------
    pixels
        float32 (rows, columns), modality values.
    """
    finite = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    scaled = (finite - low) * (65535.0 / (high - low)) if high > low else np.zeros_like(finite)
    return np.rint(scaled).astype("<u2").tobytes(), low, high
