"""Whether a series is read, from which of its sub-volumes, with which question set, and if not, why.

Only what the headers prove is taken, or, where they name no body part at all, what the image shows beyond doubt;
everything else is left to the PACS untouched, with a coded reason and a sentence for people. The sentence holds no
header value, so that it may be logged and shown. Of each series at most one sub-volume is read. What is asked, in this
order: is it a series to be read at all; does a sub-volume stack into a volume; which question set does a rule give it;
is the set made for it; which of several is preferred.

References
----------
PS3.3 C.7.6.1.1.2 (Image Type), C.8.3.1.1.1, C.8.13.1
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dicom_io.anatomy import Evidence
from dicom_io.frames import FrameFacts
from dicom_io.preferences import Preferences, rank
from dicom_io.quality_assurance import is_animal, is_test_object
from dicom_io.recognition import recognise
from dicom_io.rulings import BUILT_IN, Candidate, Ruler, Rules, Ruling, misfits
from dicom_io.series import SeriesFacts
from dicom_io.stacking import Limits, arrange
from dicom_io.subvolumes import SubVolume, split
from sgmri.catalogue import by_id
from sgmri.errors import SeriesError
from sgmri.lanes import Lane
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy, ContrastAgent


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
    ruling
        What the rules said of it; None where it never came to that.
    """

    sub_volume: SubVolume
    reason: Reason
    explanation: str
    missing: int = 0
    ruling: Ruling | None = None


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
    lane
        Where it enters the worklist.
    verdicts
        What became of each sub-volume; empty where the series as a whole is refused.
    """

    taken: bool
    reason: Reason
    explanation: str
    anatomy: Anatomy | None = None
    question_set_id: str | None = None
    sub_volume: SubVolume | None = None
    lane: Lane = Lane.NORMAL
    verdicts: tuple[Verdict, ...] = ()


_UNNAMED = "Nothing in its headers names brain or knee"
_NO_ANATOMY = {
    Evidence.OTHER_ANATOMY: (Reason.NOT_APPLICABLE, "It names a body part other than brain or knee."),
    Evidence.CONTRADICTION: (Reason.ANATOMY_UNKNOWN, "What it says about the body part is contradictory."),
}
_PREFERRED_FOR = (
    "its rule comes first",
    "its {look} is preferred by the question set",
    "its b-value is the lowest",
    "it has the most frames",
    "its echo time is the shortest",
    "it is the earliest in time",
    "it comes first",
)
"""Why one of several sub-volumes is read, in the order of :func:`_preference`."""


def choose(facts: SeriesFacts, limits: Limits | None = None, rules: Rules = BUILT_IN) -> Choice:
    """Decide whether a series is read, from which frames, and as what.

    Parameters
    ----------
    facts
        The series, from :func:`dicom_io.series.describe`.
    limits
        How large a sub-volume may be.
    rules
        Who says which question set a volume is asked.

    Returns
    -------
    Choice
        A series of MR magnitude images is taken where at least one of its sub-volumes stacks into one volume, a rule
        gives it a question set, and the set is made for it. Of several the first is read by rule, what the question
        set prefers, b-value, number of frames, echo time and time; everything else carries its reason. Pixels are
        looked at only where no header names a body part and no rule of the site speaks.
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
    ruler = rules.for_series(facts)
    judged = [_judge(facts, sub_volume, limits, ruler) for sub_volume in sub_volumes]
    readable = [verdict for verdict in judged if verdict.reason is Reason.NONE]
    if readable:
        return _taken(judged, readable, rules.preferences)
    unnamed = [verdict for verdict in judged if verdict.reason is Reason.ANATOMY_UNKNOWN]
    if facts.evidence is Evidence.NONE and unnamed:
        # one look for the series, however many sub-volumes it has: they show the same body
        return _choose_by_image(facts, _largest(unnamed), judged, limits, rules)
    return _left(judged)


def _choose_by_image(
    facts: SeriesFacts, looked_at: Verdict, judged: Sequence[Verdict], limits: Limits | None, rules: Rules
) -> Choice:
    """Decide on a series that names no body part as if it named what one of its sub-volumes shows."""
    try:
        seen = recognise(looked_at.sub_volume.facts, limits)
    except SeriesError as error:
        reason, doubt = error.reason, f"its image cannot be looked at: {error}"
    else:
        if seen.anatomy is not None:
            known = replace(facts, anatomy=seen.anatomy, evidence=Evidence.IMAGE, certainty=seen.certainty)
            return choose(known, limits, rules)
        reason, doubt = Reason.ANATOMY_UNKNOWN, seen.doubt
    text = f"{_UNNAMED}, and {doubt}."
    return _left(
        [
            replace(verdict, reason=reason, explanation=text) if verdict.reason is Reason.ANATOMY_UNKNOWN else verdict
            for verdict in judged
        ]
    )


def _refusal_of_series(facts: SeriesFacts) -> tuple[Reason, str] | None:
    for applies, reason, explanation in (
        (not facts.images, Reason.NOT_MR, "It has no MR image."),
        (facts.is_localiser, Reason.LOCALISER, "It is a localiser."),
        (facts.is_calibration, Reason.NOT_APPLICABLE, "It is a calibration scan or field map."),
        (is_test_object(facts), Reason.TEST_OBJECT, "Its headers name a test object of quality assurance."),
        (is_animal(facts), Reason.NOT_APPLICABLE, "Its headers name a species other than the human one."),
    ):
        if applies:
            return reason, explanation
    return None


def _is_echo_planar_time_series(facts: SeriesFacts) -> bool:
    frames = [frame for image in facts.images for frame in image.frames]
    is_diffusion = any(frame.b_value for frame in frames)
    times = {(frame.temporal_position, frame.acquisition_number) for frame in frames}
    return all("EP" in image.scanning_sequence for image in facts.images) and not is_diffusion and len(times) > 1


def _judge(series: SeriesFacts, sub_volume: SubVolume, limits: Limits | None, ruler: Ruler) -> Verdict:
    """Say whether a sub-volume could be read, and what it would be asked."""
    facts = sub_volume.facts
    refusal = _refusal_by_kind(facts)
    if refusal is not None:
        return Verdict(sub_volume=sub_volume, reason=refusal[0], explanation=refusal[1])
    try:
        stack = arrange(facts, limits)
    except SeriesError as error:
        text = f"The frames make no volume: {error}."
        return Verdict(sub_volume=sub_volume, reason=error.reason, explanation=text)
    candidate = Candidate(series=series, facts=facts, stack=stack)
    ruling = ruler(candidate)
    reason, text = _judge_ruling(candidate, ruling)
    return Verdict(sub_volume=sub_volume, reason=reason, explanation=text, missing=stack.missing, ruling=ruling)


def _judge_ruling(candidate: Candidate, ruling: Ruling) -> tuple[Reason, str]:
    if ruling.question_set_id is None:
        if ruling.rule:
            return Reason.RULE, f"The rule {ruling.rule!r} leaves it."
        unnamed = (Reason.ANATOMY_UNKNOWN, f"{_UNNAMED}.")
        return _NO_ANATOMY.get(candidate.series.evidence, unnamed)
    outside = misfits(candidate, ruling.question_set_id)
    if outside:
        said = "; ".join(outside)
        return Reason.NOT_APPLICABLE, f"The question set {ruling.question_set_id} is not made for it: {said}."
    return Reason.NONE, "It could be read."


def _refusal_by_kind(facts: SeriesFacts) -> tuple[Reason, str] | None:
    for applies, reason, explanation in (
        (facts.is_colour, Reason.COLOUR, "It has colour images."),
        (facts.is_derived, Reason.DERIVED, "It has maps, projections, reformats, phase or other derived images."),
        (facts.is_mosaic, Reason.MIXED_GEOMETRY, "Its frames are mosaics of several slices."),
    ):
        if applies:
            return reason, explanation
    return None


def _largest(judged: Sequence[Verdict]) -> Verdict:
    return max(judged, key=lambda verdict: len(verdict.sub_volume.frames))


def _left(judged: Sequence[Verdict]) -> Choice:
    """Refuse a series: its largest sub-volume speaks for it."""
    largest = _largest(judged)
    explanation = largest.explanation
    if len(judged) > 1:
        explanation = (
            f"None of its {len(judged)} sub-volumes can be read; of the largest ({largest.sub_volume.name}): "
            f"{largest.explanation}"
        )
    return Choice(taken=False, reason=largest.reason, explanation=explanation, verdicts=tuple(judged))


def _taken(judged: Sequence[Verdict], readable: Sequence[Verdict], preferences: Preferences) -> Choice:
    # a stable sort: of equals the first one
    ranked = sorted(readable, key=lambda verdict: _preference(verdict, preferences))
    best, why = ranked[0], _why(ranked, preferences)
    question_set_id = _asked(best)
    anatomy = by_id(question_set_id).anatomy
    lane = best.ruling.lane if best.ruling else Lane.NORMAL
    where = "" if lane is Lane.NORMAL else f", lane {lane}"
    explanation = (
        f"{_as_what(best, anatomy)}; question set {question_set_id}{where}.{_what_is_left(best, why, len(judged))}"
    )
    verdicts = []
    for verdict in judged:
        if verdict is best:
            verdict = replace(verdict, explanation=explanation)
        elif verdict.reason is Reason.NONE:
            said = f"It could be read, but {best.sub_volume.name} is."
            verdict = replace(verdict, reason=Reason.OTHER_SUBVOLUME, explanation=said)
        verdicts.append(verdict)
    return Choice(
        taken=True,
        reason=Reason.NONE,
        explanation=explanation,
        anatomy=anatomy,
        question_set_id=question_set_id,
        sub_volume=best.sub_volume,
        lane=lane,
        verdicts=tuple(verdicts),
    )


def _asked(verdict: Verdict) -> str:
    assert verdict.ruling is not None and verdict.ruling.question_set_id is not None  # else it were not readable
    return verdict.ruling.question_set_id


def _preference(verdict: Verdict, preferences: Preferences) -> tuple[float, ...]:
    """Return what readable sub-volumes are ranked by, the lowest first; each has its words in ``_PREFERRED_FOR``."""
    facts, frames = verdict.sub_volume.facts, verdict.sub_volume.frames
    return (
        verdict.ruling.order if verdict.ruling else 0,
        rank(preferences, _asked(verdict), facts),
        max(frame.b_value or 0.0 for frame in frames),
        -len(frames),
        min((frame.echo_time_ms for frame in frames if frame.echo_time_ms is not None), default=math.inf),
        min(_time(frame) for frame in frames),
    )


def _time(frame: FrameFacts) -> float:
    return frame.acquisition_number or 0 if frame.temporal_position is None else frame.temporal_position


def _as_what(best: Verdict, anatomy: Anatomy) -> str:
    facts, rule = best.sub_volume.facts, best.ruling.rule if best.ruling else ""
    fat = ", fat-suppressed" if facts.fat_suppressed else ""
    agent = "" if facts.contrast_agent is ContrastAgent.UNKNOWN else f", contrast agent {facts.contrast_agent}"
    by = f"the rule {rule!r}" if rule else f"its {facts.evidence}"
    sure = "" if facts.certainty is None else f", certainty {facts.certainty:.2f}"
    return f"Taken as {anatomy} ({facts.plane}, weighting {facts.weighting}{agent}{fat}) by {by}{sure}"


def _why(ranked: Sequence[Verdict], preferences: Preferences) -> str:
    """Say why the first is read and not the second."""
    if len(ranked) == 1:
        return "the others cannot be"
    first, second = (_preference(verdict, preferences) for verdict in ranked[:2])
    why = _PREFERRED_FOR[next((place for place, (a, b) in enumerate(zip(first, second, strict=True)) if a != b), -1)]
    missed = preferences[int(first[1])].misses(ranked[1].sub_volume.facts) if first[1] < second[1] else ""
    return why.format(look=missed.replace("_", " "))


def _what_is_left(best: Verdict, why: str, count: int) -> str:
    """Say which sub-volume it is and why, what is missing, and what is there twice."""
    said = []
    if count > 1:
        said.append(f"Of {count} sub-volumes {best.sub_volume.name} is read: {why}.")
    if best.missing:
        said.append(f"{best.missing} {'slice seems' if best.missing == 1 else 'slices seem'} to be missing.")
    if best.sub_volume.duplicates:
        copies = best.sub_volume.duplicates
        said.append(f"{copies} {'frame that is' if copies == 1 else 'frames that are'} there twice left out.")
    return "".join(f" {sentence}" for sentence in said)
