"""Phantoms: brain and knee MR series with lesions of known place and an identity that must never leak.

Synthetic through and through: they prove that boxes, frames and headers are carried correctly, and say nothing
about how well an engine reads patients.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from conformance.phantom_anatomy import Grid, LesionShape, paint
from conformance.phantom_enhanced import enhanced
from conformance.phantom_headers import CANARIES, Canaries, Protocol, classic, ct
from sgmri.errors import ConfigError
from sgmri.findings import Finding
from sgmri.geometry import Box
from sgmri.volume import Anatomy, Orientation

__all__ = ["CANARIES", "NAMES", "Canaries", "Phantom", "PlantedLesion", "Polarity", "make", "make_non_mr", "write"]


class Polarity(StrEnum):
    """Whether a lesion is brighter or darker than what surrounds it."""

    BRIGHT = "bright"
    DARK = "dark"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedLesion:
    """A lesion that was painted, and exactly where.

    Parameters
    ----------
    label
        A label of :mod:`sgmri.vocabulary`.
    polarity
        Brighter or darker than its surroundings.
    findings
        The tight half-open box in source pixels on every frame that shows it; frame indices count the frames in
        ascending position along the normal. "Shows" means: at least half of the lesion's amplitude was painted.
    """

    label: str
    polarity: Polarity
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """A series to send, and the truth about it.

    Parameters
    ----------
    name, anatomy
        Which phantom.
    datasets
        Classic: one instance a frame, in interleaved order; enhanced: a single multi-frame instance with its
        frames against the normal.
    lesions
        What was planted; empty for a normal phantom.
    canaries
        The identity in the headers.
    """

    name: str
    anatomy: Anatomy
    datasets: tuple[Dataset, ...]
    lesions: tuple[PlantedLesion, ...]
    canaries: Canaries


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    anatomy: Anatomy
    grid: Grid
    has_lesions: bool = True
    is_enhanced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _LesionPlan:
    label: str
    polarity: Polarity
    shape: LesionShape


def _bright(
    label: str, centre_mm: tuple[float, float, float], semi_axes_mm: tuple[float, float, float], intensity: float
) -> _LesionPlan:
    shape = LesionShape(centre_mm=centre_mm, semi_axes_mm=semi_axes_mm, intensity=intensity)
    return _LesionPlan(label=label, polarity=Polarity.BRIGHT, shape=shape)


_WHITE_MATTER = "Nonspecific white matter lesion"
_LESIONS: Mapping[Anatomy, tuple[_LesionPlan, ...]] = MappingProxyType(
    {
        Anatomy.BRAIN: (
            _bright(_WHITE_MATTER, (27, -24, 28), (7, 9, 8), 880),
            _bright(_WHITE_MATTER, (-29, 32, 27), (6, 6.5, 7), 840),
            _bright(_WHITE_MATTER, (-27, -12, 38), (10, 13, 10), 900),
            _LesionPlan(
                label="Lacunar infarct",
                polarity=Polarity.DARK,
                shape=LesionShape(centre_mm=(27, 8, 25), semi_axes_mm=(5, 5.5, 7), intensity=70),
            ),
        ),
        Anatomy.KNEE: (
            _bright("Joint Effusion", (3, -28, 44), (20, 7.5, 11), 900),
            _bright("Bone- Subchondral edema", (-21, 6, -14), (11, 10, 7), 820),
            _bright("Periarticular cysts", (-28, 30, -6), (8, 9, 9), 1000),
        ),
    }
)
_JITTER_MM = 1.0
"""How far a seed moves each lesion along each axis, at most."""

_PROTOCOLS: Mapping[Anatomy, Protocol] = MappingProxyType(
    {
        Anatomy.BRAIN: Protocol(
            body_part="BRAIN",
            laterality="",
            region=("12738006", "Brain"),
            study_description="SYNTHETIC MR BRAIN",
            series_description="SYNTHETIC AX T2 FLAIR",
            sequence_name="tir2d",
            coil="HEAD",
            patient_position="HFS",
            repetition_time_ms=9000,
            echo_time_ms=120,
            inversion_time_ms=2500,
            echo_train_length=16,
            fat_suppressed=False,
            acquisition_contrast="FLUID_ATTENUATED",
        ),
        Anatomy.KNEE: Protocol(
            body_part="KNEE",
            laterality="L",
            region=("72696002", "Knee"),
            study_description="SYNTHETIC MR KNEE LEFT",
            series_description="SYNTHETIC COR PD FS",
            sequence_name="tse2d",
            coil="KNEE",
            patient_position="FFS",
            repetition_time_ms=3000,
            echo_time_ms=30,
            inversion_time_ms=None,
            echo_train_length=7,
            fat_suppressed=True,
            acquisition_contrast="PROTON_DENSITY",
        ),
    }
)


def _tilted(orientation: Orientation, degrees: float) -> Orientation:
    # about x, then about y: no axis of the frame stays along an axis of the patient
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    about_y = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    row, column = (about_y @ about_x @ np.array(v) for v in (orientation.row_cosines, orientation.column_cosines))
    return replace(
        orientation,
        row_cosines=(float(row[0]), float(row[1]), float(row[2])),
        column_cosines=(float(column[0]), float(column[1]), float(column[2])),
    )


_BRAIN_GRID = Grid(
    orientation=Orientation(row_cosines=(1.0, 0.0, 0.0), column_cosines=(0.0, 1.0, 0.0), pixel_spacing_mm=(0.9, 0.9)),
    frames=22,
    rows=256,
    columns=256,
    slice_spacing_mm=5.0,
    slice_thickness_mm=4.0,
    centre_mm=(0.0, 0.0, 9.0),
)
_KNEE_GRID = Grid(
    orientation=Orientation(
        row_cosines=(1.0, 0.0, 0.0), column_cosines=(0.0, 0.0, -1.0), pixel_spacing_mm=(0.625, 0.625)
    ),
    frames=22,
    rows=256,
    columns=256,
    slice_spacing_mm=4.0,
    slice_thickness_mm=3.5,
    centre_mm=(0.0, 0.0, 4.0),
)


def _oblique(grid: Grid) -> Grid:
    return replace(grid, orientation=_tilted(grid.orientation, 12.0))


def _nonsquare(grid: Grid, pixel_spacing_mm: tuple[float, float]) -> Grid:
    orientation = replace(_tilted(grid.orientation, 12.0), pixel_spacing_mm=pixel_spacing_mm)
    return replace(grid, orientation=orientation, rows=192)


_PLANS: Mapping[str, _Plan] = MappingProxyType(
    {
        "brain": _Plan(anatomy=Anatomy.BRAIN, grid=_BRAIN_GRID),
        "brain-normal": _Plan(anatomy=Anatomy.BRAIN, grid=_BRAIN_GRID, has_lesions=False),
        "brain-enhanced": _Plan(anatomy=Anatomy.BRAIN, grid=_oblique(_BRAIN_GRID), is_enhanced=True),
        "brain-oblique": _Plan(anatomy=Anatomy.BRAIN, grid=_oblique(_BRAIN_GRID)),
        "brain-nonsquare": _Plan(anatomy=Anatomy.BRAIN, grid=_nonsquare(_BRAIN_GRID, (1.1, 0.85))),
        "knee": _Plan(anatomy=Anatomy.KNEE, grid=_KNEE_GRID),
        "knee-normal": _Plan(anatomy=Anatomy.KNEE, grid=_KNEE_GRID, has_lesions=False),
        "knee-enhanced": _Plan(anatomy=Anatomy.KNEE, grid=_oblique(_KNEE_GRID), is_enhanced=True),
        "knee-oblique": _Plan(anatomy=Anatomy.KNEE, grid=_oblique(_KNEE_GRID)),
        "knee-nonsquare": _Plan(anatomy=Anatomy.KNEE, grid=_nonsquare(_KNEE_GRID, (0.8, 0.6))),
    }
)

NAMES: tuple[str, ...] = tuple(_PLANS)
"""The phantoms that can be made."""


def make(name: str, *, seed: int = 0) -> Phantom:
    """Make a phantom; the same name and seed give the same pixels and UIDs.

    Parameters
    ----------
    name
        One of :data:`NAMES`. A "-nonsquare" phantom is oblique too; so is an "-enhanced" one.
    seed
        0 or more. Another seed is another study of the same patient, with other texture, noise and UIDs and with
        its lesions moved a little.

    Raises
    ------
    ConfigError
        If there is no phantom of that name, or the seed is negative.
    """
    plan = _PLANS.get(name)
    if plan is None:
        raise ConfigError(f"expected the name of a phantom ({', '.join(NAMES)}), found {name!r}")
    if seed < 0:
        raise ConfigError(f"expected a seed of 0 or more, found {seed}")
    voxels, lesions = _painted(name, seed)
    protocol, uids = _PROTOCOLS[plan.anatomy], (name, seed)
    if plan.is_enhanced:
        datasets: tuple[Dataset, ...] = (enhanced(voxels, plan.grid, protocol, uids),)
    else:
        datasets = classic(voxels, plan.grid, protocol, uids)
    return Phantom(name=name, anatomy=plan.anatomy, datasets=datasets, lesions=lesions, canaries=CANARIES)


# A painting takes about a second and is never changed; data sets can be changed, so they are made anew each time.
@lru_cache(maxsize=16)
def _painted(name: str, seed: int) -> tuple[NDArray[np.uint16], tuple[PlantedLesion, ...]]:
    plan = _PLANS[name]
    rng = np.random.default_rng([seed, int.from_bytes(sha256(name.encode()).digest()[:8])])
    plans = _LESIONS[plan.anatomy] if plan.has_lesions else ()
    painting = paint(plan.anatomy, plan.grid, tuple(_moved(lesion.shape, rng) for lesion in plans), rng)
    lesions = tuple(
        PlantedLesion(label=lesion.label, polarity=lesion.polarity, findings=_findings(lesion.label, mask))
        for lesion, mask in zip(plans, painting.masks, strict=True)
    )
    return painting.voxels, lesions


def _moved(shape: LesionShape, rng: np.random.Generator) -> LesionShape:
    x, y, z = (centre + float(rng.uniform(-_JITTER_MM, _JITTER_MM)) for centre in shape.centre_mm)
    return replace(shape, centre_mm=(x, y, z))


def _findings(label: str, mask: NDArray[np.bool_]) -> tuple[Finding, ...]:
    # half-open: one past the last pixel that shows the lesion
    found = []
    for frame_index in np.flatnonzero(mask.any(axis=(1, 2))):
        rows = np.flatnonzero(mask[frame_index].any(axis=1))
        columns = np.flatnonzero(mask[frame_index].any(axis=0))
        box = Box(x0=float(columns[0]), y0=float(rows[0]), x1=float(columns[-1] + 1), y1=float(rows[-1] + 1))
        found.append(Finding(label=label, frame_index=int(frame_index), box=box))
    return tuple(found)


def make_non_mr(*, seed: int = 0) -> Dataset:
    """Make a single CT image of a water-filled ring, with the same canaries: not ours to read.

    Parameters
    ----------
    seed
        0 or more; another seed is another study.
    """
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(row, column)
    hounsfield = np.select([radius < 22, radius < 26], [20.0, 900.0], -1000.0) + rng.normal(0, 6, radius.shape)
    return ct(np.clip(hounsfield + 1024, 0, 4095).astype(np.uint16), ("ct", seed))


def write(phantom: Phantom, directory: Path) -> tuple[Path, ...]:
    """Write a phantom as PS3.10 files, numbered in the order of its data sets.

    Parameters
    ----------
    phantom
        What to write.
    directory
        Where; made if it is not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(phantom.datasets, start=1):
        path = directory / f"{phantom.name}-{number:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return tuple(paths)
