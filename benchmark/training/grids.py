"""Grids to paint on: plane, matrix, slices, spacing, and a patient who is larger, smaller, tilted or off-centre."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.training.canvas import Grid
from sgmri.volume import Anatomy, Plane

BLOCK_PX = 32
"""Pixels along one merged block of the tower: frames are whole blocks."""
MATRICES: tuple[tuple[int, int], ...] = (
    (8, 8),
    (8, 7),
    (7, 8),
    (7, 7),
    (9, 7),
    (7, 9),
    (9, 6),
    (6, 9),
    (10, 6),
    (6, 10),
)
"""(rows, columns) of a frame in merged blocks, as frames of clinical matrices become when they are fitted."""
_MATRIX_SHARES = (0.5, 0.09, 0.09, 0.07, 0.05, 0.05, 0.05, 0.04, 0.03, 0.03)
PLANES = MappingProxyType(
    {Anatomy.BRAIN: ((Plane.AXIAL, 1.0),), Anatomy.KNEE: ((Plane.CORONAL, 0.75), (Plane.SAGITTAL, 0.25))}
)
"""Planes that are learnt, with their share."""
AXES = MappingProxyType(
    {
        Plane.AXIAL: ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        Plane.CORONAL: ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0)),
        Plane.SAGITTAL: ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    }
)
"""Plane -> directions (LPS) in which frame, row and column index grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What all volumes of a batch share.

    Parameters
    ----------
    anatomy, plane
        What is painted.
    frames, rows, columns
        Voxels.
    """

    anatomy: Anatomy
    plane: Plane
    frames: int
    rows: int
    columns: int


def draw_shape(rng: np.random.Generator, *, anatomy: Anatomy, frames: int) -> Shape:
    """Draw plane and matrix of a batch."""
    planes, shares = zip(*PLANES[anatomy], strict=True)
    plane = planes[int(rng.choice(len(planes), p=shares))]
    rows, columns = MATRICES[int(rng.choice(len(MATRICES), p=_MATRIX_SHARES))]
    return Shape(anatomy=anatomy, plane=plane, frames=frames, rows=rows * BLOCK_PX, columns=columns * BLOCK_PX)


def draw_grid(shape: Shape, count: int, rng: np.random.Generator, device: torch.device | str) -> Grid:
    """Draw spacing, size, position and tilt of the patient for each volume of a batch."""
    drawn = [_one(shape, rng) for _ in range(count)]
    affines, sizes, shares = zip(*drawn, strict=True)
    affine = torch.tensor(np.stack(affines), dtype=torch.float32, device=device)
    pixel_mm, slice_mm = zip(*sizes, strict=True)
    return Grid(
        affine=affine,
        frames=shape.frames,
        rows=shape.rows,
        columns=shape.columns,
        slice_step=affine[:, :, 0],
        thickness=torch.tensor(shares, dtype=torch.float32, device=device),
        pixel_mm=pixel_mm,
        slice_mm=slice_mm,
        plane=shape.plane,
    )


def _one(shape: Shape, rng: np.random.Generator) -> tuple[NDArray[np.float64], tuple[float, float], float]:
    """Return affine, (pixel size, slice spacing) in mm, and the slice's share of its spacing."""
    brain = shape.anatomy is Anatomy.BRAIN
    area = math.sqrt(shape.rows * shape.columns)
    side_mm = rng.uniform(195, 265) if brain else rng.uniform(135, 185)
    pixel_mm = side_mm / area
    extent_mm = rng.uniform(85, 150) if brain else rng.uniform(70, 105)
    slice_mm = float(np.clip(extent_mm / shape.frames, 2.0, 9.0 if brain else 7.0))
    normal, down, right = (np.array(axis) for axis in AXES[shape.plane])
    steps = np.stack([normal * slice_mm, down * pixel_mm, right * pixel_mm], axis=1)
    # Where the middle of the volume lies in the body
    middle = rng.normal(0, 1, 3) * ([6, 6, 5] if brain else [4, 4, 5]) + ([0, 0, 8] if brain else [0, 0, 4])
    middle_index = (np.array([shape.frames, shape.rows, shape.columns]) - 1) / 2
    tilt = _rotation(rng.normal(0, [6, 5, 5])) if rng.random() < 0.8 else _rotation(rng.normal(0, 12, 3))
    size = rng.uniform(0.9, 1.12) * rng.uniform(0.95, 1.05, 3)
    linear = np.diag(1 / size) @ tilt @ steps
    affine = np.concatenate([linear, (middle - linear @ middle_index)[:, None]], axis=1)
    return affine, (pixel_mm, slice_mm), float(rng.uniform(0.65, 1.0))


def _rotation(degrees: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation about x, then y, then z."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        cosine, sine = math.cos(angle), math.sin(angle)
        one = np.eye(3)
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        one[a, a] = one[b, b] = cosine
        one[a, b], one[b, a] = -sine, sine
        rotation = one @ rotation
    return rotation


def reaches_mm(grid: Grid) -> list[tuple[float, float, float, float]]:
    """Return (axis, low, high, margin) of each volume: what it covers along its normal, in canonical mm."""
    axis = {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}[grid.plane]
    reaches = []
    for step, down, right, shift in grid.affine[:, axis].tolist():
        middle = down * (grid.rows - 1) / 2 + right * (grid.columns - 1) / 2 + shift
        ends = (middle, middle + step * (grid.frames - 1))
        reaches.append((float(axis), min(ends), max(ends), abs(step) * 0.3))
    return reaches
