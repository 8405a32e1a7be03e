"""Where the voxels of a batch of synthetic volumes lie in the body, and the brushes to paint them with.

Every body is painted in canonical coordinates: mm, LPS, the same place for the same organ in every volume
(:mod:`benchmark.training.bodies`). A :class:`Grid` takes voxels there; size, shape, position and tilt of a patient
are in it, so that painters need not know them. torch throughout: the same code paints on a GPU for training and on
the CPU for evaluation.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sgmri.volume import Plane

EDGE_MM = 1.6
"""Width of the ramp between two tissues, about a pixel: partial volume in the plane."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The voxels of a batch of volumes of one shape.

    Parameters
    ----------
    affine
        float32 (volumes, 3, 4): ``[frame, row, column, 1] -> canonical x, y, z`` in mm, voxel centres.
    frames, rows, columns
        Shape of each volume.
    slice_step, thickness
        float32 (volumes, 3), (volumes,): canonical mm from one frame to the next, and how much of that step a slice
        is thick (0 to 1).
    pixel_mm, slice_mm
        Size of a (square) pixel and distance between frames of each volume; of the patient, not canonical.
    plane
        Of every frame.
    """

    affine: Tensor
    frames: int
    rows: int
    columns: int
    slice_step: Tensor
    thickness: Tensor
    pixel_mm: tuple[float, ...]
    slice_mm: tuple[float, ...]
    plane: Plane

    @property
    def count(self) -> int:
        """Volumes of the batch."""
        return len(self.affine)

    @property
    def device(self) -> torch.device:
        """Where it is painted."""
        return self.affine.device

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(volumes, frames, rows, columns)."""
        return self.count, self.frames, self.rows, self.columns

    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, y and z of every voxel, each float32 (volumes, frames, rows, columns)."""
        frame, row, column = (
            torch.arange(length, device=self.device, dtype=torch.float32)
            for length in (self.frames, self.rows, self.columns)
        )
        x, y, z = (
            (m[:, 0, None, None, None] * frame[:, None, None])
            + (
                m[:, 1, None, None, None] * row[:, None]
                + m[:, 2, None, None, None] * column
                + m[:, 3, None, None, None]
            )
            for m in self.affine.unbind(1)
        )
        return x, y, z

    def axes_at(self, volume: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, y and z of some frames of some volumes, each float32 (volumes, frames, rows, columns).

        Parameters
        ----------
        volume, frames
            int64 (volumes,), int64 (volumes, frames).
        """
        row, column = (
            torch.arange(length, device=self.device, dtype=torch.float32) for length in (self.rows, self.columns)
        )
        x, y, z = (
            (m[:, 0, None] * frames + m[:, 3, None])[:, :, None, None]
            + (m[:, 1, None, None] * row[:, None] + m[:, 2, None, None] * column)[:, None]
            for m in self.affine[volume].unbind(1)
        )
        return x, y, z


class Dice:
    """Random numbers of a batch, one generator for everything, on the batch's device.

    Parameters
    ----------
    seed
        The same seed, device and calls give the same numbers.
    device
        Where tensors are made.
    """

    def __init__(self, seed: int, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(device=self.device).manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return float32 uniform numbers."""
        return torch.rand(shape, generator=self.generator, device=self.device) * (high - low) + low

    def each(self, low: float, high: float, count: int) -> Tensor:
        """Return a uniform number for each volume, to be broadcast: (volumes, 1, 1, 1)."""
        return self.uniform(low, high, count, 1, 1, 1)

    def chance(self, probability: float, count: int) -> Tensor:
        """Return 0 or 1 for each volume, to be broadcast: float32 (volumes, 1, 1, 1)."""
        return (self.uniform(0, 1, count, 1, 1, 1) < probability).float()

    def normal(self, *shape: int) -> Tensor:
        """Return float32 standard normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.device)


class Canvas:
    """A half-painted batch: coordinates, the image so far, and randomness.

    Parameters
    ----------
    grid
        Where the voxels lie.
    dice
        For textures and the painters' choices.
    """

    def __init__(self, grid: Grid, dice: Dice) -> None:
        self.grid = grid
        self.dice = dice
        self.x, self.y, self.z = grid.axes()
        self.image = torch.zeros_like(self.x)

    @property
    def count(self) -> int:
        """Volumes of the batch."""
        return self.grid.count

    def each(self, low: float, high: float) -> Tensor:
        """Return a uniform number for each volume, (volumes, 1, 1, 1)."""
        return self.dice.each(low, high, self.count)

    def chance(self, probability: float) -> Tensor:
        """Return 0 or 1 for each volume, (volumes, 1, 1, 1)."""
        return self.dice.chance(probability, self.count)

    def texture(self, scale_mm: float) -> Tensor:
        """Return smooth random variation of about unit deviation, with blobs of about ``scale_mm``."""
        grid = self.grid
        pixel_mm, slice_mm = (sum(sizes) / grid.count for sizes in (grid.pixel_mm, grid.slice_mm))
        extent = (grid.frames * slice_mm, grid.rows * pixel_mm, grid.columns * pixel_mm)
        lengths = [
            max(2, min(limit, round(mm / scale_mm * 2)) + 1) for mm, limit in zip(extent, grid.shape[1:], strict=True)
        ]
        noise = self.dice.normal(grid.count, 1, *lengths)
        return functional.interpolate(_softened(noise), size=grid.shape[1:], mode="trilinear", align_corners=True)[:, 0]

    def radius(self, centre: "Point", axes: "Point", *, turn_deg: float = 0.0) -> Tensor:
        """Return the distance from an ellipsoid's centre, 1 on its surface; turned about z by ``turn_deg``."""
        dx, dy, dz = self.x - centre[0], self.y - centre[1], self.z - centre[2]
        cosine, sine = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
        u, v = cosine * dx + sine * dy, cosine * dy - sine * dx
        return ((u / axes[0]) ** 2 + (v / axes[1]) ** 2 + (dz / axes[2]) ** 2).sqrt()

    def ellipsoid(self, centre: "Point", axes: "Point", value: float | Tensor, *, turn_deg: float = 0.0) -> None:
        """Paint a full ellipsoid."""
        first, second, third = (torch.as_tensor(axis, device=self.grid.device) for axis in axes)
        size = torch.minimum(torch.minimum(first, second), third)
        self.blend(value, ramp((1 - self.radius(centre, axes, turn_deg=turn_deg)) * size))

    def pair(self, centre: "Point", axes: "Point", value: float | Tensor, *, turn_deg: float = 0.0) -> None:
        """Paint an ellipsoid and its mirror image across the midline."""
        self.ellipsoid(centre, axes, value, turn_deg=turn_deg)
        self.ellipsoid((-centre[0], centre[1], centre[2]), axes, value, turn_deg=-turn_deg)

    def blend(self, value: float | Tensor, weight: Tensor) -> None:
        """Mix ``value`` in with a weight from 0 to 1."""
        self.image = self.image + (value - self.image) * weight


Point = tuple[float | Tensor, float | Tensor, float | Tensor]
"""x, y, z: numbers, or one for each volume as (volumes, 1, 1, 1)."""


def ramp(inside_mm: Tensor, width_mm: float = EDGE_MM) -> Tensor:
    """Return 0 outside, 1 inside, one half on the surface."""
    return (0.5 + inside_mm / width_mm).clamp(0, 1)


def band(depth_mm: Tensor, start_mm: float | Tensor, end_mm: float | Tensor) -> Tensor:
    """Return 1 between two depths."""
    return ramp(depth_mm - start_mm) * ramp(end_mm - depth_mm)


def crease(field: Tensor, width: float) -> Tensor:
    """Return the ridge lines of a smooth random field: they look like sulci and septa."""
    return torch.exp(-((field / width) ** 2))


def _softened(noise: Tensor) -> Tensor:
    """Smooth by [1, 2, 1] along each axis and bring back to unit deviation."""
    for axis in (2, 3, 4):
        if noise.shape[axis] > 2:
            low, high = noise.roll(1, axis), noise.roll(-1, axis)
            noise = (low + 2 * noise + high) / 4
    return noise / noise.std(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1e-6)
