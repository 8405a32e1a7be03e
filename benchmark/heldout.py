"""Volumes for the examination: synthetic ones of seeds that were never trained on, rendered as the product renders.

Half are normal. Matrices are clinical ones, so that frames are fitted to the model as in use; slices run from 8 to 48.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.training.backgrounds import Background, painted
from benchmark.training.grids import AXES, PLANES, Shape
from benchmark.training.lesions import Planted
from benchmark.training.phantoms import Batch, Maker, Mix
from benchmark.training.strangers import HELD_OUT, TRAINED, Painter
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.interfaces import Frames
from sgmri.volume import Anatomy, FrameRef, Orientation, Plane, Volume, Weighting
from worker.rendering import render

FIRST_SEED = 1_000_000
"""Training takes seeds below; examinations take this one and up."""
CALIBRATION_SEED = 500_000
"""Where the volumes lie that calibration is fitted on: neither trained nor examined."""
_MATRICES = ((256, 256), (320, 320), (240, 240), (288, 240), (224, 224))
_SHARES = (0.4, 0.2, 0.2, 0.1, 0.1)
_PHANTOMS = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One volume and the truth about it.

    Parameters
    ----------
    name
        For the log.
    frames
        What an engine is shown.
    truth
        What was planted; boxes in pixels of ``frames``.
    stranger
        What it is instead of the anatomy that it is called; None where it is that.
    """

    name: str
    frames: Frames
    truth: tuple[Tracklet, ...]
    stranger: str | None = None

    @property
    def slices(self) -> int:
        """Frames of the volume."""
        return len(self.frames.pixels)


def volumes(count: int, *, seed: int, first_seed: int = FIRST_SEED, backgrounds: bool = True) -> Iterator[Case]:
    """Yield volumes of brain (two of three) and knee; every other one is normal.

    Parameters
    ----------
    count
        How many.
    seed
        Another examination.
    first_seed
        Where its seeds begin: :data:`FIRST_SEED` or :data:`CALIBRATION_SEED`.
    backgrounds
        Whether some lie on freshly painted phantoms of :mod:`conformance`.
    """
    start = first_seed + 10_000 * seed
    fixed = painted(range(start, start + _PHANTOMS), processes=1) if backgrounds else ()
    for number in range(count):
        # Six in turn: two normal heads, two abnormal ones, a knee of each
        anatomy = Anatomy.KNEE if number % 6 in (4, 5) else Anatomy.BRAIN
        yield _volume(start + number, anatomy, fixed, normal=number % 2 == 0)


def _volume(seed: int, anatomy: Anatomy, fixed: Sequence[Background], *, normal: bool) -> Case:
    mix = Mix(normal=1.0 if normal else 0.0, stranger=0.0, fixed=0.35, spoilt=0.0)
    maker = Maker(seed=seed, backgrounds=fixed, mix=mix)
    shape = _shape(maker.rng, anatomy)
    # What is too small or outside the organ is not planted: an abnormal volume has at least one finding
    batch = next(batch for batch in _tries(maker, shape) if normal or batch.truth[0])
    return Case(name=f"{anatomy} {seed}", frames=_frames(batch), truth=tracklets(batch.truth[0]))


def _tries(maker: Maker, shape: Shape) -> Iterator[Batch]:
    while True:
        yield maker.batch(shape, 1)


def _shape(rng: np.random.Generator, anatomy: Anatomy) -> Shape:
    planes, shares = zip(*PLANES[anatomy], strict=True)
    rows, columns = _MATRICES[int(rng.choice(len(_MATRICES), p=_SHARES))]
    plane = planes[int(rng.choice(len(planes), p=shares))]
    return Shape(anatomy=anatomy, plane=plane, frames=int(rng.integers(8, 49)), rows=rows, columns=columns)


def strangers(count: int, *, seed: int, held_out: bool) -> Iterator[Case]:
    """Yield volumes that are no head and no knee, called one or the other.

    Parameters
    ----------
    count
        How many.
    seed
        Another examination.
    held_out
        Of kinds that were never shown in training, or of kinds that were.
    """
    painters: Mapping[str, Painter] = HELD_OUT if held_out else TRAINED
    names = sorted(painters)
    for number in range(count):
        name = names[number % len(names)]
        mix = Mix(stranger=1.1)
        maker = Maker(seed=FIRST_SEED + 10_000 * seed + 5_000 + number, mix=mix, strangers={name: painters[name]})
        anatomy = Anatomy.KNEE if number % 3 == 2 else Anatomy.BRAIN
        batch = maker.batch(_shape(maker.rng, anatomy), 1)
        yield Case(name=f"{name} {number}", frames=_frames(batch), truth=(), stranger=name)


def _frames(batch: Batch) -> Frames:
    """Render a batch's only volume as the product does."""
    voxels = np.rint(batch.voxels[0].cpu().numpy()).astype(np.float32)
    normal, down, right = (np.array(axis) for axis in AXES[batch.shape.plane])
    pixel_mm, slice_mm = batch.grid.pixel_mm[0], batch.grid.slice_mm[0]
    brain = batch.shape.anatomy is Anatomy.BRAIN
    volume = Volume(
        voxels=voxels,
        frames=tuple(
            FrameRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=f"2.25.{number + 1}",
                frame_number=None,
                position_mm=_triple(normal * slice_mm * number),
            )
            for number in range(len(voxels))
        ),
        orientation=Orientation(
            row_cosines=_triple(right), column_cosines=_triple(down), pixel_spacing_mm=(pixel_mm, pixel_mm)
        ),
        slice_spacing_mm=slice_mm,
        frame_of_reference_uid="2.25.1",
        study_instance_uid="2.25.2",
        series_instance_uid="2.25.3",
        anatomy=batch.shape.anatomy,
        weighting=Weighting.FLAIR if brain else Weighting.PD,
        fat_suppressed=not brain,
    )
    return render(volume)


def _triple(vector: np.ndarray) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])


def tracklets(planted: Sequence[Planted]) -> tuple[Tracklet, ...]:
    """Return what was planted in the product's words; scores stay empty."""
    return tuple(
        Tracklet(
            tracklet_id=f"truth-{number}",
            findings=tuple(
                Finding(label=one.label, frame_index=frame, box=Box(x0=x0, y0=y0, x1=x1, y1=y1))
                for frame, (x0, y0, x1, y1) in sorted(one.boxes.items())
            ),
        )
        for number, one in enumerate(planted, start=1)
    )


def is_taught(anatomy: Anatomy, plane: Plane) -> bool:
    """Tell whether volumes of a plane are part of the training."""
    return plane in [known for known, _ in PLANES[anatomy]]
