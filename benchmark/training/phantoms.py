"""Batches of synthetic volumes with exact findings: bodies, findings, strangers, scanner, put together from a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from benchmark.training.backgrounds import Background, sample
from benchmark.training.bodies import Body, head, knee
from benchmark.training.canvas import Canvas, Dice, Grid
from benchmark.training.grids import Shape, draw_grid, reaches_mm
from benchmark.training.lesions import Planted, plant
from benchmark.training.looks import Plan, draw
from benchmark.training.scanner import scan
from benchmark.training.strangers import TRAINED, Painter
from sgmri.volume import Anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How often a batch is what.

    Parameters
    ----------
    normal
        Part of the volumes without any finding.
    stranger
        Part of the batches that are no head and no knee.
    fixed
        Part of the batches on a fixed background, where there are any.
    spoilt
        Part of the volumes with an artefact that limits the reading.
    favour
        Label -> how much more often than usual it is planted.
    """

    normal: float = 0.35
    stranger: float = 0.1
    fixed: float = 0.5
    spoilt: float = 0.06
    favour: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Synthetic volumes of one shape.

    Parameters
    ----------
    shape, grid
        What they share, and where their voxels lie.
    voxels
        float32 (volumes, frames, rows, columns), magnitude, not windowed.
    truth
        What was planted, by volume.
    stranger
        Name of what they are instead of ``shape.anatomy``; None where they are that.
    is_spoilt
        bool (volumes,): an artefact limits the reading.
    unknown
        Labels of which it is not known whether the body has them.
    """

    shape: Shape
    grid: Grid
    voxels: Tensor
    truth: Sequence[Sequence[Planted]]
    stranger: str | None
    is_spoilt: Tensor
    unknown: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Maker:
    """Makes batches: everything random comes from its two sources.

    Parameters
    ----------
    seed
        The same seed, device and calls give the same batches.
    device
        Where they are painted.
    backgrounds
        Fixed bodies, besides the painted ones.
    mix
        How often a batch is what.
    strangers
        What else is shown.
    """

    seed: int
    device: torch.device | str = "cpu"
    backgrounds: Sequence[Background] = ()
    mix: Mix = Mix()
    strangers: Mapping[str, Painter] = field(default_factory=lambda: TRAINED)
    rng: np.random.Generator = field(init=False)
    dice: Dice = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.backgrounds = [background.to(self.device) for background in self.backgrounds]
        self.dice = Dice(self.seed, self.device)

    def batch(self, shape: Shape, count: int) -> Batch:
        """Make one batch.

        Parameters
        ----------
        shape
            Anatomy, plane and voxels.
        count
            Volumes.
        """
        grid = draw_grid(shape, count, self.rng, self.device)
        canvas = Canvas(grid, self.dice)
        if self.rng.random() < self.mix.stranger:
            return self._strange(shape, canvas)
        body, unknown = self._body(shape, canvas)
        plans = [self._plans(shape.anatomy, reach) for reach in reaches_mm(grid)]
        image, truth = plant(canvas, body, plans)
        scanned = scan(canvas, image, spoilt_share=self.mix.spoilt)
        return Batch(
            shape=shape,
            grid=grid,
            voxels=scanned.voxels,
            truth=truth,
            stranger=None,
            is_spoilt=scanned.is_spoilt,
            unknown=unknown,
        )

    def _plans(self, anatomy: Anatomy, reach: tuple[float, float, float, float]) -> tuple[Plan, ...]:
        return () if self.rng.random() < self.mix.normal else draw(anatomy, reach, self.rng, self.mix.favour)

    def _body(self, shape: Shape, canvas: Canvas) -> tuple[Body, tuple[str, ...]]:
        fitting = [b for b in self.backgrounds if b.anatomy is shape.anatomy and shape.plane in b.planes]
        if fitting and self.rng.random() < self.mix.fixed:
            shares = np.array([background.share for background in fitting])
            background = fitting[int(self.rng.choice(len(fitting), p=shares / shares.sum()))]
            return sample(canvas, background), background.unknown
        return PAINTERS[shape.anatomy](canvas), ()

    def _strange(self, shape: Shape, canvas: Canvas) -> Batch:
        name = sorted(self.strangers)[int(self.rng.integers(len(self.strangers)))]
        scanned = scan(canvas, self.strangers[name](canvas), spoilt_share=0.0)
        return Batch(
            shape=shape,
            grid=canvas.grid,
            voxels=scanned.voxels,
            truth=[[] for _ in range(canvas.count)],
            stranger=name,
            is_spoilt=scanned.is_spoilt,
        )


PAINTERS = MappingProxyType({Anatomy.BRAIN: head, Anatomy.KNEE: knee})
"""Who paints the procedural body of an anatomy."""
