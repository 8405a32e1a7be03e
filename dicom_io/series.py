"""What a series is: facts gathered from all of its instances, and folders sorted into series.

Nothing is decided here; :mod:`dicom_io.selection` decides. The facts of a series come from every instance: the first
one may be a localiser, another echo, or the odd one out.

References
----------
PS3.3 C.8.3.1 (MR Image module), C.8.13 (Enhanced MR)
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from dicom_io.anatomy import Evidence, anatomy_of, words
from dicom_io.contrast import fat_suppressed_of, weighting_of
from dicom_io.contrast_agent import AgentEvidence, contrast_agent_of
from dicom_io.frames import FrameFacts, median_of
from dicom_io.instances import COLOUR_SOP_CLASSES, InstanceFacts, inspect
from sgmri.errors import ConfigError, IncompleteSeries, MalformedInstance, SeriesError
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy, ContrastAgent, Orientation, Plane, Weighting

_log = logging.getLogger(__name__)
_Value = TypeVar("_Value", bound=Hashable)

_LOCALISER_WORDS = frozenset(
    {"localizer", "localiser", "localizador", "localisateur", "localizzatore", "lokalizer", "lokalisator", "reperage"}
    | {"loc", "scout", "aascout", "survey", "smartbrain", "pilot", "topogram"}
)
_CALIBRATION_WORDS = frozenset({"calibration", "asset", "senseref", "refscan"})
_FIELD_MAPS = frozenset({"FIELD_MAP", "FIELD MAP", "B0 MAP", "B0_MAP", "B0"})
_COMPONENTS = {
    "PHASE": frozenset({"P", "PHASE", "PHASE MAP", "PHASE_MAP"}) | _FIELD_MAPS,
    "REAL": frozenset({"R", "REAL"}),
    "IMAGINARY": frozenset({"I", "IMAGINARY"}),
}
"""Values of Image Type and Frame Type that name a component other than the magnitude."""
_MAPS = frozenset(
    {"ADC", "EADC", "FA", "COLFA", "TENSOR", "TRACEW", "ZSCORE"}
    | {"CBF", "CBV", "MTT", "TTP", "TMAX", "PBP", "RELCBF", "RELCBV", "RELMTT"}
    | {"T1_MAP", "T1 MAP", "T2_MAP", "T2 MAP", "T2_STAR_MAP", "T2_STAR MAP", "R2_MAP", "R2STAR_MAP"}
    | {"MIP", "MINIP", "MNIP", "PROJECTION IMAGE", "MPR_THICK", "SUBTRACTION", "SUB"}
)
_MAP_WORDS = frozenset(
    {"adc", "eadc", "dadc", "tracew", "cbf", "cbv", "rcbf", "rcbv", "mtt", "ttp", "tmax"}
    | {"mip", "mips", "minip", "subtraction", "subtracted"}
)
"""Maps and projections by their description, where Image Type says ORIGINAL; "MPR" may be short for MPRAGE."""
_REFORMATS = frozenset({"MPR", "CSA MPR", "REFORMATTED", "RESAMPLED", "CPR"})
"""Reformats where the image is also DERIVED; GE writes ORIGINAL\\PRIMARY\\MPR for plain acquisitions."""

_FEW_LOCALISER_FRAMES = 15
"""Frames of each orientation that a localiser of several orientations has at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """What the instances of one series say together.

    Parameters
    ----------
    study_instance_uid, series_instance_uid
        The series.
    instances
        Every instance once, in the order found.
    anatomy, evidence
        The anatomy and what it was taken from.
    certainty
        How certain the anatomy is, 0 to 1, where it was taken from the image; else None: headers are taken at their
        word.
    plane
        The plane that all frames share, None where they do not.
    weighting
        What all instances agree on by their physics, else unknown.
    fat_suppressed
        What all instances agree on; None where they do not, or do not say.
    contrast_agent, agent_evidence
        Whether a contrast agent had been given, and what that was taken from.
    is_localiser, is_calibration, is_derived, is_colour, is_mosaic
        Whether any image of the series is one.
    is_described
        Whether every frame has a description.
    """

    study_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    instances: tuple[InstanceFacts, ...] = field(repr=False)
    anatomy: Anatomy | None
    evidence: Evidence
    plane: Plane | None
    weighting: Weighting
    fat_suppressed: bool | None
    contrast_agent: ContrastAgent
    agent_evidence: AgentEvidence
    is_localiser: bool
    is_calibration: bool
    is_derived: bool
    is_colour: bool
    is_mosaic: bool
    is_described: bool
    certainty: float | None = None

    @property
    def images(self) -> tuple[InstanceFacts, ...]:
        """The MR images among the instances."""
        return tuple(instance for instance in self.instances if instance.is_mr)

    @property
    def frame_count(self) -> int:
        """How many frames the MR images claim to have."""
        return sum(image.number_of_frames for image in self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What was found below a folder.

    Parameters
    ----------
    series
        By study and series.
    refused
        Files that are no instance: the file, the coded reason, and a sentence without header values.
    """

    series: tuple[SeriesFacts, ...]
    refused: tuple[tuple[Path, Reason, str], ...]

    @property
    def study_count(self) -> int:
        """How many studies the series belong to."""
        return len({one.study_instance_uid for one in self.series})


def scan_folder(path: Path) -> Folder:
    """Sort all files below a folder into series.

    Parameters
    ----------
    path
        A folder, searched with its subfolders, or a single file.

    Raises
    ------
    ConfigError
        If there is no such folder or file.
    """
    if not path.exists():
        raise ConfigError("expected a folder of DICOM files, found nothing under this path")
    found: dict[tuple[str, str], list[InstanceFacts]] = {}
    refused = []
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_file():
            continue
        try:
            instance = inspect(file)
        except SeriesError as error:
            refused.append((file, error.reason, str(error)))
        else:
            found.setdefault((instance.study_instance_uid, instance.series_instance_uid), []).append(instance)
    return Folder(series=tuple(_gather(found[key]) for key in sorted(found)), refused=tuple(refused))


def describe(paths: Sequence[Path]) -> SeriesFacts:
    """Gather what the instances of one series say together.

    Parameters
    ----------
    paths
        PS3.10 files, all of one series.

    Raises
    ------
    IncompleteSeries
        If there is no file.
    MalformedInstance
        If one of them cannot be parsed or belongs to another series.
    """
    return _gather([inspect(path) for path in paths])


def _gather(instances: Sequence[InstanceFacts]) -> SeriesFacts:
    if not instances:
        raise IncompleteSeries("expected the instances of a series, found none")
    if len({(one.study_instance_uid, one.series_instance_uid) for one in instances}) > 1:
        raise MalformedInstance("expected instances of one series, found several; sort them by series first")
    once = _without_duplicates(instances)
    images = tuple(instance for instance in once if instance.is_mr)
    anatomy, evidence = anatomy_of(
        region_texts=_all(images, lambda image: image.region_texts),
        region_codes=_all(images, lambda image: image.region_codes),
        series_texts=_all(images, lambda image: image.series_texts),
        study_texts=_all(images, lambda image: image.study_texts),
        coil_texts=_all(images, lambda image: image.coil_texts),
    )
    named = {word for text in _all(images, lambda image: image.series_texts) for word in words(text)}
    orientations = _orientations(images)
    whole = SeriesFacts(
        study_instance_uid=once[0].study_instance_uid,
        series_instance_uid=once[0].series_instance_uid,
        instances=once,
        anatomy=anatomy,
        evidence=evidence,
        plane=None,
        weighting=Weighting.UNKNOWN,
        fat_suppressed=None,
        contrast_agent=ContrastAgent.UNKNOWN,
        agent_evidence=AgentEvidence.NONE,
        is_localiser=_is_localiser(images, named, orientations),
        # a field map corrects other series, and the magnitude beside it is of no use to a reader
        is_calibration=bool(named & _CALIBRATION_WORDS) or any(_types(image) & _FIELD_MAPS for image in images),
        is_derived=False,
        is_colour=False,
        is_mosaic=False,
        is_described=all(len(image.frames) == image.number_of_frames for image in images),
    )
    return _summed_up(whole, once, orientations)


def restricted(facts: SeriesFacts, instances: Sequence[InstanceFacts]) -> SeriesFacts:
    """Return what some instances of a series, or some of their frames, say together.

    Parameters
    ----------
    facts
        The series: what it names (anatomy, localiser, calibration) stays, for names belong to all of it.
    instances
        Those that are meant, with the frames that are meant; see :func:`with_frames`.
    """
    return _summed_up(facts, instances, _orientations(instances))


def _summed_up(
    facts: SeriesFacts, instances: Sequence[InstanceFacts], orientations: Sequence[Sequence[Orientation]]
) -> SeriesFacts:
    images = [instance for instance in instances if instance.is_mr]
    contrast_agent, agent_evidence = contrast_agent_of(images)
    return replace(
        facts,
        instances=tuple(instances),
        plane=_agreed([alike[0].plane for alike in orientations]),
        weighting=_agreed([weighting_of(image) for image in images]) or Weighting.UNKNOWN,
        fat_suppressed=_agreed([fat_suppressed_of(image) for image in images]),
        contrast_agent=contrast_agent,
        agent_evidence=agent_evidence,
        is_derived=any(is_derived(image) for image in images),
        is_colour=any(_is_colour(image) for image in images),
        is_mosaic=any("MOSAIC" in image.image_type for image in images),
    )


def with_frames(image: InstanceFacts, frames: Sequence[FrameFacts]) -> InstanceFacts:
    """Return an image that says of itself only what holds for some of its frames.

    Parameters
    ----------
    image
        The whole; how many frames its file has stays as it is.
    frames
        Of this image, at least one.
    """
    frame_types = {frame.frame_type for frame in frames} - {()}
    # Image Type sums the frames up, with MIXED where they differ (PS3.3 C.8.16.1)
    is_summary = "MIXED" in image.image_type and len(frame_types) == 1
    return replace(
        image,
        frames=tuple(frames),
        repetition_time_ms=median_of(frame.repetition_time_ms for frame in frames),
        echo_time_ms=median_of(frame.echo_time_ms for frame in frames),
        inversion_time_ms=median_of(frame.inversion_time_ms for frame in frames),
        image_type=frame_types.pop() if is_summary else image.image_type,
    )


def _without_duplicates(instances: Sequence[InstanceFacts]) -> tuple[InstanceFacts, ...]:
    once: dict[str, InstanceFacts] = {}
    conflicts = 0
    for instance in instances:
        first = once.setdefault(instance.sop_instance_uid, instance)
        conflicts += first is not instance and replace(instance, path=first.path) != first
    if conflicts:
        _log.warning("%d instances share a SOP Instance UID with a different one; the first of each is kept", conflicts)
    return tuple(once.values())


def _all(images: Iterable[InstanceFacts], texts: Callable[[InstanceFacts], tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(text for image in images for text in texts(image)))


def _agreed(values: Sequence[_Value]) -> _Value | None:
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def _orientations(instances: Sequence[InstanceFacts]) -> list[list[Orientation]]:
    """Return the orientations of all frames of MR images, those alike (to 1/100) together."""
    distinct: dict[tuple[float, ...], list[Orientation]] = {}
    for frame in (frame for instance in instances if instance.is_mr for frame in instance.frames):
        if frame.row_cosines is None or frame.column_cosines is None:
            continue
        key = tuple(round(cosine, 2) for cosine in (*frame.row_cosines, *frame.column_cosines))
        orientation = Orientation(
            row_cosines=frame.row_cosines, column_cosines=frame.column_cosines, pixel_spacing_mm=(1.0, 1.0)
        )
        distinct.setdefault(key, []).append(orientation)
    return list(distinct.values())


def _is_localiser(
    images: Sequence[InstanceFacts], named: set[str], orientations: Sequence[Sequence[Orientation]]
) -> bool:
    if named & _LOCALISER_WORDS or any("LOCALIZER" in _types(image) for image in images):
        return True
    normals = [alike[0].normal for alike in orientations]
    # two normals of unit length with hardly a common component: planes that cross
    across = any(np.linalg.norm(np.cross(one, other)) > 0.98 for one in normals for other in normals)
    return across and max(len(alike) for alike in orientations) <= _FEW_LOCALISER_FRAMES


def _types(image: InstanceFacts) -> frozenset[str]:
    return frozenset(image.image_type).union(*(frame.frame_type for frame in image.frames))


def is_derived(image: InstanceFacts) -> bool:
    """Tell whether an image is none of magnitude as it was acquired: a map, a projection, a reformat, a phase image."""
    types = _types(image)
    derived = "DERIVED" in types
    calculated = any(frame.calculation not in ("", "NONE") for frame in image.frames)
    # as written and in small letters: "mIP" would be parted at its capital
    named = {word for text in image.series_texts for word in (*words(text), *words(text.casefold()))}
    if calculated or named & _MAP_WORDS or types & _MAPS or (derived and (types & _REFORMATS or "SECONDARY" in types)):
        return True
    # a phase image is no magnitude image even where it is ORIGINAL
    return component_of(image) != "MAGNITUDE"


def component_of(image: InstanceFacts) -> str:
    """Return MAGNITUDE, PHASE, REAL or IMAGINARY: MAGNITUDE only where no frame is another.

    Parameters
    ----------
    image
        With the frames that are meant; :mod:`dicom_io.subvolumes` asks frame by frame.
    """
    named = {frame.complex_component for frame in image.frames} - {""}
    if named:
        return min(named - {"MAGNITUDE", "MIXED"}, default="MAGNITUDE")
    types = _types(image)
    return next((component for component, values in _COMPONENTS.items() if types & values), "MAGNITUDE")


def _is_colour(image: InstanceFacts) -> bool:
    return (
        image.sop_class_uid in COLOUR_SOP_CLASSES
        or image.samples_per_pixel > 1
        or image.photometric_interpretation.startswith(("RGB", "YBR", "PALETTE"))
    )
