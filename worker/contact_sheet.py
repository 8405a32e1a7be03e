"""A reading at a glance: all frames as a grid with the boxes in place, and the key frame of every tracklet larger.

Shows pixels, boxes, labels and the engine; no patient, no study, no UID.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.findings import Finding, Tracklet, frames_as_text
from sgmri.interfaces import Frames
from sgmri.readings import Reading
from worker.sheet import BACKGROUND, COLOURS, FAINT, GAP, INK, TEXT_HEIGHT, WIDTH, Colour, Grid, save, write

_COLUMNS = 8
_KEY_COLUMNS = 4
_MAX_KEY_TILES = 12
"""So many tracklets get a large tile; all have their boxes in the grid."""
_Marked = tuple[Finding, Colour]
"""A box in source pixels and the colour that it is drawn in."""


def draw(volume_frames: Frames, reading: Reading, path: Path) -> None:
    """Draw the contact sheet of a reading as PNG.

    Parameters
    ----------
    volume_frames
        The frames that were read.
    reading
        What was found; boxes in source pixels.
    path
        Where to write; the file is there only once it is whole.
    """
    rows, columns = volume_frames.pixels.shape[1:]
    shape = (rows, columns)
    grid = Grid.fitting(shape, len(volume_frames.pixels), _COLUMNS)
    shown = reading.tracklets[:_MAX_KEY_TILES]
    key_grid = Grid.fitting(shape, len(shown), _KEY_COLUMNS, caption=TEXT_HEIGHT) if shown else None
    height = TEXT_HEIGHT + grid.height + (key_grid.height if key_grid else 0) + 2 * TEXT_HEIGHT
    sheet = Image.new("RGB", (WIDTH, height), BACKGROUND)
    ink = ImageDraw.Draw(sheet)
    write(ink, (GAP, 2), _title(reading), INK)

    top = TEXT_HEIGHT
    marked = _by_frame(reading.tracklets)
    for frame_index in range(len(volume_frames.pixels)):
        tile = _tile(volume_frames, frame_index, marked.get(frame_index, ()), grid)
        place = grid.place(frame_index, top)
        sheet.paste(tile, place)
        write(ink, (place[0] + 3, place[1] + 1), str(frame_index + 1), INK)
    top += grid.height
    for position, tracklet in enumerate(shown if key_grid else ()):
        assert key_grid is not None
        colour = COLOURS[position % len(COLOURS)]
        key = max(tracklet.findings, key=lambda finding: finding.box.area)
        place = key_grid.place(position, top)
        sheet.paste(_tile(volume_frames, key.frame_index, [(key, colour)], key_grid), place)
        write(ink, (place[0], place[1] + key_grid.tile_height + 2), _caption(tracklet, key), colour)
    write(ink, (GAP, height - 2 * TEXT_HEIGHT + 2), _more(reading, len(shown)), FAINT)
    write(ink, (GAP, height - TEXT_HEIGHT + 2), RESEARCH_USE_STATEMENT, INK)
    save(sheet, path)


def _tile(frames: Frames, frame_index: int, marked: Sequence[_Marked], grid: Grid) -> Image.Image:
    """Return a frame at the size of a tile, with its boxes."""
    rows, columns = frames.pixels.shape[1:]
    tile = Image.fromarray(frames.pixels[frame_index]).convert("RGB")
    tile = tile.resize((grid.tile_width, grid.tile_height), Image.Resampling.BILINEAR)
    ink = ImageDraw.Draw(tile)
    scale_x, scale_y = grid.tile_width / columns, grid.tile_height / rows
    for finding, colour in marked:
        box = frames.scaling.to_model(finding.box)
        x0, y0 = round(box.x0 * scale_x), round(box.y0 * scale_y)
        x1, y1 = round(box.x1 * scale_x), round(box.y1 * scale_y)
        # Boxes are half-open, Pillow's rectangles are not; a box is at least a pixel
        ink.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour)
    return tile


def _by_frame(tracklets: Sequence[Tracklet]) -> dict[int, list[_Marked]]:
    """Return the boxes to draw on each frame index."""
    marked: dict[int, list[_Marked]] = {}
    for position, tracklet in enumerate(tracklets):
        for finding in tracklet.findings:
            marked.setdefault(finding.frame_index, []).append((finding, COLOURS[position % len(COLOURS)]))
    return marked


def _title(reading: Reading) -> str:
    count = len(reading.tracklets)
    found = "1 finding" if count == 1 else f"{count} findings"
    return (
        f"sgmri: {reading.anatomy} MRI, {len(reading.frames)} frames, {found}, "
        f"engine {reading.engine.name} {reading.engine.version}"
    )


def _caption(tracklet: Tracklet, key: Finding) -> str:
    where = f"frame {key.frame_index + 1} of {frames_as_text(tracklet.frame_indices)}"
    side = f", {tracklet.laterality}" if tracklet.laterality else ""
    return f"{tracklet.tracklet_id}: {tracklet.label}{side} ({where})"


def _more(reading: Reading, shown: int) -> str:
    """Say what has no large tile of its own."""
    left = len(reading.tracklets) - shown
    return f"{left} more in the grid only" if left else ""
