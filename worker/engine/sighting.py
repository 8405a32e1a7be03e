"""What the classical engine looks for, what it calls it, and what it found in a volume."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from sgmri.findings import Finding, Tracklet
from sgmri.interfaces import Frames
from sgmri.vocabulary import GENERIC_LABEL
from sgmri.volume import Anatomy, Plane, Weighting
from worker.engine.outliers import Blob, OutlierRules, Polarity, SearchSpace, find_blobs
from worker.engine.regions import brain_region, joint_region

VERSION = "1.0"
"""Changes with the algorithm: part of the digest, as the parameters are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamingRule:
    """When an outlier gets a name.

    Parameters
    ----------
    anatomy, weighting
        On which series; an unknown weighting fits no rule.
    polarity
        Brighter or darker than its surroundings.
    min_size_mm, max_size_mm
        Longest side in the plane.
    label
        A label of :mod:`sgmri.vocabulary`.
    """

    anatomy: Anatomy
    weighting: Weighting
    polarity: Polarity
    min_size_mm: float
    max_size_mm: float
    label: str


NAMING: tuple[NamingRule, ...] = (
    # A bright focus in the brain on FLAIR is what "nonspecific white matter lesion" means; a larger one may be a
    # mass, oedema or an infarct, which brightness cannot tell apart
    NamingRule(
        anatomy=Anatomy.BRAIN,
        weighting=Weighting.FLAIR,
        polarity=Polarity.BRIGHT,
        min_size_mm=2.0,
        max_size_mm=20.0,
        label="Nonspecific white matter lesion",
    ),
    # A focus as dark as fluid on FLAIR, of 3 to 15 mm, off the midline and without its like on the other side
    # (STRIVE, Wardlaw et al., Lancet Neurol 2013: a lacune of presumed vascular origin)
    NamingRule(
        anatomy=Anatomy.BRAIN,
        weighting=Weighting.FLAIR,
        polarity=Polarity.DARK,
        min_size_mm=3.0,
        max_size_mm=15.0,
        label="Lacunar infarct",
    ),
)
"""The only names that this engine gives. Signal alone names nothing in a knee: no rule there."""

_BRAIN = OutlierRules(
    smoothing_mm=0.7,
    background_mm=10.0,
    min_sigma=4.0,
    min_bright_contrast=0.25,
    min_dark_contrast=0.55,
    min_size_mm=2.5,
    max_size_mm=32.0,
    max_dark_size_mm=15.0,
    min_fill=0.45,
    min_solidity=0.35,
    max_elongation=2.5,
    min_isolation=0.9,
    max_mirrored=0.4,
    thick_slices_mm=6.0,
)
# Tissues of a knee differ more than those of a brain, and a knee has no mirrored half
_KNEE = replace(_BRAIN, min_bright_contrast=0.6, min_dark_contrast=0.6, max_mirrored=1.0)
# With fat suppressed, fluid is more than twice as bright as what lies around it, and an effusion is larger than a focus
_KNEE_FAT_SUPPRESSED = replace(_KNEE, min_bright_contrast=1.4, max_size_mm=45.0, max_elongation=3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicalParameters:
    """Everything that an answer of this engine depends on beside the frames.

    Parameters
    ----------
    brain, knee, knee_fat_suppressed
        What counts as an outlier.
    peel_mm
        How much of the body's rim is never looked at (scalp and skull; skin and fat).
    brain_margin_mm, knee_margin_mm
        How much of the region's own rim is never looked at.
    min_region_mm2
        In a smaller region, summed over all frames, nothing can be told from anything.
    max_tracklets
        More outliers than this mean that the texture is not understood: the engine abstains.
    naming
        When an outlier gets a name.
    """

    brain: OutlierRules = _BRAIN
    knee: OutlierRules = _KNEE
    knee_fat_suppressed: OutlierRules = _KNEE_FAT_SUPPRESSED
    peel_mm: float = 6.0
    brain_margin_mm: float = 3.0
    knee_margin_mm: float = 2.0
    min_region_mm2: float = 2000.0
    max_tracklets: int = 30
    naming: tuple[NamingRule, ...] = NAMING

    def digest(self) -> str:
        """Return sha256 over parameters and version, as 64 hexadecimal digits."""
        canonical = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was found in a volume.

    Parameters
    ----------
    tracklets
        One for each outlier.
    blobs
        The outliers, in the same order.
    nameable
        The rules that fit the series, whether or not they fitted an outlier.
    obstacle
        Why nothing can be said; empty otherwise.
    """

    tracklets: tuple[Tracklet, ...] = ()
    blobs: tuple[Blob, ...] = ()
    nameable: tuple[NamingRule, ...] = ()
    obstacle: str = ""


def look(frames: Frames, parameters: ClassicalParameters) -> Sighting:
    """Find and name the outliers of a volume.

    Parameters
    ----------
    frames
        Where to look.
    parameters
        What counts.
    """
    nameable = tuple(
        rule for rule in parameters.naming if (rule.anatomy, rule.weighting) == (frames.anatomy, frames.weighting)
    )
    space, rules = _where(frames, parameters)
    if space.region.sum() * frames.pixel_size_mm**2 < parameters.min_region_mm2:
        return Sighting(nameable=nameable, obstacle=f"too little of a {frames.anatomy} can be told from its rim")
    if np.ptp(frames.pixels[space.region]) == 0:
        return Sighting(nameable=nameable, obstacle="the frames have no contrast")
    blobs = find_blobs(space, rules)
    if len(blobs) > parameters.max_tracklets:
        return Sighting(nameable=nameable, obstacle=f"{len(blobs)} outliers: the texture is not understood")
    tracklets = tuple(
        _tracklet(f"lesion-{number}", blob, _label(blob, nameable, frames.anatomy), rules.min_sigma)
        for number, blob in enumerate(blobs, start=1)
    )
    return Sighting(tracklets=tracklets, blobs=blobs, nameable=nameable)


def _where(frames: Frames, parameters: ClassicalParameters) -> tuple[SearchSpace, OutlierRules]:
    """Return where to look, and what counts there."""
    is_brain = frames.anatomy is Anatomy.BRAIN
    find_region, margin_mm, rules = joint_region, parameters.knee_margin_mm, parameters.knee
    if is_brain:
        find_region, margin_mm, rules = brain_region, parameters.brain_margin_mm, parameters.brain
    elif frames.fat_suppressed:
        rules = parameters.knee_fat_suppressed
    space = SearchSpace(
        pixels=frames.pixels,
        region=find_region(frames.pixels, frames.pixel_size_mm, peel_mm=parameters.peel_mm, margin_mm=margin_mm),
        pixel_size_mm=frames.pixel_size_mm,
        slice_spacing_mm=frames.slice_spacing_mm,
        has_symmetry=is_brain and frames.plane is not Plane.SAGITTAL,
    )
    return space, rules


def _label(blob: Blob, nameable: Sequence[NamingRule], anatomy: Anatomy) -> str:
    """Return the name that a rule gives, or the generic one."""
    for rule in nameable:
        if rule.polarity is blob.polarity and rule.min_size_mm <= blob.size_mm <= rule.max_size_mm:
            return rule.label
    return GENERIC_LABEL[anatomy]


def _tracklet(tracklet_id: str, blob: Blob, label: str, min_sigma: float) -> Tracklet:
    score = round(blob.sigma / (blob.sigma + min_sigma), 4)
    return Tracklet(
        tracklet_id=tracklet_id,
        findings=tuple(
            Finding(label=label, frame_index=frame_index, box=box, score=score) for frame_index, box in blob.boxes
        ),
    )
