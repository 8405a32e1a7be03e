"""Whether a series is read, with which question set, and if not, why: a coded reason and a sentence for people.

Only what the headers prove is taken; everything in doubt is left to the PACS untouched. The sentence holds no header
value, so that it may be logged and shown.

References
----------
PS3.3 C.7.6.1.1.2 (Image Type), C.8.3.1.1.1, C.8.13.1
"""

from dataclasses import dataclass

from dicom_io.anatomy import Evidence
from dicom_io.series import SeriesFacts
from dicom_io.stacking import Limits, arrange
from sgmri.catalogue import STANDARD
from sgmri.errors import SeriesError
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy


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
        One English sentence without header values.
    anatomy, question_set_id
        What it is read as; None where it is not taken.
    """

    taken: bool
    reason: Reason
    explanation: str
    anatomy: Anatomy | None
    question_set_id: str | None


_NO_ANATOMY = {
    Evidence.OTHER_ANATOMY: (Reason.NOT_APPLICABLE, "It names a body part other than brain or knee."),
    Evidence.CONTRADICTION: (Reason.ANATOMY_UNKNOWN, "What it says about the body part is contradictory."),
}


def choose(facts: SeriesFacts, limits: Limits | None = None) -> Choice:
    """Decide whether a series is read, and as what.

    Parameters
    ----------
    facts
        The series, from :func:`dicom_io.series.describe`.
    limits
        How large it may be.

    Returns
    -------
    Choice
        A brain or knee series of MR magnitude images that stack into one volume is taken, in any plane and
        weighting; everything else carries its reason.
    """
    refusal = _refusal_by_kind(facts)
    if refusal is not None:
        return refusal
    try:
        arrange(facts, limits)
    except SeriesError as error:
        return _refused(error.reason, f"The frames make no volume: {error}.")
    if facts.anatomy is None:
        reason, explanation = _NO_ANATOMY.get(
            facts.evidence, (Reason.ANATOMY_UNKNOWN, "Nothing in its headers names brain or knee.")
        )
        return _refused(reason, explanation)
    question_set_id = STANDARD[facts.anatomy].set_id
    fat = ", fat-suppressed" if facts.fat_suppressed else ""
    return Choice(
        taken=True,
        reason=Reason.NONE,
        explanation=(
            f"Taken as {facts.anatomy} ({facts.plane}, weighting {facts.weighting}{fat}) by its {facts.evidence}; "
            f"question set {question_set_id}."
        ),
        anatomy=facts.anatomy,
        question_set_id=question_set_id,
    )


def _refused(reason: Reason, explanation: str) -> Choice:
    return Choice(taken=False, reason=reason, explanation=explanation, anatomy=None, question_set_id=None)


def _refusal_by_kind(facts: SeriesFacts) -> Choice | None:
    for applies, reason, explanation in (
        (not facts.images, Reason.NOT_MR, "It has no MR image."),
        (facts.is_colour, Reason.COLOUR, "It has colour images."),
        (facts.is_localiser, Reason.LOCALISER, "It is a localiser."),
        (facts.is_calibration, Reason.NOT_APPLICABLE, "It is a calibration scan."),
        (facts.is_derived, Reason.DERIVED, "It has maps, projections, reformats, phase or other derived images."),
        (facts.is_mosaic, Reason.MIXED_GEOMETRY, "Its frames are mosaics of several slices."),
    ):
        if applies:
            return _refused(reason, explanation)
    return None
