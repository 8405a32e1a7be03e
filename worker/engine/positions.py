"""Three-axis rotary positions (M-RoPE) of a prompt of text and frames, as Qwen3-VL counts them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sgmri.errors import EngineError

Grid = tuple[int, int]
"""(rows, columns) of one frame in patches, before the merger."""


def mrope_positions(
    token_ids: NDArray[np.int64], grids: Sequence[Grid], *, merge: int, visual_ids: frozenset[int]
) -> tuple[NDArray[np.int64], int]:
    """Return the position of every token on the time, height and width axes.

    A text token advances all three axes by one. A frame that starts at p puts its merged patches at
    (p, p + row, p + column), and what follows it starts at p + max(rows, columns).

    Parameters
    ----------
    token_ids
        int64 (tokens,); each frame is a run of placeholders, and runs are parted by at least one text token.
    grids
        One for each frame, in order.
    merge
        Patches along one side that the merger turns into one token.
    visual_ids
        The placeholder tokens (image and video).

    Returns
    -------
    positions : int64 (3, tokens)
        Time, height, width.
    next_position : int
        Where the next text token starts, the same on all three axes.

    Raises
    ------
    EngineError
        If the runs of placeholders do not fit the grids.
    """
    is_visual = np.isin(token_ids, list(visual_ids))
    edges = np.flatnonzero(np.diff(is_visual.astype(np.int8), prepend=0, append=0))
    starts, stops = edges[::2], edges[1::2]
    if len(starts) != len(grids):
        raise EngineError(f"expected one run of placeholders for each of {len(grids)} frames, found {len(starts)}")
    blocks: list[NDArray[np.int64]] = []
    position = reached = 0
    for start, stop, grid in zip(starts.tolist(), stops.tolist(), grids, strict=True):
        blocks.append(_text(position, start - reached))
        position += start - reached
        block, span = _frame(position, grid, merge)
        if block.shape[1] != stop - start:
            raise EngineError(
                f"expected {block.shape[1]} placeholders for a frame of {grid[0]}x{grid[1]} patches merged by {merge}, "
                f"found {stop - start}"
            )
        blocks.append(block)
        position, reached = position + span, stop
    blocks.append(_text(position, len(token_ids) - reached))
    return np.concatenate(blocks, axis=1), position + len(token_ids) - reached


def _text(position: int, count: int) -> NDArray[np.int64]:
    """Return int64 (3, count): all axes advance together."""
    return np.tile(np.arange(position, position + count, dtype=np.int64), (3, 1))


def _frame(position: int, grid: Grid, merge: int) -> tuple[NDArray[np.int64], int]:
    """Return int64 (3, tokens of one frame) and how far the frame advances the count."""
    if any(side < merge or side % merge for side in grid):
        raise EngineError(f"expected a frame's patches in multiples of {merge}, found {grid[0]}x{grid[1]}")
    rows, columns = grid[0] // merge, grid[1] // merge
    place = np.indices((1, rows, columns), dtype=np.int64).reshape(3, -1)
    return place + position, max(rows, columns)
