"""Paints the phantoms: a head on FLAIR and a knee on fat-suppressed PD, with lesions of known extent.

The anatomy is a function of patient coordinates in mm (LPS, relative to the anatomy's own origin), so that an
oblique or anisotropic grid cuts the same body differently. Lesions are averaged over the slice thickness, as a
scanner would; what counts as lesion is what was painted, not the formula.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sgmri.volume import Anatomy, Orientation

Field = NDArray[np.float32]
"""float32, one value a voxel: (frames, rows, columns), or (voxels,) for a selection of them."""

_Vector = tuple[float, float, float]
_EDGE_MM = 1.6
"""Width of the ramp between two tissues, about a pixel: partial volume in the plane."""
_LESION_EDGE_MM = 2.5
"""Width of the ramp at the border of a lesion."""
_SHOWS = 0.5
"""Part of a lesion's amplitude from which on a voxel belongs to it."""
_LEAST_PIXELS = 16
"""Pixels of a frame that a lesion covers at least, or else it is not painted there."""
_NOISE = 11.0
"""Deviation of the noise in each of the two channels of a magnitude image."""
_LATTICE = 64
"""Points a side of the periodic random lattice that textures are cut from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the voxels of a phantom lie.

    Parameters
    ----------
    orientation
        Directions and pixel size of every frame.
    frames, rows, columns
        Number of voxels along the normal, down a column, along a row.
    slice_spacing_mm, slice_thickness_mm
        Distance between neighbouring frames, and how thick each is.
    centre_mm
        Centre of the grid, LPS, relative to the anatomy's origin.
    """

    orientation: Orientation
    frames: int
    rows: int
    columns: int
    slice_spacing_mm: float
    slice_thickness_mm: float
    centre_mm: _Vector

    def first_pixel_mm(self, frame_index: int) -> NDArray[np.float64]:
        """Return the centre of the first pixel of a frame: float64 (3,), LPS, relative to the anatomy's origin.

        ``frame_index`` ascends along the normal.
        """
        row_mm, column_mm = self.orientation.pixel_spacing_mm
        return (
            np.asarray(self.centre_mm)
            + self.orientation.normal * (frame_index - (self.frames - 1) / 2) * self.slice_spacing_mm
            - np.asarray(self.orientation.row_cosines) * (self.columns - 1) / 2 * column_mm
            - np.asarray(self.orientation.column_cosines) * (self.rows - 1) / 2 * row_mm
        )

    def points_mm(self, shift_mm: float = 0.0) -> tuple[Field, Field, Field]:
        """Return x, y and z of every voxel centre, LPS in mm, moved by ``shift_mm`` along the normal."""
        row_mm, column_mm = self.orientation.pixel_spacing_mm
        steps = (
            self.orientation.normal * self.slice_spacing_mm,
            np.asarray(self.orientation.column_cosines) * row_mm,
            np.asarray(self.orientation.row_cosines) * column_mm,
        )
        start = self.first_pixel_mm(0) + self.orientation.normal * shift_mm
        frame, row, column = np.ogrid[: self.frames, : self.rows, : self.columns]
        x, y, z = (
            (start[axis] + frame * steps[0][axis] + row * steps[1][axis] + column * steps[2][axis]).astype(np.float32)
            for axis in range(3)
        )
        return x, y, z


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionShape:
    """An ellipsoid to be painted.

    Parameters
    ----------
    centre_mm, semi_axes_mm
        Centre and semi-axes along x, y, z (LPS), relative to the anatomy's origin.
    intensity
        Value in its middle.
    """

    centre_mm: _Vector
    semi_axes_mm: _Vector
    intensity: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Painting:
    """A painted volume.

    Parameters
    ----------
    voxels
        uint16 (frames, rows, columns), 12 bits used; ascending along the normal.
    masks
        bool, of the same shape, one a lesion: where at least half of the lesion's amplitude was painted.
    """

    voxels: NDArray[np.uint16]
    masks: tuple[NDArray[np.bool_], ...]


class _Body:
    """A half-painted body: coordinates, the image so far and the source of randomness."""

    def __init__(self, points_mm: tuple[Field, Field, Field], rng: np.random.Generator) -> None:
        self.x, self.y, self.z = points_mm
        self.image: Field = np.zeros_like(self.x)
        self._rng = rng

    def texture(self, scale_mm: float) -> Field:
        """Return smooth random variation of unit deviation, with blobs of about ``scale_mm``."""
        noise = ndimage.gaussian_filter(
            self._rng.standard_normal((_LATTICE,) * 3).astype(np.float32), sigma=1.2, mode="wrap"
        )
        step_mm = scale_mm / 3
        coordinates = np.stack([self.x, self.y, self.z]) / np.float32(step_mm)
        sampled: Field = ndimage.map_coordinates(noise / noise.std(), coordinates, order=1, mode="grid-wrap")
        return sampled

    def radius(self, centre: _Vector, axes: _Vector, *, turn_deg: float = 0.0) -> Field:
        """Return the distance from an ellipsoid's centre, 1 on its surface; turned about z by ``turn_deg``."""
        dx, dy, dz = self.x - centre[0], self.y - centre[1], self.z - centre[2]
        cosine, sine = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
        u, v = cosine * dx + sine * dy, cosine * dy - sine * dx
        radius: Field = np.sqrt((u / axes[0]) ** 2 + (v / axes[1]) ** 2 + (dz / axes[2]) ** 2)
        return radius

    def ellipsoid(self, centre: _Vector, axes: _Vector, value: float | Field, *, turn_deg: float = 0.0) -> None:
        """Paint a full ellipsoid."""
        self.blend(value, _ramp((1 - self.radius(centre, axes, turn_deg=turn_deg)) * min(axes)))

    def pair(self, centre: _Vector, axes: _Vector, value: float, *, turn_deg: float = 0.0) -> None:
        """Paint an ellipsoid and its mirror image across the midline."""
        self.ellipsoid(centre, axes, value, turn_deg=turn_deg)
        self.ellipsoid((-centre[0], centre[1], centre[2]), axes, value, turn_deg=-turn_deg)

    def blend(self, value: float | Field, weight: Field) -> None:
        """Mix ``value`` in with a weight from 0 to 1."""
        self.image = self.image + (value - self.image) * weight


def _ramp(inside_mm: NDArray[np.floating], width_mm: float = _EDGE_MM) -> Field:
    # 0 outside, 1 inside, one half on the surface
    weight: Field = np.clip(0.5 + inside_mm.astype(np.float32, copy=False) / np.float32(width_mm), 0, 1)
    return weight


def _band(depth_mm: Field, start_mm: float, end_mm: float) -> Field:
    return _ramp(depth_mm - start_mm) * _ramp(end_mm - depth_mm)


def _crease(field: Field, width: float) -> Field:
    # ridge lines of a smooth random field look like sulci
    crease: Field = np.exp(-((field / width) ** 2))
    return crease


def _brain(body: _Body) -> None:
    """Paint a head on FLAIR: bright scalp, dark skull and CSF, grey matter brighter than white."""
    x, y, z = body.x, body.y, body.z
    warp = body.texture(60.0)
    fold, fine_fold = body.texture(13.0), body.texture(6.0)
    outline = np.abs(x / 74) ** 2.3 + np.abs(y / 95) ** 2.3 + np.abs((z + 8) / 93) ** 2.3
    depth = ((1 - outline ** np.float32(1 / 2.3)) * 80 + warp).astype(np.float32)
    body.blend(560 + 25 * fine_fold, _band(depth, 0.0, 4.5))
    body.blend(70, _band(depth, 4.5, 11.0))
    body.blend(230 + 20 * fine_fold, _band(depth, 6.8, 8.8))
    body.blend(110, _ramp(depth - 11.0))

    below = depth - 12.5 + 0.6 * fold
    posterior_fossa = _ramp(-(z + 24), 6.0) * _ramp(y - 12, 6.0)
    body.blend(395 + 9 * fine_fold + 6 * warp, _ramp(below))
    cortical = np.clip((23 - below) / 12, 0, 1) * _ramp(below) * (1 - posterior_fossa)
    body.blend(505, np.maximum(_ramp(4.0 - below) * _ramp(below), _crease(fold, 0.55) * cortical))
    body.blend(150, 0.85 * _crease(fold, 0.16) * cortical)
    body.blend(470, 0.6 * posterior_fossa * _ramp(below))
    body.blend(330, 0.5 * posterior_fossa * _ramp(below) * _crease(fine_fold, 0.25))

    # the falx, except where the corpus callosum and the brain stem cross the midline
    midline = _ramp(z - 22, 4.0) + _ramp(np.abs(y + 2) - 44, 4.0) * _ramp(z + 30, 6.0)
    midline = np.clip(midline, 0, 1) * _ramp(below)
    body.blend(485, midline * _ramp(4.5 - np.abs(x)))
    body.blend(150, midline * _ramp(1.1 - np.abs(x)))

    body.pair((12, 6, 4), (8, 14, 9), 465, turn_deg=-15)
    body.pair((25, -6, 6), (5, 17, 11), 470, turn_deg=-12)
    body.pair((42, -8, -2), (2.2, 17, 11), 140, turn_deg=-8)
    # lateral ventricles (frontal horn, body, atrium, occipital horn), then third and fourth
    body.pair((9, -26, 9), (4.5, 13, 8), 95, turn_deg=18)
    body.pair((10, 2, 16), (5.5, 25, 6), 95)
    body.pair((19, 30, 8), (6.5, 12, 8), 95, turn_deg=-24)
    body.pair((25, 45, 2), (4, 11, 5), 95, turn_deg=-8)
    body.ellipsoid((0, 2, -6), (2.2, 12, 9), 95)
    body.ellipsoid((0, 22, -36), (17, 14, 18), 120)
    body.ellipsoid((0, 18, -38), (13, 11, 24), 400)
    body.ellipsoid((0, 33, -36), (7, 4, 8), 95)


def _knee(body: _Body) -> None:
    """Paint a left knee on fat-suppressed PD: dark marrow and fat, grey muscle, brighter cartilage."""
    x, y, z = body.x, body.y, body.z
    trabeculae, patch, fibre = body.texture(4.0), body.texture(22.0), body.texture(9.0)
    girth = 1 + 0.0012 * z
    limb = np.sqrt((x / (60 * girth)) ** 2 + ((y + 2) / (62 * girth)) ** 2)
    depth = ((1 - limb) * 60 + 0.8 * patch).astype(np.float32)
    body.blend(190, _band(depth, 0.0, 1.8))
    body.blend(95 + 10 * fibre, _ramp(depth - 1.8))
    # muscle bellies leave the joint free and thicken away from it
    belly = _ramp(depth - 9 - 3 * patch, 2.0) * _ramp(np.abs(z - 3) - 22, 22.0)
    body.blend(290 + 22 * fibre + 14 * patch, belly)
    body.blend(150, 0.8 * belly * _crease(patch, 0.09))
    capsule = np.sqrt((x / 45) ** 2 + ((y + 2) / 44) ** 2 + (z / 26) ** 2)
    body.blend(215 + 16 * fibre, _ramp((1 - capsule) * 26, 5.0))

    marrow = 130 + 11 * trabeculae + 9 * patch
    _femur(body, marrow)
    _lower_leg(body, marrow)
    # menisci: dark wedges at the rim of the joint space; cruciates and collaterals: dark bands
    rim = np.sqrt(((np.abs(x) - 21) / 15) ** 2 + ((y - 2) / 19) ** 2)
    wedge = (rim - 0.62) * 9 - np.abs(z - 0.2)
    body.blend(60, _ramp(wedge.astype(np.float32)) * _ramp((1.28 - rim) * 15) * _ramp(30 - np.abs(x)))
    body.blend(75, _ramp((2.4 - np.abs(x - 0.25 * z + 1)).astype(np.float32)) * _band(z, 0.0, 24.0) * _band(y, -12, 14))
    body.blend(60, _ramp(1.6 - np.abs(np.abs(x) - 45)) * _ramp(30 - np.abs(z)) * _band(y, -6, 12))
    # patella, its cartilage and tendon in front; vessels behind
    body.ellipsoid((0, -46, 20), (21, 9, 19), 45)
    body.ellipsoid((0, -46, 20), (19, 7.4, 17), marrow)
    body.blend(55, _ramp(11 - np.abs(x)) * _ramp(2.6 - np.abs(y + 50 + 0.05 * z)) * _ramp(2 - z))
    for place, size in ((4.0, 3.4), (-5.0, 2.6)):
        tube = np.sqrt((x - place - 0.04 * z) ** 2 + (y - 38) ** 2)
        body.blend(330, _ramp((size - tube).astype(np.float32)))


def _femur(body: _Body, marrow: Field) -> None:
    x, y, z = body.x, body.y, body.z
    flare = 15 + 20 * np.exp(-((np.maximum(z - 18, 0) / 22) ** 2))
    shaft = (1 - np.sqrt((x / flare) ** 2 + ((y - 0) / (14 + 0.3 * (flare - 15))) ** 2)) * 15
    shaft = np.minimum(shaft, z - 20).astype(np.float32)
    inside = shaft
    for centre_x in (-21.0, 21.0):
        condyle = (1 - body.radius((centre_x, 4, 21), (19, 27, 18.5))) * 18
        inside = np.maximum(inside, condyle)
    notch = (1 - np.sqrt((x / 8) ** 2 + ((z - 4) / 16) ** 2)) * 8
    inside = np.minimum(inside, np.maximum(-notch, -y - 14)).astype(np.float32)
    facing_joint = _ramp(13 - z, 6.0) * _ramp(34 - np.abs(y))
    body.blend(430, _ramp(inside + 2.2) * facing_joint)
    body.blend(45, _ramp(inside))
    body.blend(marrow, _ramp(inside - 1.8))


def _lower_leg(body: _Body, marrow: Field) -> None:
    x, y, z = body.x, body.y, body.z
    taper = 17 + 21 * np.exp(-((np.maximum(-z - 12, 0) / 16) ** 2))
    plateau = (
        1
        - (np.abs(x / taper) ** 2.6 + np.abs((y - 1 + 0.25 * (38 - taper)) / (0.72 * taper + 2)) ** 2.6)
        ** np.float32(1 / 2.6)
    ) * 20
    spines = 3.2 * np.exp(-((np.abs(x) - 4) ** 2) / 14) * np.exp(-((y / 9) ** 2))
    inside = np.minimum(plateau, -2.6 + spines - z).astype(np.float32)
    facing_joint = _ramp(z + 9, 4.0)
    body.blend(430, _ramp(inside + 2.0) * facing_joint * _ramp(plateau.astype(np.float32)))
    body.blend(45, _ramp(inside))
    body.blend(marrow, _ramp(inside - 1.8))
    fibula = np.minimum(8 - np.sqrt((x - 37) ** 2 + (y - 16) ** 2), -14 - z).astype(np.float32)
    body.blend(45, _ramp(fibula))
    body.blend(marrow, _ramp(fibula - 1.6))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outline:
    """How a body is painted, and the half-widths along x and y of an upright cylinder around it."""

    paint: Callable[[_Body], None]
    half_widths_mm: tuple[float, float]


_OUTLINES: MappingProxyType[Anatomy, _Outline] = MappingProxyType(
    {
        Anatomy.BRAIN: _Outline(paint=_brain, half_widths_mm=(80, 100)),
        Anatomy.KNEE: _Outline(paint=_knee, half_widths_mm=(72, 75)),
    }
)


def _paint_body(anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> Field:
    x, y, z = grid.points_mm()
    outline = _OUTLINES[anatomy]
    # an elliptic cylinder around the body: air need not be computed
    inside = (x / outline.half_widths_mm[0]) ** 2 + (y / outline.half_widths_mm[1]) ** 2 < 1
    body = _Body((x[inside], y[inside], z[inside]), rng)
    outline.paint(body)
    bias = 1 + 0.05 * (body.x / 80) - 0.04 * (body.y / 90) + 0.05 * ((body.x / 80) ** 2 + (body.y / 90) ** 2)
    image: Field = np.zeros_like(x)
    image[inside] = body.image * bias
    return image


def _membership(grid: Grid, shape: LesionShape) -> Field:
    """Return how much of each voxel a lesion fills, 0 to 1: the mean of five sheets through the slice."""
    centre, axes = np.asarray(shape.centre_mm), np.asarray(shape.semi_axes_mm)
    points = grid.points_mm()
    reach = axes + grid.slice_thickness_mm + _LESION_EDGE_MM
    near = np.logical_and.reduce([np.abs(p - c) < r for p, c, r in zip(points, centre, reach, strict=True)])
    at = np.stack([axis[near] for axis in points], axis=1)
    sheets = np.linspace(-0.4, 0.4, 5) * grid.slice_thickness_mm
    filled = [
        _ramp(
            (1 - np.linalg.norm((at + grid.orientation.normal * shift - centre) / axes, axis=1)) * axes.min(),
            _LESION_EDGE_MM,
        )
        for shift in sheets
    ]
    membership: Field = np.zeros(near.shape, dtype=np.float32)
    membership[near] = np.mean(filled, axis=0)
    # a lesion ends where it is still plain to see: no frame shows a trace of it that the truth leaves out
    pixels = np.count_nonzero(membership >= _SHOWS, axis=(1, 2))
    membership[pixels < _LEAST_PIXELS] = 0
    return membership


def paint(anatomy: Anatomy, grid: Grid, lesions: tuple[LesionShape, ...], rng: np.random.Generator) -> Painting:
    """Paint the anatomy with its lesions, a smooth bias field and Rician noise.

    Parameters
    ----------
    anatomy
        Which body.
    grid
        Where the voxels lie.
    lesions
        What is planted into it.
    rng
        Source of texture and noise; the same state gives the same voxels.
    """
    signal = _paint_body(anatomy, grid, rng)
    masks = []
    for lesion in lesions:
        membership = _membership(grid, lesion)
        signal += (lesion.intensity - signal) * membership
        masks.append(membership >= _SHOWS)
    real, imaginary = (_NOISE * rng.standard_normal(signal.shape, dtype=np.float32) for _ in range(2))
    magnitude = np.hypot(signal + real, imaginary)
    return Painting(voxels=np.clip(np.rint(magnitude), 0, 4095).astype(np.uint16), masks=tuple(masks))
