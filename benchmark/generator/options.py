"""The options of a choice: right ones, wrong ones that are absent from the whole volume, and "None of these".

Letters are balanced: among the items of one kind, the first right option stands at each letter equally often. Pairs
that are easily confused stand together as often where neither is right as where one is, so that a pair says nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmark.generator.chance import drawn, shuffled
from benchmark.generator.volumes import NO_FINDINGS, AnnotatedVolume
from benchmark.items import LETTERS, Level, Split, Task
from sgmri.questions import NONE_OF_THESE
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy

_PAIRS = (
    ("Ligament - ACL Low Grade sprain", "Ligament - ACL High Grade Sprain"),
    ("Ligament - MCL Low-Mod Grade Sprain", "Ligament - MCL High Grade sprain"),
    ("Ligament - PCL Low-Mod grade sprain", "Ligament - PCL High Grade"),
    ("LCL Complex - Low-Mod Grade Sprain", "LCL Complex- High Grade Sprain"),
    ("Cartilage - Partial Thickness loss/defect", "Cartilage - Full Thickness loss/defect"),
    ("Meniscus Tear", "Displaced Meniscal Tissue"),
    ("Bone- Subchondral edema", "Bone-Fracture/Contusion/dislocation"),
    ("Joint Effusion", "Periarticular cysts"),
    ("Edema", "Mass"),
    ("Nonspecific white matter lesion", "Nonspecific lesion"),
    ("Craniotomy", "Craniectomy"),
    ("Resection cavity", "Encephalomalacia"),
)
_PARTNER = {**dict(_PAIRS), **{right: left for left, right in _PAIRS}}
_WRONG_AT_LEAST = 1
_NAMED = {
    anatomy: {label for label, known in FINDINGS.items() if known.anatomy is anatomy} - NO_FINDINGS
    for anatomy in Anatomy
}
Group = tuple[Level, Task, Anatomy, Split]
"""Items among which letters and wrong options are balanced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Four options.

    Parameters
    ----------
    texts
        Of A, B, C, D.
    right
        Which of them are right: one at least.
    is_multiple
        Whether the question says that several may be.
    """

    texts: tuple[str, ...]
    right: frozenset[str]
    is_multiple: bool

    @property
    def lettered(self) -> tuple[tuple[str, str], ...]:
        """Letter and text of each."""
        return tuple(zip(LETTERS, self.texts, strict=True))


@dataclass(kw_only=True)
class OptionMaker:
    """Makes options, and keeps count of the letters that it gave.

    Parameters
    ----------
    volumes
        All volumes: a label is offered as often as it occurs in them.
    """

    volumes: Iterable[AnnotatedVolume]
    _frequency: dict[tuple[Anatomy, Level], Counter[str]] = field(init=False)
    _places: Counter[tuple[object, ...]] = field(init=False, default_factory=Counter)
    _shown: Counter[tuple[object, ...]] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self._frequency = {(anatomy, level): Counter() for anatomy in Anatomy for level in Level}
        for volume in self.volumes:
            self._frequency[volume.anatomy, Level.VOLUME].update(volume.labels)
            for boxes in volume.by_frame.values():
                self._frequency[volume.anatomy, Level.IMAGE].update({box.label for box in boxes})

    def make(
        self, volume: AnnotatedVolume, findings: Iterable[str], *, name: str, group: Group, multiple: bool
    ) -> Options:
        """Make the options of one question.

        Parameters
        ----------
        volume
            Wrong options are absent from all of it.
        findings
            Labels that are right; one of them is taken, or for a multiple choice one to three, as many as there are
            and chance says. Without any, "None of these" is right.
        name
            What its choices follow from.
        group
            Items among which letters and wrong options are balanced.
        multiple
            Whether several may be right.
        """
        right = shuffled(findings, name, "right")
        if multiple and right:
            # a wrong option stays in every question, or "all of them" could be guessed
            right = right[: 1 + drawn(name, "how many") % min(len(right), len(LETTERS) - 1 - _WRONG_AT_LEAST)]
        else:
            right = right[:1]
        wrong = self._wrong(volume, right, name, group)[: len(LETTERS) - 1 - len(right)]
        self._shown.update((*group, label) for label in wrong)
        first = right[0] if right else NONE_OF_THESE
        others = shuffled({*right, *wrong, NONE_OF_THESE} - {first}, name, "order")
        others.insert(self._place((*group, multiple, len(right))), first)
        return Options(texts=tuple(others), right=frozenset(right or [NONE_OF_THESE]), is_multiple=multiple)

    def _wrong(self, volume: AnnotatedVolume, right: list[str], name: str, group: Group) -> list[str]:
        """Return the absent labels of the anatomy in the order in which they are offered.

        First comes what was offered least for how often it is right: a text that names a frequent label is then
        wrong as often as it can be. A label that most volumes have stays right more often than wrong.
        """
        here = {*volume.labels, *volume.study_labels}
        frequency = self._frequency[volume.anatomy, group[0]]

        def offered(label: str) -> float:
            return (self._shown[*group, label] + drawn(name, label) / 2**64) / frequency[label]

        ordered = sorted((label for label in frequency if label not in here), key=offered)
        lead = right[0] if right and drawn(name, "confusable") % 2 else next(iter(ordered), "")
        partner = _PARTNER.get(lead)
        if partner in ordered:
            ordered.remove(partner)
            ordered.insert(0 if lead in right else 1, partner)
        # annotations of a few labels only: the vocabulary has more
        return ordered + shuffled(_NAMED[volume.anatomy] - {*here, *ordered}, name, "vocabulary")

    def _place(self, group: tuple[object, ...]) -> int:
        """Return where the first right option stands: every four items of a group use every letter once."""
        turn = self._places[group]
        self._places[group] += 1
        return shuffled(range(len(LETTERS)), *group, turn // len(LETTERS))[turn % len(LETTERS)]
