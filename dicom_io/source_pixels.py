"""Pixels of the frames that a reading rests on, decoded again from their files: for results that show images."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_io.decode import Limits, decode_frames
from dicom_io.frames import FrameFacts
from dicom_io.instances import InstanceFacts, inspect
from sgmri.errors import IncompleteSeries, SeriesError
from sgmri.readings import Reading

Place = tuple[str, int | None]
"""SOP Instance UID and frame number, None for a single-frame instance."""


class SourcePixels:
    """Decodes frames of a reading; the files' headers are read once, when the first frames are asked for.

    Parameters
    ----------
    reading
        Names the frames.
    paths
        Files of the series; files of other instances are passed over.
    """

    def __init__(self, reading: Reading, paths: Sequence[Path]) -> None:
        self._reading = reading
        self._paths = paths

    @cached_property
    def _found(self) -> dict[Place, tuple[InstanceFacts, FrameFacts]]:
        return frames_by_place(self._paths)

    def __call__(self, frame_indices: Sequence[int]) -> NDArray[np.float32]:
        """Decode some frames.

        Parameters
        ----------
        frame_indices
            0-based frames of the reading; at least one.

        Returns
        -------
        float32 (frames, rows, columns)
            Modality values, more is brighter, in the order of ``frame_indices``.

        Raises
        ------
        IncompleteSeries
            If a frame is in none of the files.
        SeriesError
            As :func:`dicom_io.decode.decode_frames`.
        """
        refs = (self._reading.frames[index] for index in frame_indices)
        places = [(ref.sop_instance_uid, ref.frame_number) for ref in refs]
        missing = sum(place not in self._found for place in places)
        if missing:
            raise IncompleteSeries(
                f"expected the files of all {len(places)} frames, {missing} are missing; hand over the files that were "
                "read"
            )
        return decode_frames([self._found[place] for place in places], Limits())


def frames_by_place(paths: Iterable[Path]) -> dict[Place, tuple[InstanceFacts, FrameFacts]]:
    """Return every frame of some files by its place; files that are no image are passed over."""
    found = {}
    for path in paths:
        try:
            facts = inspect(path)
        except SeriesError:
            continue  # what is missing is told by whoever looks for it
        for frame in facts.frames:
            found[facts.sop_instance_uid, frame.frame_number] = (facts, frame)
    return found
