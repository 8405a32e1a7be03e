"""Whether a series is read, from which of its sub-volumes, with which question set, and if not, why.

Only what the headers prove is taken; everything in doubt is left to the PACS untouched, with a coded reason and a
sentence for people. The sentence holds no header value, so that it may be logged and shown. Of each series at most one
sub-volume is read.

References
----------
PS3.3 C.7.6.1.1.2 (Image Type), C.8.3.1.1.1, C.8.13.1
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_io.anatomy import Evidence
from dicom_io.series import SeriesFacts
from dicom_io.stacking import Limits, arrange
from dicom_io.subvolumes import SubVolume, split
from sgmri.catalogue import STANDARD
from sgmri.errors import SeriesError
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy, Plane, Weighting


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one sub-volume.

    Parameters
    ----------
    sub_volume
        Which one.
    reason
        NONE for the one that is read.
    explanation
        English sentences without header values.
    missing
        How many slices seem to be missing; 0 where it makes no volume.
    """

    sub_volume: SubVolume
    reason: Reason
    explanation: str
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What became of a series.

    Parameters
    ----------
    taken
        Whether it is read.
    reason
        NONE where it is taken.
    explanation
        English sentences without header values.
    anatomy, question_set_id
        What it is read as; None where it is not taken.
    sub_volume
        What is read of it; None where it is not taken.
    verdicts
        What became of each sub-volume; empty where the series as a whole is refused.
    """

    taken: bool
    reason: Reason
    explanation: str
    anatomy: Anatomy | None = None
    question_set_id: str | None = None
    sub_volume: SubVolume | None = None
    verdicts: tuple[Verdict, ...] = ()


_NO_ANATOMY = {
    Evidence.OTHER_ANATOMY: (Reason.NOT_APPLICABLE, "It names a body part other than brain or knee."),
    Evidence.CONTRADICTION: (Reason.ANATOMY_UNKNOWN, "What it says about the body part is contradictory."),
}

_WEIGHTINGS = {
    # what lesions stand out in, and what the question sets were asked of first (fastMRI+)
    Anatomy.BRAIN: (Weighting.FLAIR, Weighting.T2, Weighting.T1, Weighting.PD, Weighting.UNKNOWN),
    Anatomy.KNEE: (Weighting.PD, Weighting.T2, Weighting.T1, Weighting.FLAIR, Weighting.UNKNOWN),
}
_PLANES = {
    Anatomy.BRAIN: (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL),
    Anatomy.KNEE: (Plane.CORONAL, Plane.SAGITTAL, Plane.AXIAL),
}
_PREFERRED_FOR = (
    "its weighting is preferred for this anatomy",
    "its b-value is the lowest",
    "it has the most frames",
    "its plane is preferred for this anatomy",
    "its echo time is the shortest",
    "it is the earliest in time",
    "it comes first",
)
"""Why one of several sub-volumes is read, in the order of :func:`_preference`."""


def choose(facts: SeriesFacts, limits: Limits | None = None) -> Choice:
    """Decide whether a series is read, from which frames, and as what.

    Parameters
    ----------
    facts
        The series, from :func:`dicom_io.series.describe`.
    limits
        How large a sub-volume may be.

    Returns
    -------
    Choice
        A brain or knee series of MR magnitude images is taken, in any plane and weighting, where at least one of its
        sub-volumes stacks into one volume. Of several the first is read by weighting, b-value, number of frames, plane,
        echo time and time; everything else carries its reason.
    """
    refusal = _refusal_of_series(facts)
    if refusal is not None:
        return Choice(taken=False, reason=refusal[0], explanation=refusal[1])
    sub_volumes = split(facts)
    if len(sub_volumes) > 1 and _is_echo_planar_time_series(facts):
        return Choice(
            taken=False,
            reason=Reason.NOT_APPLICABLE,
            explanation="It is an echo-planar time series (functional or perfusion), not images to be read.",
        )
    judged = [_judge(sub_volume, limits) for sub_volume in sub_volumes]
    readable = [verdict for verdict in judged if verdict.reason is Reason.NONE]
    return _taken(facts, judged, readable) if readable else _left(judged)


def _refusal_of_series(facts: SeriesFacts) -> tuple[Reason, str] | None:
    for applies, reason, explanation in (
        (not facts.images, Reason.NOT_MR, "It has no MR image."),
        (facts.is_localiser, Reason.LOCALISER, "It is a localiser."),
        (facts.is_calibration, Reason.NOT_APPLICABLE, "It is a calibration scan or field map."),
    ):
        if applies:
            return reason, explanation
    return None


def _is_echo_planar_time_series(facts: SeriesFacts) -> bool:
    frames = [frame for image in facts.images for frame in image.frames]
    is_diffusion = any(frame.b_value for frame in frames)
    times = {(frame.temporal_position, frame.acquisition_number) for frame in frames}
    return all("EP" in image.scanning_sequence for image in facts.images) and not is_diffusion and len(times) > 1


def _judge(sub_volume: SubVolume, limits: Limits | None) -> Verdict:
    """Say whether a sub-volume could be read."""
    facts = sub_volume.facts
    refusal = _refusal_by_kind(facts)
    if refusal is not None:
        return Verdict(sub_volume=sub_volume, reason=refusal[0], explanation=refusal[1])
    try:
        stack = arrange(facts, limits)
    except SeriesError as error:
        text = f"The frames make no volume: {error}."
        return Verdict(sub_volume=sub_volume, reason=error.reason, explanation=text)
    if facts.anatomy is None:
        reason, text = _NO_ANATOMY.get(
            facts.evidence, (Reason.ANATOMY_UNKNOWN, "Nothing in its headers names brain or knee.")
        )
    else:
        reason, text = Reason.NONE, "It could be read."
    return Verdict(sub_volume=sub_volume, reason=reason, explanation=text, missing=stack.missing)


def _refusal_by_kind(facts: SeriesFacts) -> tuple[Reason, str] | None:
    for applies, reason, explanation in (
        (facts.is_colour, Reason.COLOUR, "It has colour images."),
        (facts.is_derived, Reason.DERIVED, "It has maps, projections, reformats, phase or other derived images."),
        (facts.is_mosaic, Reason.MIXED_GEOMETRY, "Its frames are mosaics of several slices."),
    ):
        if applies:
            return reason, explanation
    return None


def _left(judged: Sequence[Verdict]) -> Choice:
    """Refuse a series: its largest sub-volume speaks for it."""
    largest = max(judged, key=lambda verdict: len(verdict.sub_volume.frames))
    explanation = largest.explanation
    if len(judged) > 1:
        explanation = (
            f"None of its {len(judged)} sub-volumes can be read; of the largest ({largest.sub_volume.name}): "
            f"{largest.explanation}"
        )
    return Choice(taken=False, reason=largest.reason, explanation=explanation, verdicts=tuple(judged))


def _taken(facts: SeriesFacts, judged: Sequence[Verdict], readable: Sequence[Verdict]) -> Choice:
    anatomy = facts.anatomy
    assert anatomy is not None  # else no sub-volume were readable
    ranked = sorted(readable, key=lambda verdict: (*_preference(verdict.sub_volume, anatomy), judged.index(verdict)))
    best = ranked[0]
    question_set_id = STANDARD[anatomy].set_id
    explanation = (
        f"{_as_what(best, anatomy)}; question set {question_set_id}.{_what_is_left(best, ranked, len(judged))}"
    )
    verdicts = []
    for verdict in judged:
        if verdict is best:
            verdict = _with(verdict, Reason.NONE, explanation)
        elif verdict.reason is Reason.NONE:
            verdict = _with(verdict, Reason.OTHER_SUBVOLUME, f"It could be read, but {best.sub_volume.name} is.")
        verdicts.append(verdict)
    return Choice(
        taken=True,
        reason=Reason.NONE,
        explanation=explanation,
        anatomy=anatomy,
        question_set_id=question_set_id,
        sub_volume=best.sub_volume,
        verdicts=tuple(verdicts),
    )


def _with(verdict: Verdict, reason: Reason, explanation: str) -> Verdict:
    return Verdict(sub_volume=verdict.sub_volume, reason=reason, explanation=explanation, missing=verdict.missing)


def _preference(sub_volume: SubVolume, anatomy: Anatomy) -> tuple[float, ...]:
    """Return what sub-volumes are ranked by, the lowest first; each has its words in ``_PREFERRED_FOR``."""
    facts, frames = sub_volume.facts, sub_volume.frames
    planes = _PLANES[anatomy]
    return (
        _WEIGHTINGS[anatomy].index(facts.weighting),
        max(frame.b_value or 0.0 for frame in frames),
        -len(frames),
        planes.index(facts.plane) if facts.plane else len(planes),
        min((frame.echo_time_ms for frame in frames if frame.echo_time_ms is not None), default=math.inf),
        min(frame.temporal_position or frame.acquisition_number or 0 for frame in frames),
    )


def _as_what(best: Verdict, anatomy: Anatomy) -> str:
    facts = best.sub_volume.facts
    fat = ", fat-suppressed" if facts.fat_suppressed else ""
    return f"Taken as {anatomy} ({facts.plane}, weighting {facts.weighting}{fat}) by its {facts.evidence}"


def _what_is_left(best: Verdict, ranked: Sequence[Verdict], count: int) -> str:
    """Say which sub-volume it is and why, what is missing, and what is there twice."""
    said = []
    if count > 1:
        why = "the others cannot be"
        if len(ranked) > 1:
            anatomy = best.sub_volume.facts.anatomy
            assert anatomy is not None
            pairs = zip(_preference(best.sub_volume, anatomy), _preference(ranked[1].sub_volume, anatomy), strict=True)
            why = _PREFERRED_FOR[next((place for place, (a, b) in enumerate(pairs) if a != b), -1)]
        said.append(f"Of {count} sub-volumes {best.sub_volume.name} is read: {why}.")
    if best.missing:
        said.append(f"{best.missing} {'slice seems' if best.missing == 1 else 'slices seem'} to be missing.")
    if best.sub_volume.duplicates:
        copies = best.sub_volume.duplicates
        said.append(f"{copies} {'frame that is' if copies == 1 else 'frames that are'} there twice left out.")
    return "".join(f" {sentence}" for sentence in said)
