from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmark.generator.fastmri import find_files, read_images, read_scans
from benchmark.items import Split
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy
from tests.benchmark.conftest import FastMri


def test_size_patient_sequence_and_split_are_read(fastmri: FastMri) -> None:
    """The array tells the size, attributes the patient and sequence, the folder the split."""
    fastmri.write("file_brain_AXFLAIR_1", part="multicoil_val", patient="somebody")
    fastmri.write("file1", shape=(5, 32, 24))
    files = find_files(fastmri.folder)
    told: list[tuple[int, int]] = []
    scans, unusable = read_scans(files, {*files, "file2"}, lambda done, total: told.append((done, total)))
    assert (told, unusable) == ([(1, 2), (2, 2)], {})
    brain, knee = scans["file_brain_AXFLAIR_1"], scans["file1"]
    assert (brain.frame_count, brain.rows, brain.columns) == (16, 96, 80)
    assert (brain.patient_id, brain.split, brain.sequence) == ("somebody", Split.TEST, "AXFLAIR")
    assert (knee.frame_count, knee.split, knee.is_size_known) == (5, Split.TRAIN, True)


def test_voxels_are_turned_to_the_rows_of_the_annotations(fastmri: FastMri) -> None:
    """Rows stand upside down in the file, as boxes do not."""
    shown = fastmri.write("file_brain_AXFLAIR_1")
    images = read_images(fastmri.folder / "multicoil_train" / "file_brain_AXFLAIR_1.h5")
    np.testing.assert_array_equal(images.voxels, shown)
    assert images.anatomy is Anatomy.BRAIN
    assert images.timing == {"EchoTime": 120.5, "RepetitionTime": 9000.0, "InversionTime": 2500.0}
    assert images.geometry is not None
    assert images.geometry.row_spacing_mm == pytest.approx(0.8)
    assert images.geometry.column_spacing_mm == pytest.approx(0.7)
    assert images.geometry.slice_thickness_mm == 5


def test_a_header_without_a_grid_tells_no_geometry(fastmri: FastMri) -> None:
    """Nothing is made up where the header is missing."""
    fastmri.write("file1", header=False)
    images = read_images(fastmri.folder / "multicoil_train" / "file1.h5")
    assert (images.geometry, images.timing) == (None, {})


def test_multicoil_goes_before_singlecoil(fastmri: FastMri) -> None:
    """A knee that lies in both is taken from the folder that the benchmark's split is made of."""
    fastmri.write("file1", part="singlecoil_val")
    fastmri.write("file1", part="multicoil_val")
    assert find_files(fastmri.folder)["file1"].parent.name == "multicoil_val"


def test_files_that_cannot_be_used_are_named_with_their_reason(fastmri: FastMri) -> None:
    """Broken files and those of the test folders are left out, each with a sentence; none is passed over."""
    fastmri.write("file1")
    part = fastmri.folder / "multicoil_train"
    (part / "file2.h5").write_bytes(b"no HDF5")
    with h5py.File(part / "file3.h5", "w") as file:
        file["kspace"] = np.zeros((2, 2))
    files = find_files(fastmri.folder)
    scans, unusable = read_scans(files, files)
    assert set(scans) == {"file1"}
    assert "expected an HDF5 file" in unusable["file2"]
    assert "reconstruction_rss" in unusable["file3"]
    with pytest.raises(ConfigError, match="none"):
        find_files(part / "nothing")


def test_a_header_that_is_no_xml_is_refused(fastmri: FastMri, tmp_path: Path) -> None:
    """Entities and other text never reach the reader."""
    fastmri.write("file1", header=False)
    path = fastmri.folder / "multicoil_train" / "file1.h5"
    for text in (b"no XML", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'):
        with h5py.File(path, "a") as file:
            file.pop("ismrmrd_header", None)
            file["ismrmrd_header"] = text
        with pytest.raises(ConfigError, match="expected XML"):
            read_images(path)
