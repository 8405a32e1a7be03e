import numpy as np
import pytest
import torch

from benchmark.training.backgrounds import load, painted, save
from benchmark.training.bodies import head, knee
from benchmark.training.canvas import Canvas, Dice
from benchmark.training.grids import PLANES, Shape, draw_grid, draw_shape, reaches_mm
from benchmark.training.lesions import LEAST_PIXELS, plant
from benchmark.training.looks import LOOKS, draw
from benchmark.training.phantoms import Batch, Maker, Mix
from benchmark.training.scanner import window
from benchmark.training.strangers import HELD_OUT, TRAINED
from sgmri.errors import ConfigError
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy, Plane

_BRAIN = Shape(anatomy=Anatomy.BRAIN, plane=Plane.AXIAL, frames=10, rows=128, columns=128)
_KNEE = Shape(anatomy=Anatomy.KNEE, plane=Plane.CORONAL, frames=10, rows=128, columns=128)
_SHAPES = pytest.mark.parametrize("shape", [_BRAIN, _KNEE], ids=["brain", "knee"])


def _batch(shape: Shape, *, seed: int = 3, count: int = 4, mix: Mix | None = None) -> Batch:
    return Maker(seed=seed, mix=mix or Mix(normal=0.0, stranger=0.0)).batch(shape, count)


@_SHAPES
def test_the_same_seed_paints_the_same(shape: Shape) -> None:
    """Voxels and truth follow from the seed alone, and another seed is another batch."""
    one, same, other = _batch(shape), _batch(shape), _batch(shape, seed=4)
    assert torch.equal(one.voxels, same.voxels)
    assert one.truth == same.truth
    assert not torch.equal(one.voxels, other.voxels)


@_SHAPES
def test_boxes_lie_on_what_was_painted(shape: Shape) -> None:
    """Every box is inside its frame and tight; what changes lies inside the boxes, and nothing changes elsewhere."""
    rng, dice = np.random.default_rng(1), Dice(1, "cpu")
    grid = draw_grid(shape, 6, rng, "cpu")
    canvas = Canvas(grid, dice)
    body = (head if shape.anatomy is Anatomy.BRAIN else knee)(canvas)
    plans = [draw(shape.anatomy, reach, rng) for reach in reaches_mm(grid)]
    image, truth = plant(canvas, body, plans)
    changed = (image - body.image).abs() > 1e-3
    assert sum(len(volume) for volume in truth) > 3
    for volume, planted in enumerate(truth):
        covered = torch.zeros_like(changed[volume])
        for one in planted:
            for frame, (x0, y0, x1, y1) in one.boxes.items():
                assert 0 <= x0 < x1 <= shape.columns
                assert 0 <= y0 < y1 <= shape.rows
                assert (x1 - x0) * (y1 - y0) >= LEAST_PIXELS
                assert changed[volume, frame, y0:y1, x0:x1].any()
                margin = 16  # of the soft border
                covered[frame, max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = True
        assert not (changed[volume] & ~covered).any()


@_SHAPES
def test_every_label_can_be_planted(shape: Shape) -> None:
    """Within some batches every look of the anatomy is really painted, with a label of the vocabulary."""
    seen: set[str] = set()
    for seed in range(30):
        seen |= {planted.label for volume in _batch(shape, seed=seed, count=6).truth for planted in volume}
        if seen >= {look.label for look in LOOKS[shape.anatomy]}:
            break
    assert seen == {look.label for look in LOOKS[shape.anatomy]}
    assert all(FINDINGS[label].anatomy is shape.anatomy for label in seen)


def test_most_findings_that_are_drawn_are_painted() -> None:
    """At most a third of what is drawn is lost to fluid, skull and size: abnormal volumes are abnormal."""
    rng, dice = np.random.default_rng(5), Dice(5, "cpu")
    drawn = kept = 0
    for _ in range(4):
        grid = draw_grid(_BRAIN, 6, rng, "cpu")
        canvas = Canvas(grid, dice)
        plans = [draw(Anatomy.BRAIN, reach, rng) for reach in reaches_mm(grid)]
        _, truth = plant(canvas, head(canvas), plans)
        drawn += sum(map(len, plans))
        kept += sum(map(len, truth))
    assert kept / drawn > 2 / 3


def test_a_mix_decides_what_there_is() -> None:
    """All normal, all strange, all spoilt: the shares are kept, and strangers and normal volumes have no truth."""
    normal = _batch(_BRAIN, mix=Mix(normal=1.0, stranger=0.0, spoilt=1.0))
    assert not any(normal.truth)
    assert bool(normal.is_spoilt.all())
    strange = _batch(_BRAIN, mix=Mix(stranger=1.1))
    assert strange.stranger in TRAINED
    assert not any(strange.truth)


@pytest.mark.parametrize("name", [*TRAINED, *HELD_OUT])
def test_every_stranger_can_be_painted(name: str) -> None:
    """Each gives finite voxels in every plane that is read."""
    painters = {**TRAINED, **HELD_OUT}
    for shape in (_BRAIN, _KNEE):
        voxels = Maker(seed=1, mix=Mix(stranger=1.1), strangers={name: painters[name]}).batch(shape, 2).voxels
        assert bool(torch.isfinite(voxels).all())
        assert float(voxels.min()) >= 0


def test_kinds_for_the_examination_are_never_trained_on() -> None:
    """No painter is in both tables."""
    assert not set(TRAINED) & set(HELD_OUT)
    assert not set(TRAINED.values()) & set(HELD_OUT.values())


def test_shapes_and_grids_vary_within_what_is_read() -> None:
    """Planes are those of the anatomy; frames are whole blocks; pixel and slice sizes are clinical."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        shape = draw_shape(rng, anatomy=Anatomy.KNEE, frames=int(rng.integers(8, 49)))
        assert shape.plane in [plane for plane, _ in PLANES[Anatomy.KNEE]]
        assert shape.rows % 32 == shape.columns % 32 == 0
        grid = draw_grid(shape, 3, rng, "cpu")
        assert all(0.3 < mm < 1.2 for mm in grid.pixel_mm)
        assert all(2.0 <= mm <= 7.0 for mm in grid.slice_mm)


def test_the_window_is_grey_values() -> None:
    """Whole numbers from 0 to 255 that use the whole range, whatever the voxels' scale."""
    batch = _batch(_BRAIN)
    for factor in (1.0, 300.0):
        grey = window(batch.voxels * factor, Dice(0, "cpu"))
        assert torch.equal(grey, grey.round())
        assert (float(grey.min()), float(grey.max())) == (0.0, 255.0)


def test_backgrounds_are_kept_and_cut(tmp_path: object) -> None:
    """A painted phantom survives the file; cut along a new grid it has tissue, depth and findings."""
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    fixed = painted([10_000, 10_001], processes=1)
    save(fixed, tmp_path / "b.npz")
    again = load(tmp_path / "b.npz")
    assert [b.name for b in again] == ["phantom 10000", "phantom 10001"]
    assert torch.equal(again[1].channels, fixed[1].channels)
    maker = Maker(seed=2, backgrounds=again, mix=Mix(normal=0.0, stranger=0.0, fixed=1.0))
    for shape in (_BRAIN, _KNEE):
        assert any(maker.batch(shape, 4).truth)
    with pytest.raises(ConfigError, match="10,000"):
        painted([3], processes=1)
    (tmp_path / "c.npz").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="backgrounds"):
        load(tmp_path / "c.npz")
