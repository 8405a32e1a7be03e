"""What a scanner adds to a painted body: coil shading, blur, noise, artefacts; and the window of the product."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.training.canvas import Canvas, Dice

_SAMPLES = 60_000
_TISSUE_SHARE = 0.12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scanned:
    """A batch as a scanner would give it.

    Parameters
    ----------
    voxels
        float32 (volumes, frames, rows, columns), magnitude.
    is_spoilt
        bool (volumes,): an artefact limits the reading.
    """

    voxels: Tensor
    is_spoilt: Tensor


def scan(canvas: Canvas, image: Tensor, *, spoilt_share: float) -> Scanned:
    """Add shading, blur, artefacts and Rician noise.

    Parameters
    ----------
    canvas
        Of the batch.
    image
        float32 (volumes, frames, rows, columns), noiseless.
    spoilt_share
        Part of the volumes that get an artefact so strong that it limits the reading.
    """
    dice, count = canvas.dice, len(image)
    level = image.flatten(1).amax(dim=1)[:, None, None, None].clamp_max(2000)
    image = image * _shading(canvas)
    image = _blurred(image, dice)
    is_spoilt = dice.chance(spoilt_share, count)
    strength = is_spoilt * dice.each(0.45, 0.8, count) + (1 - is_spoilt) * dice.each(0.0, 0.06, count) * dice.chance(
        0.4, count
    )
    image = _ghosted(image, strength, dice)
    noise = dice.each(2.0, 20.0, count) * (level / 900).clamp(0.3, 2)
    real, imaginary = noise * dice.normal(*image.shape), noise * dice.normal(*image.shape)
    return Scanned(voxels=torch.hypot(image + real, imaginary), is_spoilt=is_spoilt.flatten() > 0)


def _shading(canvas: Canvas) -> Tensor:
    """Return a smooth coil profile about 1."""
    each = canvas.each
    x, y, z = canvas.x / 85, canvas.y / 95, canvas.z / 95
    linear = each(-0.12, 0.12) * x + each(-0.12, 0.12) * y + each(-0.1, 0.1) * z
    return (1 + linear + each(-0.05, 0.15) * (x**2 + y**2)).clamp_min(0.3)


def _blurred(image: Tensor, dice: Dice) -> Tensor:
    """Blur a part of the volumes in the plane, each by its own amount up to about a pixel."""
    count = len(image)
    weight = dice.each(0.0, 0.25, count) * dice.chance(0.6, count)
    neighbours = functional.avg_pool2d(image.flatten(0, 1)[:, None], 3, stride=1, padding=1, count_include_pad=False)
    return image + (neighbours[:, 0].reshape(image.shape) - image) * weight * 2.5


def _ghosted(image: Tensor, strength: Tensor, dice: Dice) -> Tensor:
    """Add shifted copies along the phase direction, as motion does; faint ones are in many good series."""
    rows = image.shape[2]
    shift = rows // 3
    ghost = (image.roll(shift, 2) + image.roll(-shift, 2)) / 2
    stripes = torch.cos(torch.arange(rows, device=image.device)[:, None] * dice.each(0.3, 1.2, len(image)))
    return (image * (1 - 0.4 * strength) + ghost * strength * (0.7 + 0.3 * stripes)).clamp_min(0)


def window(voxels: Tensor, dice: Dice) -> Tensor:
    """Return grey values 0 to 255 as the product's rendering gives them, whole numbers as float32.

    An approximation of :func:`worker.rendering.render` on a sample of the voxels: black at the darkest half per cent,
    white at the 99.9th percentile of the tissue.
    """
    count = len(voxels)
    flat = voxels.flatten(1)
    picked = torch.randint(flat.shape[1], (_SAMPLES,), generator=dice.generator, device=voxels.device)
    ordered = flat[:, picked].sort(dim=1).values
    low = ordered[:, round(0.005 * _SAMPLES)]
    ceiling = ordered[:, round(0.999 * _SAMPLES)]
    first = (ordered < (low + (ceiling - low) * _TISSUE_SHARE)[:, None]).sum(dim=1)
    place = (first + (0.999 * (_SAMPLES - first)).long()).clamp_max(_SAMPLES - 1)
    high = ordered.gather(1, place[:, None])[:, 0].maximum(low + 1e-3)
    shape = (count, 1, 1, 1)
    grey = (voxels - low.view(shape)) * (255 / (high - low).view(shape))
    return grey.clamp(0, 255).round()
