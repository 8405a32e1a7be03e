"""Which question set a volume is asked, and which volume is preferred: what rules say, and what is built in.

Rules choose among what could be read. They make no volume of what is none: colour, maps, localisers, mixed geometry and
test objects are left before any rule is asked, and what a question set is not made for is left after it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dicom_io import preferences
from dicom_io.anatomy import Evidence
from dicom_io.preferences import Preferences
from dicom_io.series import SeriesFacts
from dicom_io.stacking import Stack
from sgmri.applicability import Look
from sgmri.catalogue import APPLICABILITY, STANDARD, by_id
from sgmri.lanes import Lane
from sgmri.volume import Anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A volume that could be read, before a rule is asked.

    Parameters
    ----------
    series
        The series that it belongs to.
    facts
        The volume's own: the series as if it had these frames only.
    stack
        Its frames in spatial order.
    """

    series: SeriesFacts
    facts: SeriesFacts
    stack: Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a rule says of a candidate.

    Parameters
    ----------
    rule
        Its name; empty for the built-in one.
    question_set_id
        What the candidate is asked; None where the rule leaves it, or where no rule speaks of it.
    order
        The place of the rule, the first is 0: of several sub-volumes the one of the earlier rule is read.
    lane
        Where the series enters the worklist, if this volume is read.
    not_matching
        The rules before it and, in a sentence without header values, why each does not match.
    """

    rule: str = ""
    question_set_id: str | None
    order: int = 0
    lane: Lane = Lane.NORMAL
    not_matching: tuple[str, ...] = ()


Ruler = Callable[[Candidate], Ruling]
"""Says what is to become of the candidates of one series."""


class Rules(Protocol):
    """Who says which question set a volume is asked, and which of several volumes is preferred."""

    @property
    def preferences(self) -> Preferences:
        """What question sets prefer."""
        ...

    def for_series(self, series: SeriesFacts) -> Ruler:
        """Return who rules on the candidates of a series."""
        ...


class BuiltIn:
    """The rule that is asked where no rule of the site matches: a brain is asked the brain set, a knee the knee set."""

    @property
    def preferences(self) -> Preferences:
        """Those of the file that comes with the product."""
        return preferences.built_in()

    def for_series(self, series: SeriesFacts) -> Ruler:
        """Return the ruler that gives the standard set of the anatomy that the headers name."""
        set_id = None if series.anatomy is None else STANDARD[series.anatomy].set_id
        return lambda candidate: Ruling(question_set_id=set_id)


BUILT_IN: Rules = BuiltIn()


def misfits(candidate: Candidate, question_set_id: str) -> tuple[str, ...]:
    """Say in what a candidate is outside of what a question set can be asked of; empty where it is inside.

    Parameters
    ----------
    candidate
        The volume.
    question_set_id
        Of the standard sets.
    """
    asked_of = by_id(question_set_id).anatomy
    named = candidate.series.anatomy
    if candidate.series.evidence is Evidence.OTHER_ANATOMY:
        return (f"expected a {asked_of}, found that the headers name a body part other than brain or knee",)
    return APPLICABILITY[question_set_id].misfits(_look(candidate, named or asked_of))


def _look(candidate: Candidate, anatomy: Anatomy) -> Look:
    image, _ = candidate.stack.frames[0]
    return Look(
        modality="MR",  # by its SOP class, which is what is received; Modality may be missing
        anatomy=anatomy,
        plane=candidate.facts.plane,
        weighting=candidate.facts.weighting,
        contrast_agent=candidate.facts.contrast_agent,
        frames=len(candidate.stack.frames),
        rows=image.rows,
        columns=image.columns,
        pixel_spacing_mm=candidate.stack.orientation.pixel_spacing_mm,
        slice_spacing_mm=candidate.stack.slice_spacing_mm,
        coverage_mm=candidate.stack.coverage_mm,
    )
