"""The summary: findings as one line for the model to put into words, and a check of what it wrote.

The words come last and rest on the tracklets alone, so they can be held against them: a frame that has no finding,
or a label that was not found, and the summary does not stand.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sgmri.findings import Tracklet
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy

_FRAMES = re.compile(r"\b[Ff]rames? ([0-9]{1,5})(?: ?(?:-|–|to|and) ?([0-9]{1,5}))?")
_DENYING = re.compile(r"\b(?:no|not|nor|none|nothing|without|absent|neither|never)\b", re.IGNORECASE)
_CLAUSES = re.compile(r"[.;!?\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Everything that was found of one label.

    Parameters
    ----------
    label
        Of :mod:`sgmri.vocabulary`.
    places
        How many tracklets.
    first, last
        First and last frame, in the profile's numbers.
    """

    label: str
    places: int
    first: int
    last: int


def facts(tracklets: Sequence[Tracklet], frame_base: int) -> tuple[Fact, ...]:
    """Return one fact a label, in order of the first frame.

    Parameters
    ----------
    tracklets
        All that were found.
    frame_base
        Number of the first frame.
    """
    places = Counter(tracklet.label for tracklet in tracklets)
    found = []
    for label, count in places.items():
        frames = [index for t in tracklets if t.label == label for index in t.frame_indices]
        found.append(Fact(label=label, places=count, first=min(frames) + frame_base, last=max(frames) + frame_base))
    return tuple(sorted(found, key=lambda fact: (fact.first, fact.last, fact.label)))


def by_size(tracklets: Sequence[Tracklet], frame_base: int) -> tuple[Fact, ...]:
    """Return one fact a label, the one first whose boxes cover most.

    Parameters
    ----------
    tracklets
        All that were found.
    frame_base
        Number of the first frame.
    """
    covered: Counter[str] = Counter()
    for tracklet in tracklets:
        covered[tracklet.label] += math.ceil(sum(finding.box.area for finding in tracklet.findings))
    return tuple(sorted(facts(tracklets, frame_base), key=lambda fact: -covered[fact.label]))


def known_line(found: Sequence[Fact]) -> str:
    """Return the findings as the line that stands in the question."""
    return f"Findings: {'; '.join(_written(fact) for fact in found) or 'none'}."


def _written(fact: Fact) -> str:
    return f"{fact.label}, places: {fact.places}, frames: {fact.first}-{fact.last}"


def agrees(text: str, found: Sequence[Fact], anatomy: Anatomy) -> bool:
    """Tell whether a summary says nothing that the findings do not.

    Every frame that it names lies within a finding, every label that it names without denying it was found, and
    everything that was found is named, unless the text speaks of no label at all.

    Parameters
    ----------
    text
        The summary.
    found
        The facts that it was to put into words.
    anatomy
        Whose labels may be named.
    """
    for match in _FRAMES.finditer(text):
        numbers = [int(digits) for digits in match.groups() if digits]
        if not all(any(fact.first <= number <= fact.last for fact in found) for number in numbers):
            return False
    claimed = {label for clause in _CLAUSES.split(text) for label in _claimed(clause, anatomy)}
    labels = {fact.label for fact in found}
    return claimed == labels if claimed else (not labels or _mentions_something(text))


def _claimed(clause: str, anatomy: Anatomy) -> set[str]:
    """Return the labels that a clause names as present."""
    plain = clause.lower()
    named = {label for label, coded in FINDINGS.items() if coded.anatomy is anatomy and label.lower() in plain}
    # "Mass" stands inside "Extra-axial mass": the longer name is meant
    named = {label for label in named if not any(label != other and label.lower() in other.lower() for other in named)}
    return {label for label in named if not _DENYING.search(plain.split(label.lower())[0])}


def _mentions_something(text: str) -> bool:
    """Tell whether free words that name no label at least do not deny that there is a finding."""
    return bool(text.strip()) and not _DENYING.search(_CLAUSES.split(text.strip())[0])
