from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.generator.fastmri import read_images
from benchmark.generator.images import (
    Picture,
    as_published,
    frame_path,
    series_folder,
    write_all,
    write_images,
)
from dicom_io.decode import decode
from dicom_io.selection import choose
from dicom_io.series import describe
from sgmri.volume import Anatomy, Plane, Weighting
from tests.benchmark.conftest import FastMri


def test_published_frames_are_divided_by_their_own_brightest_pixel() -> None:
    """Values are cut off at 0 and at whole grey values; an empty frame stays black."""
    voxels = np.array([[[-1, 0], [1, 2]], [[0, 0], [0, 0]], [[3, 3], [3, 1]]], np.float32)
    assert as_published(voxels).tolist() == [[[0, 0], [127, 255]], [[0, 0], [0, 0]], [[255, 255], [255, 85]]]


def test_a_file_becomes_frames_and_a_series_that_the_product_reads(fastmri: FastMri, tmp_path: Path) -> None:
    """A pixel of the file, of the frame and of the volume that the product decodes is one pixel; nothing is flipped."""
    shown = fastmri.write("file_brain_AXFLAIR_1")
    written = write_images(read_images(fastmri.folder / "multicoil_train" / "file_brain_AXFLAIR_1.h5"), tmp_path)
    assert (written.missing, written.pictures) == ("", frozenset(Picture))
    frame = np.asarray(Image.open(frame_path(tmp_path, Picture.PUBLISHED, "file_brain_AXFLAIR_1", 9)))
    assert frame.shape == (96, 80) and frame[2, 3] == 255
    choice = choose(describe(sorted(series_folder(tmp_path, "file_brain_AXFLAIR_1").iterdir())))
    assert choice.anatomy is Anatomy.BRAIN and choice.sub_volume is not None
    volume = decode(choice.sub_volume.facts, choice.anatomy)
    np.testing.assert_allclose(volume.voxels / volume.voxels.max(), shown / shown.max(), atol=1 / 4000)
    assert volume.orientation.pixel_spacing_mm == (0.8, 0.7)
    assert (volume.slice_spacing_mm, volume.weighting) == (5, Weighting.FLAIR)
    product = np.asarray(Image.open(frame_path(tmp_path, Picture.PRODUCT, "file_brain_AXFLAIR_1", 16)))
    assert product.shape == (110, 80)  # 0.7 mm square


def test_a_knee_is_coronal_from_front_to_back(fastmri: FastMri, tmp_path: Path) -> None:
    """Frame 1 of the file is the first frame of the product's volume."""
    shown = fastmri.write("file1")
    write_images(read_images(fastmri.folder / "multicoil_train" / "file1.h5"), tmp_path, frozenset([Picture.DICOM]))
    choice = choose(describe(sorted(series_folder(tmp_path, "file1").iterdir())))
    assert choice.anatomy is Anatomy.KNEE and choice.sub_volume is not None
    volume = decode(choice.sub_volume.facts, choice.anatomy)
    # the header's inversion time means nothing for this sequence
    found = volume.orientation.plane, volume.weighting, volume.fat_suppressed
    assert found == (Plane.CORONAL, Weighting.T2, True)
    np.testing.assert_allclose(volume.voxels / volume.voxels.max(), shown / shown.max(), atol=1 / 4000)
    assert not (tmp_path / "frames").exists()


def test_what_cannot_be_made_is_said_and_the_rest_is_made(fastmri: FastMri, tmp_path: Path) -> None:
    """Without a grid there are published frames only; a file that is missing or too small is named."""
    fastmri.write("file1", header=False)
    fastmri.write("file2", shape=(2, 40, 40))
    out = tmp_path / "out"
    written = {one.volume_id: one for one, _, _ in write_all(fastmri.folder, out, volumes=["file1", "file2", "file3"])}
    assert written["file1"].pictures == {Picture.PUBLISHED}
    assert "field of view" in written["file1"].missing
    assert written["file2"].pictures == {Picture.PUBLISHED, Picture.DICOM}
    assert "no product frames" in written["file2"].missing
    assert "file3.h5" in written["file3"].missing
    assert not series_folder(out, "file1").exists()
