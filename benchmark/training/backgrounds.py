"""Fixed bodies to paint on: phantoms of :mod:`conformance`, and real volumes where they are at hand.

Each is sampled through canonical coordinates, bent a little and given another contrast every time, so that a few of
them stand for many. What is not known of a real one (an MS patient has lesions of his own) is not asked of it.
Real volumes (:mod:`benchmark.training.collect`) lie in a file beside the checkout and never become part of the
repository.
"""

import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from benchmark.training.bodies import Body
from benchmark.training.canvas import Canvas
from conformance.phantom_anatomy import Grid as PhantomGrid
from conformance.phantom_anatomy import paint
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy, Orientation, Plane

_REAL_SHARE = 5.0
_HEAD_MM = (74.0, 95.0, 85.0)
"""Canonical half-width and half-length of a head, and height of its vertex."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Background:
    """A fixed body.

    Parameters
    ----------
    name, anatomy, planes
        What it is, and in which planes it may be cut.
    channels
        float16 (3, frames, rows, columns): grey value in parts of the reference, tissue (0 to 1), depth in mm.
    to_voxel
        float32 (3, 4): ``[x, y, z, 1]`` canonical mm -> frame, row, column.
    unknown
        Labels of which nobody knows whether this body has them.
    bends
        Whether the contrast may be turned over (fat suppression, FLAIR from T1); never for a phantom.
    share
        How often it is taken, relative to the others.
    """

    name: str
    anatomy: Anatomy
    planes: tuple[Plane, ...]
    channels: Tensor
    to_voxel: Tensor
    unknown: tuple[str, ...] = ()
    bends: bool = False
    share: float = 1.0

    def to(self, device: torch.device | str) -> "Background":
        """Return it on a device."""
        return replace(self, channels=self.channels.to(device), to_voxel=self.to_voxel.to(device))


def sample(canvas: Canvas, background: Background) -> Body:
    """Cut a background along the batch's grids, bent and recoloured.

    Parameters
    ----------
    canvas
        Of the batch; every volume is cut from this background.
    background
        Of the batch's anatomy and plane.
    """
    volume = background.channels.float()
    bend = [canvas.texture(45.0) * canvas.each(0.0, 2.5) for _ in range(3)]
    place = [axis + shift for axis, shift in zip((canvas.x, canvas.y, canvas.z), bend, strict=True)]
    matrix = background.to_voxel
    voxel = [sum(matrix[row, axis] * place[axis] for axis in range(3)) + matrix[row, 3] for row in range(3)]
    lengths = volume.shape[1:]
    unit = [2 * index / (length - 1) - 1 for index, length in zip(voxel, lengths, strict=True)]
    grid = torch.stack(unit[::-1], dim=-1)
    cut = functional.grid_sample(volume[None].expand(canvas.count, -1, -1, -1, -1), grid, align_corners=True)
    inside = (grid.abs() <= 1).all(dim=-1)
    image, tissue, depth = cut.unbind(1)
    depth = torch.where(inside, depth, torch.full_like(depth, -20.0))
    reference = canvas.each(300, 480) if background.anatomy is Anatomy.BRAIN else canvas.each(220, 340)
    image = _recoloured(canvas, image, background)
    texture = 1 + canvas.each(0.0, 0.03) * canvas.texture(5.0)
    return Body(image=image * inside * reference * texture, tissue=tissue * inside, depth_mm=depth, reference=reference)


def _recoloured(canvas: Canvas, image: Tensor, background: Background) -> Tensor:
    """Give another contrast: a power of the grey value and, where it may, less of what is brightest."""
    image = image.clamp_min(0) ** canvas.each(0.75, 1.3)
    if not background.bends:
        return image
    # Fat and white matter are brightest in these sources; suppressed or inverted they are not
    knee = canvas.each(0.95, 1.15)
    above = (image - knee).clamp_min(0)
    return (image - above * canvas.each(0.6, 1.6)).clamp_min(0.05 * image)


def painted(seeds: Sequence[int], *, processes: int) -> tuple[Background, ...]:
    """Paint phantoms without findings, as the demonstration's own, on grids fine enough to be cut anew.

    Parameters
    ----------
    seeds
        One a phantom: brain where even, knee where odd. 10,000 and up: the demonstration's seeds stay unseen.
    processes
        How many paint at a time.
    """
    if min(seeds) < 10_000:
        raise ConfigError(f"expected seeds of 10,000 and up for training, found {min(seeds)}")
    if processes <= 1:
        return tuple(map(_phantom, seeds))
    with ProcessPoolExecutor(processes) as pool:
        return tuple(pool.map(_phantom, seeds))


def _phantom(seed: int) -> Background:
    rng = np.random.default_rng([seed, 7])
    if seed % 2:
        orientation = Orientation(
            row_cosines=(1.0, 0.0, 0.0), column_cosines=(0.0, 0.0, -1.0), pixel_spacing_mm=(0.65, 0.65)
        )
        anatomy, frames, centre = Anatomy.KNEE, 44, (0.0, 0.0, 4.0)
    else:
        orientation = Orientation(
            row_cosines=(1.0, 0.0, 0.0), column_cosines=(0.0, 1.0, 0.0), pixel_spacing_mm=(0.9, 0.9)
        )
        anatomy, frames, centre = Anatomy.BRAIN, 56, (0.0, 0.0, 9.0)
    grid = PhantomGrid(
        orientation=orientation,
        frames=frames,
        rows=240,
        columns=240,
        slice_spacing_mm=2.4,
        slice_thickness_mm=2.4,
        centre_mm=centre,
    )
    voxels = paint(anatomy, grid, (), rng).voxels.astype(np.float32)
    x, y, z = (np.broadcast_to(axis, voxels.shape) for axis in grid.points_mm())
    smooth = ndimage.gaussian_filter(voxels, (0, 1.5, 1.5))
    if anatomy is Anatomy.BRAIN:
        outline = np.abs(x / 74) ** 2.3 + np.abs(y / 95) ** 2.3 + np.abs((z + 8) / 93) ** 2.3
        depth = (1 - outline ** (1 / 2.3)) * 80
        tissue = (depth > 15.5) & (smooth > 300) & (smooth < 600)
        reference = 395.0
    else:
        depth = (1 - np.sqrt((x / 60) ** 2 + ((y + 2) / 62) ** 2)) * 60
        marrow = (smooth > 70) & (smooth < 190) & (np.abs(x) < 36) & (np.abs(y - 2) < 22)
        tissue = marrow & ((z < -4.5) | (z > 7))
        reference = 290.0
    start = grid.first_pixel_mm(0)
    steps = [orientation.normal * 2.4, *_in_plane(orientation)]
    return Background(
        name=f"phantom {seed}",
        anatomy=anatomy,
        planes=(Plane.AXIAL,) if anatomy is Anatomy.BRAIN else (Plane.CORONAL, Plane.SAGITTAL),
        channels=_channels(voxels / reference, tissue, depth),
        to_voxel=_inverse(np.stack(steps, axis=1), start),
    )


def _in_plane(orientation: Orientation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the steps (mm, LPS) of row and column index."""
    row_mm, column_mm = orientation.pixel_spacing_mm
    return np.array(orientation.column_cosines) * row_mm, np.array(orientation.row_cosines) * column_mm


def _channels(image: NDArray[np.floating], tissue: NDArray[np.bool_], depth: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.stack([image, tissue, depth]).astype(np.float16))


def _inverse(linear: NDArray[np.float64], start: NDArray[np.float64]) -> Tensor:
    """Return canonical -> voxel for ``canonical = linear @ voxel + start``."""
    back = np.linalg.inv(linear)
    return torch.from_numpy(np.concatenate([back, -(back @ start)[:, None]], axis=1).astype(np.float32))


def head_background(
    name: str,
    voxels: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    *,
    planes: tuple[Plane, ...],
    unknown: tuple[str, ...] = (),
    bends: bool = False,
) -> Background:
    """Bring a real head into canonical coordinates by its outline.

    Parameters
    ----------
    name
        For the log.
    voxels
        float32 (frames, rows, columns), axial: frames upwards, rows to the back, columns to the patient's left.
    spacing_mm
        (frames, rows, columns).
    planes, unknown, bends
        See :class:`Background`.
    """
    scaled = voxels / np.percentile(voxels, 99.5)
    smooth = ndimage.gaussian_filter(scaled, [1.0 / mm for mm in spacing_mm])
    outline = np.stack([ndimage.binary_fill_holes(frame) for frame in smooth > 0.12])
    outline = _largest(ndimage.binary_opening(outline, iterations=2))
    depth = ndimage.distance_transform_edt(outline, sampling=spacing_mm)
    core = (depth > 16) & (smooth > 0.05)
    bright = smooth[core]
    reference = float(np.median(bright[bright > np.percentile(bright, 40)]))
    tissue = (depth > 17) & (smooth > 0.75 * reference) & (smooth < 1.5 * reference)
    # The upper two thirds of a head are an ellipsoid; neck and face are not
    top = int(np.flatnonzero(outline.sum(axis=(1, 2)) > 60)[-1])
    low = max(0, top - round(80 / spacing_mm[0]))
    rows, columns = (np.flatnonzero(outline[low:top].any(axis=axes)) for axes in ((0, 2), (0, 1)))
    sizes = [(ends[-1] - ends[0]) * mm / 2 for ends, mm in ((rows, spacing_mm[1]), (columns, spacing_mm[2]))]
    row_scale, column_scale = _HEAD_MM[1] / sizes[0], _HEAD_MM[0] / sizes[1]
    linear = np.array(
        [
            [0, 0, spacing_mm[2] * column_scale],
            [0, spacing_mm[1] * row_scale, 0],
            [spacing_mm[0], 0, 0],
        ]
    )
    middle = np.array([top, (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2])
    start = np.array([0.0, 0.0, _HEAD_MM[2]]) - linear @ middle
    return Background(
        name=name,
        anatomy=Anatomy.BRAIN,
        planes=planes,
        channels=_channels(scaled / reference, tissue, np.where(outline, depth, -5.0)),
        to_voxel=_inverse(linear, start),
        unknown=unknown,
        bends=bends,
        share=_REAL_SHARE,
    )


def knee_background(
    name: str, voxels: NDArray[np.float32], linear: NDArray[np.float64], start: NDArray[np.float64]
) -> Background:
    """Bring a real sagittal knee with bright marrow into canonical coordinates by a given map.

    Parameters
    ----------
    name
        For the log.
    voxels
        float32 (frames, rows, columns).
    linear, start
        ``canonical = linear @ (frame, row, column) + start``, in mm.
    """
    scaled = voxels / np.percentile(voxels, 99.5)
    smooth = ndimage.gaussian_filter(scaled, (0, 2.0, 2.0))
    outline = np.stack([ndimage.binary_fill_holes(frame) for frame in smooth > 0.08])
    depth = np.stack([ndimage.distance_transform_edt(frame) * abs(linear[1, 2]) for frame in outline])
    frame, row, column = np.indices(voxels.shape)
    y = linear[1, 0] * frame + linear[1, 1] * row + linear[1, 2] * column + start[1]
    z = linear[2, 0] * frame + linear[2, 1] * row + linear[2, 2] * column + start[2]
    tissue = (smooth > 0.4) & (np.abs(y - 2) < 22) & (np.abs(z) > 5) & (np.abs(z) < 36) & (depth > 10)
    return Background(
        name=name,
        anatomy=Anatomy.KNEE,
        planes=(Plane.SAGITTAL, Plane.CORONAL),
        channels=_channels(scaled / 0.3, tissue, np.where(outline, depth, -5.0)),
        to_voxel=_inverse(linear, start),
        bends=True,
        share=_REAL_SHARE,
    )


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if not count:
        raise ConfigError("expected a head in the volume, found air; check the background's file")
    largest: NDArray[np.bool_] = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return largest


def save(backgrounds: Sequence[Background], path: Path) -> None:
    """Write backgrounds to one file of plain arrays."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, background in enumerate(backgrounds):
        arrays |= {
            f"{number}.name": np.array(background.name),
            f"{number}.anatomy": np.array(background.anatomy.value),
            f"{number}.planes": np.array([plane.value for plane in background.planes]),
            f"{number}.channels": background.channels.numpy(),
            f"{number}.to_voxel": background.to_voxel.numpy(),
            f"{number}.unknown": np.array(background.unknown, dtype=np.str_),
            f"{number}.bends": np.array(background.bends),
            f"{number}.share": np.array(background.share),
        }
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its options


def load(path: Path) -> tuple[Background, ...]:
    """Read what :func:`save` wrote.

    Raises
    ------
    ConfigError
        If the file is none.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            count = sum(name.endswith(".name") for name in arrays.files)
            return tuple(
                Background(
                    name=str(arrays[f"{number}.name"]),
                    anatomy=Anatomy(str(arrays[f"{number}.anatomy"])),
                    planes=tuple(Plane(str(value)) for value in arrays[f"{number}.planes"]),
                    channels=torch.from_numpy(arrays[f"{number}.channels"]),
                    to_voxel=torch.from_numpy(arrays[f"{number}.to_voxel"]),
                    unknown=tuple(map(str, arrays[f"{number}.unknown"])),
                    bends=bool(arrays[f"{number}.bends"]),
                    share=float(arrays[f"{number}.share"]),
                )
                for number in range(count)
            )
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path}: expected backgrounds as benchmark.training.collect writes them, found {type(error).__name__}"
        ) from error
