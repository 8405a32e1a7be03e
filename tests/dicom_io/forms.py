"""What the tests of presentation states, key objects, captures and pages share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.source_pixels import SourcePixels
from sgmri.readings import Reading

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]
Pixels = Callable[[Sequence[int]], NDArray[np.float32]]
LESIONS = ["brain", "brain-enhanced", "brain-nonsquare", "knee", "knee-enhanced"]
ALLOWED = "DeviceUID"
"""The one warning of dciodvfy that is wrong: DeviceUID in Contributing Equipment is type 3 (PS3.3 C.12.1)."""


def pixels_of(reading: Reading, name: str, directory: Path) -> Pixels:
    """Return what decodes a phantom's frames."""
    return SourcePixels(reading, phantoms.write(phantoms.make(name), directory / "sources"))


def saved(ds: Dataset | None, path: Path) -> Dataset:
    """Write an object and read it again."""
    assert ds is not None
    ds.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)
