"""A scanner that sends without end, and remembers every instance that was answered with Success."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import UID

from conformance.phantoms import make
from dicom_io.network import Destination
from dicom_io.scu import Sendable, sendable, store
from sgmri.errors import DeliveryError

_SLICES = slice(8, 16)  # of the brain phantom, from inferior to superior: a lesion lies here
_AGAIN_S = 0.2


@dataclass
class Sender:
    """Sends series after series, each until all its instances are answered with Success.

    Parameters
    ----------
    directory
        Where what is sent is kept, a directory a series.
    destination
        Whom to.
    may_send
        Whether a new series may go out now; else an earlier one is sent again, which must change nothing.
    """

    directory: Path
    destination: Destination
    may_send: Callable[[], bool]
    series: int = 0
    sent_again: int = 0
    acknowledged: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        datasets = sorted(make("brain").datasets, key=lambda ds: float(ds.ImagePositionPatient[2]))
        self._slices = datasets[_SLICES]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> bool:
        """Send the series in hand to its end and stop; False if that takes too long."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.may_send():
                self.series += 1
                self._send(self._write(self.series))
            elif self.series:
                self.sent_again += 1
                again = 1 + self.sent_again % self.series
                self._send(sorted((self.directory / f"{again:05d}").iterdir()))
                self._stop.wait(_AGAIN_S)

    def _write(self, number: int) -> list[Path]:
        directory = self.directory / f"{number:05d}"
        directory.mkdir(parents=True)
        paths = []
        for place, ds in enumerate(self._slices, start=1):
            ds.StudyInstanceUID, ds.SeriesInstanceUID = f"2.25.{number}1", f"2.25.{number}2"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{number}3{place:02d}")
            paths.append(directory / f"{place:02d}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
        return paths

    def _send(self, paths: list[Path]) -> None:
        waiting = [sendable(path) for path in paths]

        def stored(instance: Sendable) -> None:
            self.acknowledged.add(instance.path)
            waiting.remove(instance)

        while waiting:
            try:
                store(self.destination, tuple(waiting), stored=stored)
            except DeliveryError:
                time.sleep(_AGAIN_S)
