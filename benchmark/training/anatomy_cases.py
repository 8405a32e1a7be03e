"""What the check of the anatomy by image learns from: heads, knees and what is neither, of any plane and contrast.

Coarser than the volumes that the embedded model learns from, and wilder: any contrast, strong coil profiles, face and
neck, slabs anywhere in the body. What is neither comes in all sizes too, and among it are joints and limbs that are
knees but for their size or place, for those are what a real series is mistaken for.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from benchmark.training.bodies import head, knee
from benchmark.training.canvas import Canvas, Dice, Grid, band, ramp
from benchmark.training.grids import AXES, Shape, draw_grid
from benchmark.training.scanner import scan
from benchmark.training.strangers import TRAINED, Painter
from dicom_io.appearance import Measures, measure
from dicom_io.recognition import FRAMES
from sgmri.volume import Anatomy, Orientation, Plane

BATCH = 6
"""Volumes that share plane and matrix."""
_MATRICES = ((64, 64), (64, 54), (54, 64), (64, 43), (43, 64))
"""Rows and columns: two to four millimetres a pixel are enough for cells of four."""
_MATRIX_SHARES = (0.5, 0.15, 0.15, 0.1, 0.1)
_PLANES: Mapping[Anatomy, tuple[tuple[Plane, float], ...]] = MappingProxyType(
    {
        Anatomy.BRAIN: ((Plane.AXIAL, 0.5), (Plane.CORONAL, 0.2), (Plane.SAGITTAL, 0.3)),
        Anatomy.KNEE: ((Plane.AXIAL, 0.25), (Plane.CORONAL, 0.35), (Plane.SAGITTAL, 0.4)),
    }
)
_KNOTS = np.array([0.0, 0.08, 0.25, 0.4, 0.55, 0.75, 1.0, 1.3])
"""Where curves of contrast bend, in parts of the brightest tissue."""
_Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Something that may be shown.

    Parameters
    ----------
    anatomy
        What it is; None where it is neither brain nor knee.
    like
        The anatomy whose fields of view it is seen in.
    paint
        Who paints it.
    size, zoom, coverage
        Ranges of factors: of the body, of the field of view, and of how much of the body is covered.
    """

    anatomy: Anatomy | None = None
    like: Anatomy
    paint: Painter
    size: _Range = (0.9, 1.15)
    zoom: _Range = (0.85, 1.15)
    coverage: _Range = (0.3, 1.5)


def whole_head(canvas: Canvas) -> Tensor:
    """Paint a head with face and neck, and brighter near the coil."""
    body = head(canvas)
    x, y, z, each = canvas.x, canvas.y, canvas.z, canvas.each
    neck = (1 - ((x / each(48, 68)) ** 2 + ((y - 15) / each(52, 75)) ** 2).sqrt()) * 55
    neck = torch.minimum(neck, -z - each(45, 70))
    face = (1 - canvas.radius((0.0, -45.0, -85.0), (each(50, 64), each(42, 62), each(45, 75)))) * 45
    soft = torch.maximum(ramp(neck), ramp(face)) * ramp(-body.depth_mm)
    level = body.reference * each(0.5, 1.4) * (1 + each(0.05, 0.3) * canvas.texture(14.0))
    image = body.image + (level - body.image) * soft
    airway = 1 - ((x / 11) ** 2 + ((y + each(0, 25)) / 9) ** 2).sqrt()
    image = image * (1 - 0.9 * ramp(airway * 9) * ramp(-z - 60))
    spine = 1 - ((x / 16) ** 2 + ((y - 28) / 13) ** 2).sqrt()
    return image + (level * each(0.3, 1.3) - image) * ramp(spine * 14) * ramp(-z - 75) * soft


def one_knee(canvas: Canvas) -> Tensor:
    """Paint a knee, more or less bent, with fat and marrow suppressed or bright."""
    canvas.y = canvas.y - canvas.each(0.0, 0.4) * (canvas.z**2 + 400).sqrt()
    body, each = knee(canvas), canvas.each
    fat = torch.maximum(body.tissue, band(body.depth_mm, 1.8, each(4, 14)))
    bright = body.reference * each(1.2, 2.5) * (1 + 0.1 * canvas.texture(8.0))
    without = body.image * each(0.3, 0.9)
    without = without + (bright - without) * fat
    return body.image + (without - body.image) * canvas.chance(0.55)


def both_knees(canvas: Canvas) -> Tensor:
    """Paint two knees side by side."""
    canvas.x = canvas.x.abs() - canvas.each(62, 80)
    return one_knee(canvas)


def shaft(canvas: Canvas) -> Tensor:
    """Paint the thigh or the lower leg of a knee."""
    canvas.z = canvas.z + canvas.each(115, 150) * (1 - 2 * canvas.chance(0.5))
    canvas.y = canvas.y + canvas.each(0.0, 0.4) * (canvas.z**2 + 400).sqrt()  # one_knee bends it back
    return one_knee(canvas)


def bottle(canvas: Canvas) -> Tensor:
    """Paint a filled vessel of the size of a head or a limb, as coils are tested with."""
    each = canvas.each
    radius = canvas.radius((0.0, 0.0, 0.0), (each(45, 100), each(45, 100), each(45, 400)))
    inside = (1 - radius) * 60
    filling = each(300, 900) * (1 + each(0.0, 0.15) * canvas.texture(50.0))
    image = filling * ramp(inside) * (1 - canvas.chance(0.4) * ramp(each(2, 8) - inside))
    for _ in range(3):
        rod = canvas.radius((each(-40, 40), each(-40, 40), each(-30, 30)), (each(4, 25), each(4, 25), each(4, 60)))
        image = image + (each(20, 900) - image) * ramp((1 - rod) * 10) * ramp(inside) * canvas.chance(0.3)
    return image


def _kinds() -> Iterator[tuple[str, Kind]]:
    brain, joint = Anatomy.BRAIN, Anatomy.KNEE
    yield "brain", Kind(anatomy=brain, like=brain, paint=whole_head)
    yield "knee", Kind(anatomy=joint, like=joint, paint=one_knee, size=(0.85, 1.2))
    yield "small head", Kind(like=brain, paint=whole_head, size=(0.3, 0.66), zoom=(0.4, 1.1))
    yield "large head", Kind(like=brain, paint=whole_head, size=(1.5, 2.2), zoom=(0.8, 2.0))
    yield "small joint", Kind(like=joint, paint=one_knee, size=(0.35, 0.62), zoom=(0.45, 1.1))
    yield "large joint", Kind(like=joint, paint=one_knee, size=(1.6, 2.3), zoom=(1.0, 2.2))
    yield "both knees", Kind(like=joint, paint=both_knees, zoom=(1.6, 2.3))
    yield "shaft", Kind(like=joint, paint=shaft, zoom=(0.75, 1.05), coverage=(0.3, 0.6))
    for name, paint in {**TRAINED, "bottle": bottle}.items():
        for like in (brain, joint):
            yield f"{name} as {like}", Kind(like=like, paint=paint, size=(0.6, 1.9), zoom=(0.6, 2.0))


KINDS: Mapping[str, Kind] = MappingProxyType(dict(_kinds()))
"""Everything that may be shown; half of the volumes are brains and knees."""
_STRANGE = tuple(name for name, kind in KINDS.items() if kind.anatomy is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One volume in numbers.

    Parameters
    ----------
    name
        Of its kind.
    anatomy
        What it is; None where it is neither.
    measures
        float64, from :func:`dicom_io.appearance.measure`.
    """

    name: str
    anatomy: Anatomy | None
    measures: Measures


def cases(seed: int, batch: int) -> list[Case]:
    """Make a few volumes of one kind and measure them; the same seed and batch give the same ones.

    Parameters
    ----------
    seed
        Another seed is another school.
    batch
        Counted from 0; of four batches one is brains and one knees.
    """
    rng = np.random.default_rng([seed, batch])
    name = ("brain", "knee")[batch % 4] if batch % 4 < 2 else _STRANGE[int(rng.integers(len(_STRANGE)))]
    return [Case(name=name, anatomy=KINDS[name].anatomy, measures=one) for one in _measured(KINDS[name], rng)]


def _measured(kind: Kind, rng: np.random.Generator) -> Iterator[Measures]:
    grid = _grid(kind, rng)
    canvas = Canvas(grid, Dice(int(rng.integers(1 << 31)), "cpu"))
    image = torch.stack([_recoloured(one, rng) for one in kind.paint(canvas)])
    voxels = scan(canvas, image * _coil(canvas), spoilt_share=0.05).voxels.numpy()
    if rng.random() < 0.5:
        voxels = voxels[..., ::-1]  # the other side; in sagittal planes, a wrong position of the patient
    _, down, right = AXES[grid.plane]
    for one, pixel_mm, slice_mm in zip(voxels, grid.pixel_mm, grid.slice_mm, strict=True):
        orientation = Orientation(row_cosines=right, column_cosines=down, pixel_spacing_mm=(pixel_mm, pixel_mm))
        yield measure(one, orientation, coverage_mm=slice_mm * FRAMES)


def _grid(kind: Kind, rng: np.random.Generator) -> Grid:
    """Draw a grid as for the embedded model's volumes, then vary size, field of view and coverage more."""
    planes, shares = zip(*_PLANES[kind.like], strict=True)
    rows, columns = _MATRICES[int(rng.choice(len(_MATRICES), p=_MATRIX_SHARES))]
    plane = planes[int(rng.choice(len(planes), p=shares))]
    shape = Shape(anatomy=kind.like, plane=plane, frames=FRAMES, rows=rows, columns=columns)
    grid = draw_grid(shape, BATCH, rng, "cpu")
    middle = torch.tensor([FRAMES - 1, rows - 1, columns - 1]) / 2
    affines, factors = [], []
    for affine in grid.affine:
        size, zoom, coverage = (_factor(rng, span) for span in (kind.size, kind.zoom, kind.coverage))
        step = affine[:, 0]
        # A slab need not lie in the middle of the body
        centre = affine[:, :3] @ middle + affine[:, 3] + step * FRAMES * float(rng.normal(0, 0.12))
        linear = affine[:, :3] * torch.tensor([coverage, zoom, zoom]) / size
        affines.append(torch.cat([linear, (centre - linear @ middle)[:, None]], dim=1))
        factors.append((coverage, zoom))
    affine = torch.stack(affines)
    return replace(
        grid,
        affine=affine,
        slice_step=affine[:, :, 0],
        pixel_mm=tuple(mm * zoom for mm, (_, zoom) in zip(grid.pixel_mm, factors, strict=True)),
        slice_mm=tuple(mm * coverage for mm, (coverage, _) in zip(grid.slice_mm, factors, strict=True)),
    )


def _factor(rng: np.random.Generator, span: _Range) -> float:
    return math.exp(rng.uniform(math.log(span[0]), math.log(span[1])))


def _recoloured(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Give a volume any contrast: a power, any rising curve, or any curve at all; air stays dark."""
    top = torch.quantile(image.flatten()[::7], 0.995).clamp_min(1)
    draw: tuple[Callable[[], np.ndarray], ...] = (
        lambda: _KNOTS ** rng.uniform(0.6, 1.5),
        lambda: np.concatenate([[0], np.sort(rng.uniform(0.05, 1, len(_KNOTS) - 1))]),
        lambda: np.concatenate([[0, rng.uniform(0.03, 0.25)], rng.uniform(0.15, 1, len(_KNOTS) - 2)]),
    )
    curve = draw[int(rng.integers(len(draw)))]()
    grey = np.interp((image / top).clamp(0, _KNOTS[-1]).numpy(), _KNOTS, curve)
    return torch.from_numpy(grey.astype(np.float32)) * 600


def _coil(canvas: Canvas) -> Tensor:
    """Return the profile of a coil that is short, or lies on the skin, or is well made."""
    each, chance = canvas.each, canvas.chance
    smooth = torch.exp(each(0.0, 0.5) * canvas.texture(80.0))
    # it lies where the field of view does
    z = canvas.z - canvas.z.mean(dim=(1, 2, 3), keepdim=True)
    short = torch.exp(-(((z - each(-15, 15)) / torch.exp(each(3.6, 5.1))) ** 2))
    is_short = chance(0.6)
    far = ((canvas.x / 75) ** 2 + (canvas.y / 85) ** 2 + (z / 85) ** 2).clamp(0, 2)
    on_skin = 1 + chance(0.3) * each(0.0, 3.0) * far
    return smooth * (1 - is_short + is_short * short) * on_skin
