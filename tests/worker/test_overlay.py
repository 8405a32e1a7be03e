from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conformance.phantoms import make, write
from dicom_io.outlines import Mark
from sgmri.errors import IncompleteSeries
from worker.overlay import draw_marks
from worker.sheet import COLOURS, GAP


@pytest.mark.parametrize("name", ["brain", "brain-nonsquare", "brain-enhanced"])
def test_marks_lie_where_they_belong(name: str, tmp_path: Path) -> None:
    """A box and a mask come to lie on their pixels, on non-square pixels too; every frame marked is one tile."""
    paths = write(make(name), tmp_path / "sources")
    datasets = make(name).datasets
    rows, columns = int(datasets[0].Rows), int(datasets[0].Columns)
    uid, number = str(datasets[0].SOPInstanceUID), 3 if name == "brain-enhanced" else None
    x0, y0, x1, y1 = columns // 4, rows // 4, columns // 2, rows // 2
    mask = np.zeros((rows, columns), dtype=np.bool_)
    mask[rows // 2 + 8 : rows - 8, columns // 2 + 8 : columns - 8] = True
    box = ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))
    marks = [
        Mark(label="box", sop_instance_uid=uid, frame_number=number, points=box),
        Mark(label="mask", sop_instance_uid=uid, frame_number=number, mask=mask),
        Mark(label="elsewhere", sop_instance_uid="2.25.1", frame_number=None, points=box),
    ]
    assert draw_marks(marks, paths, tmp_path / "sheet.png") == (1, 1)
    with Image.open(tmp_path / "sheet.png") as sheet:
        drawn = np.asarray(sheet.convert("RGB")).astype(int)
    tile = (drawn.shape[1] - GAP) // 4 - GAP
    picture = drawn[GAP : GAP + tile, GAP : GAP + tile]
    is_line = np.all(np.abs(picture - np.asarray(COLOURS[0])) < 3, axis=2)
    found = np.flatnonzero(is_line.any(axis=0)), np.flatnonzero(is_line.any(axis=1))
    # The picture fills the tile along its longer side in mm
    spacing = datasets[0].get("PixelSpacing") or (
        datasets[0].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    )
    row_mm, column_mm = map(float, spacing)
    scale = tile / max(rows * row_mm, columns * column_mm)
    wanted = (x0 * column_mm * scale, x1 * column_mm * scale, y0 * row_mm * scale, y1 * row_mm * scale)
    np.testing.assert_allclose([found[0][0], found[0][-1], found[1][0], found[1][-1]], wanted, atol=3)
    blue = picture[..., 2] - picture[..., 0]
    in_mask = np.argwhere(blue > 40)
    middle = (rows * 0.75 * row_mm * scale, columns * 0.75 * column_mm * scale)
    np.testing.assert_allclose(in_mask.mean(axis=0), middle, atol=4)


def test_without_images_there_is_no_picture(tmp_path: Path) -> None:
    """Marks whose images are nowhere are an error that says what to do, not an empty picture."""
    mark = Mark(label="a", sop_instance_uid="2.25.1", frame_number=None, points=((1.0, 1.0),))
    stray = tmp_path / "stray"
    stray.write_bytes(b"no image")
    with pytest.raises(IncompleteSeries, match="--source"):
        draw_marks([mark], [stray], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
