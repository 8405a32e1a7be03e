"""Questions that an engine asks itself: whether this is the organ, and whether it affirms what cannot be there.

They are asked with every volume, beside the question set's own, and never shown as answers. One wrong control and
nothing of the reading stands: who finds a joint effusion in a head finds anything anywhere.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sgmri.catalogue import STANDARD
from sgmri.questions import Question, QuestionKind
from sgmri.volume import Anatomy

_ABSENT: Mapping[Anatomy, tuple[str, ...]] = MappingProxyType(
    {
        Anatomy.BRAIN: ("knee.screen.effusion", "knee.screen.periarticular-cyst"),
        Anatomy.KNEE: ("brain.screen.mass", "brain.screen.ventricles"),
    }
)
"""Anatomy -> questions of the other anatomy's set, which must be denied."""


def scope(anatomy: Anatomy) -> Question:
    """Return the question whether a volume shows an anatomy at all."""
    return Question(
        question_id=f"control.scope.{anatomy}",
        kind=QuestionKind.DETECTION,
        text=f"Is this a volume of the {anatomy}?",
    )


def absent_by_design(anatomy: Anatomy) -> tuple[Question, ...]:
    """Return the questions that must be answered "no" of every volume of an anatomy."""
    other = _other(anatomy)
    known = {question.question_id: question for question in STANDARD[other].questions}
    return (scope(other), *(known[name] for name in _ABSENT[anatomy]))


def _other(anatomy: Anatomy) -> Anatomy:
    return Anatomy.KNEE if anatomy is Anatomy.BRAIN else Anatomy.BRAIN
