from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.source_pixels import SourcePixels
from sgmri.errors import IncompleteSeries
from sgmri.readings import Reading


@pytest.mark.parametrize("name", ["brain", "brain-enhanced"])
def test_frames_are_decoded_in_the_order_asked(
    name: str, make_case: Callable[[str], tuple[Reading, Sequence[Dataset]]], tmp_path: Path
) -> None:
    """Any frames of a classic or Enhanced series come back in the order asked, whatever the order of the files."""
    reading, _ = make_case(name)
    paths = phantoms.write(phantoms.make(name), tmp_path)
    stray = tmp_path / "stray.dcm"
    stray.write_bytes(b"no DICOM at all" * 40)
    found = SourcePixels(reading, [stray, *paths[::-1]])([5, 2])
    by_uid = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, paths)}
    for pixels, index in zip(found, [5, 2], strict=True):
        ref = reading.frames[index]
        stored = by_uid[ref.sop_instance_uid].pixel_array
        np.testing.assert_array_equal(pixels, stored if ref.frame_number is None else stored[ref.frame_number - 1])


def test_a_frame_without_a_file_is_an_error(
    make_case: Callable[[str], tuple[Reading, Sequence[Dataset]]], tmp_path: Path
) -> None:
    """A missing instance is an incomplete series, not an empty picture."""
    reading, _ = make_case("brain")
    paths = phantoms.write(phantoms.make("brain"), tmp_path)
    with pytest.raises(IncompleteSeries, match="1 are missing"):
        SourcePixels(reading, paths[1:])(range(len(reading.frames)))
