from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sgmri.findings import Finding, Laterality, Tracklet
from sgmri.geometry import Box, FrameScaling
from sgmri.interfaces import Frames
from sgmri.readings import EngineIdentity, Reading
from sgmri.volume import Anatomy, FrameRef, Plane, Weighting
from worker.contact_sheet import draw

_UID = "1.2.826.0.1.3680043.10.999.424242"
_RED = (255, 82, 82)


def _frames(count: int = 3, rows: int = 100, columns: int = 100, scale: float = 1.0) -> Frames:
    return Frames(
        pixels=np.full((count, rows, columns), 60, np.uint8),
        scaling=FrameScaling(scale_x=scale, scale_y=1.0, source_rows=rows, source_columns=round(columns / scale)),
        pixel_size_mm=1.0,
        slice_spacing_mm=5.0,
        anatomy=Anatomy.BRAIN,
        plane=Plane.AXIAL,
        weighting=Weighting.FLAIR,
        fat_suppressed=False,
    )


def _reading(frames: Frames, *tracklets: Tracklet) -> Reading:
    return Reading(
        study_instance_uid=_UID,
        series_instance_uid=_UID,
        anatomy=Anatomy.BRAIN,
        question_set_id="brain-1",
        engine=EngineIdentity(name="classical", version="1.0", digest="0" * 64),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=f"{_UID}.{index}",
                frame_number=None,
                position_mm=(0.0, 0.0, float(index)),
            )
            for index in range(len(frames.pixels))
        ),
        rows=frames.scaling.source_rows,
        columns=frames.scaling.source_columns,
        answers=(),
        tracklets=tracklets,
    )


def _tracklet(box: Box, *frame_indices: int, name: str = "lesion-1") -> Tracklet:
    return Tracklet(
        tracklet_id=name,
        findings=tuple(Finding(label="Mass", frame_index=index, box=box) for index in frame_indices),
        laterality=Laterality.LEFT,
    )


def _drawn(frames: Frames, reading: Reading, path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    draw(frames, reading, path)
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("RGB"))


def _extent(sheet: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], below: int, above: int) -> tuple[int, ...]:
    """Return x0, y0, x1, y1 (half-open) of what is pure red between two rows of the sheet."""
    y, x = np.nonzero((sheet[below:above] == _RED).all(axis=2))
    return int(x.min()), int(y.min()) + below, int(x.max()) + 1, int(y.max()) + 1 + below


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_box_is_drawn_where_it_is(scale: float, tmp_path: Path) -> None:
    """The outline encloses exactly the source pixels of the box, on the tile of its frame, scaled as the tile is."""
    frames = _frames(scale=scale)
    box = Box(x0=10 / scale, y0=40, x1=30 / scale, y1=80)
    sheet = _drawn(frames, _reading(frames, _tracklet(box, 1)), tmp_path / "sheet.png")
    grey = (sheet == 60).all(axis=2)
    # The tiles of the first row are plain grey but for number and box: find the second by its left edge
    row = sheet.shape[0] // 6
    starts = np.flatnonzero(np.diff(grey[row].astype(int)) == 1) + 1
    width = int(np.flatnonzero(np.diff(grey[row].astype(int)) == -1)[0] + 1 - starts[0])
    top = int(np.flatnonzero(grey[:, starts[0] + width // 2])[0])
    second = int(starts[0]) + width + 4
    tile = width / 100
    x0, y0, x1, y1 = _extent(sheet, top, top + width)
    assert (x0, x1) == (second + round(10 * tile), second + round(30 * tile))
    assert (y0, y1) == (top + round(40 * tile), top + round(80 * tile))


def test_every_frame_of_a_tracklet_is_marked(tmp_path: Path) -> None:
    """A box is drawn on each frame of its tracklet, and a tracklet has its colour."""
    frames = _frames(count=5)
    one, two = Box(x0=10, y0=10, x1=30, y1=30), Box(x0=60, y0=60, x1=80, y1=80)
    empty = _drawn(frames, _reading(frames), tmp_path / "none.png")
    sheet = _drawn(
        frames, _reading(frames, _tracklet(one, 0, 1, 2), _tracklet(two, 2, 3, name="lesion-2")), tmp_path / "two.png"
    )
    grid = sheet[22:250]
    for colour, tiles in ((_RED, 3), ((64, 196, 255), 2)):
        marked = (grid == colour).all(axis=2)
        column_runs = np.diff(np.concatenate([[0], marked.any(axis=0).astype(int)])) == 1
        assert column_runs.sum() == tiles
    assert not (empty == _RED).all(axis=2).any()


def test_key_frames_are_larger(tmp_path: Path) -> None:
    """Each tracklet adds a large tile of the frame that shows most of it, at least twice the size of the others."""
    frames = _frames(count=8)
    small, large = Box(x0=10, y0=10, x1=12, y1=12), Box(x0=10, y0=10, x1=50, y1=50)
    tracklet = Tracklet(
        tracklet_id="lesion-1",
        findings=(
            Finding(label="Mass", frame_index=0, box=small),
            Finding(label="Mass", frame_index=1, box=large),
        ),
    )
    pixels = frames.pixels.copy()
    pixels[1] = 130
    frames = replace(frames, pixels=pixels)
    without = _drawn(frames, _reading(frames), tmp_path / "without.png")
    with_one = _drawn(frames, _reading(frames, tracklet), tmp_path / "with.png")
    added = with_one[without.shape[0] - 44 : -44]
    tile = (added == 130).all(axis=2)
    assert np.ptp(np.flatnonzero(tile.any(axis=0))) >= 2 * 230
    assert not (added == 60).all(axis=2).any()


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 64, 64), (24, 256, 256), (60, 200, 512), (7, 512, 128)])
def test_sheet_fits_a_screen(count: int, rows: int, columns: int, tmp_path: Path) -> None:
    """Whatever the volume, the sheet is at most 2000 pixels wide and shows every frame."""
    frames = _frames(count, rows, columns)
    sheet = _drawn(frames, _reading(frames, _tracklet(Box(x0=1, y0=1, x1=9, y1=9), 0)), tmp_path / "sheet.png")
    assert sheet.shape[1] <= 2000
    tile_width = (sheet.shape[1] - 4) // 8 - 4
    grey = (sheet == 60).all(axis=2).sum()
    assert grey >= 0.9 * count * tile_width * round(tile_width * rows / columns)


def test_many_tracklets(tmp_path: Path) -> None:
    """Past a dozen tracklets the sheet grows no further, and all boxes are still in the grid."""
    frames = _frames()
    boxes = [Box(x0=float(4 * n), y0=5, x1=float(4 * n + 3), y1=9) for n in range(20)]
    tracklets = [_tracklet(box, 0, name=f"lesion-{n}") for n, box in enumerate(boxes, start=1)]
    twelve = _drawn(frames, _reading(frames, *tracklets[:12]), tmp_path / "12.png")
    twenty = _drawn(frames, _reading(frames, *tracklets), tmp_path / "20.png")
    assert twenty.shape == twelve.shape
    assert (twenty[22:250] == _RED).all(axis=2).sum() > (twelve[22:250] == _RED).all(axis=2).sum()


def test_footer_is_written(tmp_path: Path) -> None:
    """The last line of every sheet bears text, with and without findings."""
    frames = _frames()
    for tracklets in ((), (_tracklet(Box(x0=1, y0=1, x1=9, y1=9), 0),)):
        footer = _drawn(frames, _reading(frames, *tracklets), tmp_path / "sheet.png")[-20:]
        assert (footer > 200).all(axis=2).sum() > 500


def test_nothing_identifies_the_patient(tmp_path: Path) -> None:
    """Another patient's reading gives the same bytes: neither pixels nor metadata hold a UID or a time."""
    frames = _frames()
    reading = _reading(frames, _tracklet(Box(x0=1, y0=1, x1=9, y1=9), 0))
    other = replace(
        reading,
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3",
        started_at=datetime(2031, 5, 5, tzinfo=UTC),
        frames=tuple(replace(ref, sop_instance_uid="1.2.3.4") for ref in reading.frames),
    )
    draw(frames, reading, tmp_path / "one.png")
    draw(frames, other, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as sheet:
        assert sheet.info == {}


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A sheet replaces the one before and leaves no other file; a failed one leaves nothing behind."""
    frames = _frames()
    path = tmp_path / "new" / "sheet.png"
    draw(frames, _reading(frames), path)
    before = path.read_bytes()
    draw(frames, _reading(frames, _tracklet(Box(x0=1, y0=1, x1=9, y1=9), 0)), path)
    assert path.read_bytes() != before
    assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]
    blocked = tmp_path / "blocked.png"
    blocked.mkdir()
    with pytest.raises(OSError, match="blocked"):
        draw(frames, _reading(frames), blocked)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["blocked.png", "new"]
