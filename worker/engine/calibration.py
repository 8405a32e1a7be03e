"""How sure is sure: from a model's own odds to a probability, and from there to present, absent or undetermined.

A bundle brings one line a label (Platt 1999: a temperature and a shift of the log-odds, fitted on volumes that the
model was neither trained nor examined on). A label without a line is decided at even odds, and its certainty says
that it is not calibrated.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType

from sgmri.errors import EngineError
from sgmri.questions import Presence

FILE_NAME = "calibration.json"
ANY = "any"
"""Key of the question that is about any finding."""
_MAX_BYTES = 1 << 20
_LOWEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One label's calibration.

    Parameters
    ----------
    temperature
        What the log-odds are divided by; more than 0.
    shift
        What is added after that.
    head
        How much the auxiliary head's log-odds count beside the language model's; 0: not at all.
    volumes
        How many volumes it was fitted on.
    ece
        Expected calibration error that was left on other volumes (0 to 1); None where it was not measured.
    """

    temperature: float
    shift: float = 0.0
    head: float = 0.0
    volumes: int = 0
    ece: float | None = None

    def log_odds(self, said: float, seen: float | None = None) -> float:
        """Return the calibrated log-odds of what the language model said and the auxiliary head saw."""
        return said / self.temperature + self.shift + (0.0 if seen is None else self.head * seen)

    def probability(self, said: float, seen: float | None = None) -> float:
        """Return the probability of yes, 0 to 1."""
        scaled = self.log_odds(said, seen)
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, scaled))))


_NEUTRAL = Line(temperature=1.0)
"""Odds taken as they are: of a label without a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What log-odds mean.

    Parameters
    ----------
    presence
        Present, absent, or undetermined between the two thresholds.
    probability
        Of yes.
    calibrated
        Whether a line of the bundle stands behind it.
    """

    presence: Presence
    probability: float
    calibrated: bool

    @property
    def certainty(self) -> float:
        """That the verdict is right, 0 to 1."""
        return max(self.probability, 1 - self.probability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The calibration of a bundle.

    Parameters
    ----------
    lines
        Label (or :data:`ANY`) -> its line, for questions about the volume.
    frame_lines
        Label -> its line, for questions about one frame alone.
    undecided
        A probability nearer to one half than this is "undetermined".
    frame_threshold
        Calibrated log-odds from which on a finding counts as seen on a single frame.
    box_threshold
        The auxiliary head's log-odds below which a box is not believed; None: boxes are believed.
    snaps
        Whether boxes are drawn onto what stands out in them (:mod:`worker.engine.snapping`).
    scope_threshold
        Log-odds from which on the model recognises the organ; None: it was not taught to, and is not asked.
    planes
        Planes (by anatomy) that it was taught; empty: any.
    """

    lines: Mapping[str, Line] = field(default_factory=lambda: MappingProxyType({}))
    frame_lines: Mapping[str, Line] = field(default_factory=lambda: MappingProxyType({}))
    undecided: float = 0.0
    frame_threshold: float = 0.0
    box_threshold: float | None = None
    snaps: bool = False
    scope_threshold: float | None = None
    planes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def needs_head(self) -> bool:
        """Whether it was fitted with an auxiliary head, and means nothing without."""
        lines = [*self.lines.values(), *self.frame_lines.values()]
        return self.box_threshold is not None or any(line.head for line in lines)

    def verdict(self, labels: Iterable[str], log_odds: float, seen: float | None = None) -> Verdict:
        """Return what the log-odds of a question about some labels mean.

        Parameters
        ----------
        labels
            Of the question, or :data:`ANY` alone; the first that has a line counts.
        log_odds
            log(P(yes) / P(no)) as the model gives it.
        seen
            Log-odds of the auxiliary head, and for :data:`ANY` the highest that :meth:`on_volume` gives any label; None
            where there are none.
        """
        line = self._line(labels)
        probability = (line or _NEUTRAL).probability(log_odds, seen)
        probability = min(1 - _LOWEST, max(_LOWEST, probability))
        presence = Presence.PRESENT if probability >= 0.5 else Presence.ABSENT
        if abs(probability - 0.5) < self.undecided:
            presence = Presence.UNDETERMINED
        return Verdict(presence=presence, probability=probability, calibrated=line is not None)

    def on_volume(self, labels: Iterable[str], log_odds: float, seen: float | None = None) -> float:
        """Return the calibrated log-odds that a volume has a finding; as :meth:`verdict`."""
        return (self._line(labels) or _NEUTRAL).log_odds(log_odds, seen)

    def _line(self, labels: Iterable[str]) -> Line | None:
        return next((self.lines[label] for label in labels if label in self.lines), None)

    def on_frame(self, label: str, log_odds: float, seen: float | None = None) -> float:
        """Return the calibrated log-odds that a finding is visible on a frame."""
        return self.frame_lines.get(label, _NEUTRAL).log_odds(log_odds, seen)


def to_json(calibration: Calibration) -> str:
    """Write a calibration as the text of :data:`FILE_NAME`."""
    document = {
        **{
            name: {label: asdict(line) for label, line in sorted(getattr(calibration, name).items())} for name in _LINES
        },
        **{name: getattr(calibration, name) for name in _NUMBERS},
        **{name: getattr(calibration, name) for name in _LIMITS},
        "snaps": calibration.snaps,
        "planes": {anatomy: list(planes) for anatomy, planes in sorted(calibration.planes.items())},
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


_LINES = ("lines", "frame_lines")
_NUMBERS = ("undecided", "frame_threshold")
_LIMITS = ("box_threshold", "scope_threshold")
"""Numbers that may be missing."""


def read(path: Path) -> Calibration:
    """Read the calibration of a bundle.

    Parameters
    ----------
    path
        The file; verified by the bundle, so that only its meaning is checked here.

    Raises
    ------
    EngineError
        If it is none.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too long")
        document = json.loads(path.read_text(encoding="utf-8"))
        lines = {name: {label: Line(**entry) for label, entry in document[name].items()} for name in _LINES}
        numbers = {name: float(document[name]) for name in _NUMBERS}
        limits = {name: None if document[name] is None else float(document[name]) for name in _LIMITS}
        _check(
            [line for some in lines.values() for line in some.values()],
            [*numbers.values(), *(limit for limit in limits.values() if limit is not None)],
        )
        return Calibration(
            lines=MappingProxyType(lines["lines"]),
            frame_lines=MappingProxyType(lines["frame_lines"]),
            undecided=numbers["undecided"],
            frame_threshold=numbers["frame_threshold"],
            box_threshold=limits["box_threshold"],
            scope_threshold=limits["scope_threshold"],
            snaps=bool(document["snaps"]),
            planes=MappingProxyType({anatomy: tuple(planes) for anatomy, planes in document["planes"].items()}),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineError(
            f"{path.name}: expected the calibration of a bundle, found {type(error).__name__}; build the bundle again"
        ) from None


def _check(lines: Sequence[Line], numbers: Sequence[float]) -> None:
    """Refuse what no probability can be made of."""
    every = [*numbers, *(value for line in lines for value in (line.temperature, line.shift, line.head))]
    if not all(math.isfinite(value) for value in every) or any(line.temperature <= 0 for line in lines):
        raise ValueError("a number out of range")
