"""Fit frames to the size that the model is shown: whole merged blocks, within the profile's budget of pixels.

Sizes are those of Qwen's own image processor, so that published weights see what they were trained on. Boxes need no
map back: they are written in pixels of the frame that the prompt names, or in thousandths of it, never of this one.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sgmri.errors import InvalidGeometry
from worker.engine.profiles import PixelBudget

_MAX_RATIO = 200.0
"""Longer frames than this are refused, as Qwen's processor refuses them."""


def fitted_size(rows: int, columns: int, budget: PixelBudget, *, block: int) -> tuple[int, int]:
    """Return the size that frames are resized to: (rows, columns), each a multiple of ``block``.

    Parameters
    ----------
    rows, columns
        Of the frames.
    budget
        Fewest and most pixels.
    block
        Pixels along a merged block.

    Raises
    ------
    InvalidGeometry
        If a frame is a line.
    """
    if min(rows, columns) < 1 or max(rows, columns) / min(rows, columns) > _MAX_RATIO:
        raise InvalidGeometry(f"expected frames at most {_MAX_RATIO:.0f} times as long as wide, found {rows}x{columns}")
    down, across = (max(block, round(length / block) * block) for length in (rows, columns))
    if down * across > budget.max_pixels:
        shrink = math.sqrt(rows * columns / budget.max_pixels)
        down, across = (max(block, math.floor(length / shrink / block) * block) for length in (rows, columns))
    elif down * across < budget.min_pixels:
        grow = math.sqrt(budget.min_pixels / (rows * columns))
        down, across = (math.ceil(length * grow / block) * block for length in (rows, columns))
    return down, across


def fit(frames: NDArray[np.uint8], budget: PixelBudget, *, block: int) -> NDArray[np.uint8]:
    """Resize frames (bicubic, about pixel centres).

    Parameters
    ----------
    frames
        uint8 (frames, rows, columns).
    budget, block
        As for :func:`fitted_size`.

    Returns
    -------
    uint8 (frames, rows, columns)
        The same array where nothing changes.
    """
    rows, columns = fitted_size(frames.shape[1], frames.shape[2], budget, block=block)
    if frames.shape[1:] == (rows, columns):
        return frames
    resized = [Image.fromarray(frame).resize((columns, rows), Image.Resampling.BICUBIC) for frame in frames]
    return np.stack([np.asarray(frame, dtype=np.uint8) for frame in resized])
