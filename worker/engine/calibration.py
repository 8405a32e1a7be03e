"""How sure is sure: from a model's own odds to a probability, and from there to present, absent or undetermined.

A bundle brings one line a label (Platt 1999: a temperature and a shift of the log-odds, fitted on volumes that the
model was neither trained nor examined on). A label without a line is decided at even odds, and its certainty says
that it is not calibrated.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    volumes
        How many volumes it was fitted on.
    ece
        Expected calibration error that was left on other volumes (0 to 1); None where it was not measured.
    """

    temperature: float
    shift: float = 0.0
    volumes: int = 0
    ece: float | None = None

    def probability(self, log_odds: float) -> float:
        """Return the probability of yes, 0 to 1."""
        scaled = log_odds / self.temperature + self.shift
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, scaled))))


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
    undecided
        A probability nearer to one half than this is "undetermined".
    frame_threshold
        Log-odds from which on a finding counts as seen on a single frame.
    has_scope
        Whether the model was taught to tell what it cannot read; without, the question is not asked of it.
    planes
        Planes (by anatomy) that it was taught; empty: any.
    """

    lines: Mapping[str, Line] = field(default_factory=lambda: MappingProxyType({}))
    undecided: float = 0.0
    frame_threshold: float = 0.0
    has_scope: bool = False
    planes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def verdict(self, labels: Iterable[str], log_odds: float) -> Verdict:
        """Return what the log-odds of a question about some labels mean.

        Parameters
        ----------
        labels
            Of the question, or :data:`ANY` alone; the first that has a line counts.
        log_odds
            log(P(yes) / P(no)) as the model gives it.
        """
        line = next((self.lines[label] for label in labels if label in self.lines), None)
        probability = (line or Line(temperature=1.0)).probability(log_odds)
        probability = min(1 - _LOWEST, max(_LOWEST, probability))
        presence = Presence.PRESENT if probability >= 0.5 else Presence.ABSENT
        if abs(probability - 0.5) < self.undecided:
            presence = Presence.UNDETERMINED
        return Verdict(presence=presence, probability=probability, calibrated=line is not None)


def to_json(calibration: Calibration) -> str:
    """Write a calibration as the text of :data:`FILE_NAME`."""
    document = {
        "lines": {
            label: {"temperature": line.temperature, "shift": line.shift, "volumes": line.volumes, "ece": line.ece}
            for label, line in sorted(calibration.lines.items())
        },
        "undecided": calibration.undecided,
        "frame_threshold": calibration.frame_threshold,
        "has_scope": calibration.has_scope,
        "planes": {anatomy: list(planes) for anatomy, planes in sorted(calibration.planes.items())},
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


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
        lines = {label: Line(**entry) for label, entry in document["lines"].items()}
        numbers = [document["undecided"], document["frame_threshold"]]
        numbers += [value for line in lines.values() for value in (line.temperature, line.shift)]
        if not all(math.isfinite(value) for value in numbers) or any(line.temperature <= 0 for line in lines.values()):
            raise ValueError("a number out of range")
        return Calibration(
            lines=MappingProxyType(lines),
            undecided=float(document["undecided"]),
            frame_threshold=float(document["frame_threshold"]),
            has_scope=bool(document["has_scope"]),
            planes=MappingProxyType({anatomy: tuple(planes) for anatomy, planes in document["planes"].items()}),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineError(
            f"{path.name}: expected the calibration of a bundle, found {type(error).__name__}; build the bundle again"
        ) from None
