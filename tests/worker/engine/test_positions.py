import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from sgmri.errors import EngineError
from tests.worker.engine.tiny_language import MERGE, build
from worker.engine.positions import Grid, mrope_positions

_PAD, _VIDEO = 900, 901
_VISUAL = frozenset({_PAD, _VIDEO})


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Qwen3VLForConditionalGeneration:
    directory: Path = tmp_path_factory.mktemp("tiny")
    return build(directory).peer


def _prompt(texts: list[int], grids: list[Grid]) -> np.ndarray:
    """Return ids: a text of each length, and a frame behind each but the last."""
    parts: list[list[int]] = []
    for length, grid in itertools.zip_longest(texts, grids):
        parts.append([1] * length)
        if grid is not None:
            parts.append([_PAD] * (grid[0] * grid[1] // MERGE**2))
    return np.array(list(itertools.chain(*parts)), np.int64)


@pytest.mark.parametrize(
    ("texts", "grids"),
    [
        ([5, 2, 2, 7], [(8, 8), (8, 8), (8, 8)]),
        ([0, 1, 0], [(2, 2), (4, 10)]),
        ([1, 3, 1, 1, 4], [(20, 20), (2, 16), (16, 2), (14, 4)]),
        ([9], []),
        ([3, 0], [(2, 2)]),
    ],
)
def test_positions_are_those_of_transformers(
    peer: Qwen3VLForConditionalGeneration, texts: list[int], grids: list[Grid]
) -> None:
    """Positions and the next position equal get_rope_index for frames of any shape, at either end or anywhere."""
    ids = _prompt(texts, grids)
    positions, following = mrope_positions(ids, grids, merge=MERGE, visual_ids=_VISUAL)
    batch = torch.from_numpy(ids)[None]
    expected, delta = peer.model.get_rope_index(
        batch,
        mm_token_type_ids=torch.isin(batch, _PAD).int(),
        image_grid_thw=torch.tensor([[1, *grid] for grid in grids]) if grids else None,
    )
    assert positions.dtype == np.int64
    assert np.array_equal(positions, expected[:, 0].numpy())
    assert following == len(ids) + int(delta[0, 0])


def test_pairs_of_a_video_count_as_frames(peer: Qwen3VLForConditionalGeneration) -> None:
    """A video whose temporal patches are parted by text has the positions of as many single frames."""
    grids: list[Grid] = [(4, 6)] * 3
    ids = np.where(_prompt([2, 3, 3, 1], grids) == _PAD, _VIDEO, 1)
    positions, _ = mrope_positions(ids, grids, merge=MERGE, visual_ids=_VISUAL)
    batch = torch.from_numpy(ids)[None]
    expected, _ = peer.model.get_rope_index(
        batch, mm_token_type_ids=torch.isin(batch, _VIDEO).int() * 2, video_grid_thw=torch.tensor([[3, 4, 6]])
    )
    assert np.array_equal(positions, expected[:, 0].numpy())


@pytest.mark.parametrize(
    ("grids", "expected"),
    [
        ([(4, 4)], "1 frames, found 2"),
        ([(4, 4), (4, 6)], "expected 6 placeholders"),
        ([(4, 4), (3, 4)], "multiples of 2"),
        ([(4, 4), (0, 4)], "multiples of 2"),
    ],
)
def test_placeholders_that_do_not_fit_are_refused(grids: list[Grid], expected: str) -> None:
    """Too few grids, a frame of another size, and sides that cannot be merged are errors, never wrong positions."""
    ids = _prompt([1, 1, 1], [(4, 4), (4, 4)])
    with pytest.raises(EngineError, match=expected):
        mrope_positions(ids, grids, merge=MERGE, visual_ids=_VISUAL)
