"""The scores of a run: every task at every level, as published and as ours, with their intervals; one JSON file."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from benchmark.items import Item, Level, Task
from benchmark.metrics import Interval, bootstrap_mean
from benchmark.running.card import Origin, RunCard
from benchmark.scoring.answers import ScoredAnswer
from benchmark.scoring.certainty import Bin, Certainty, certainty
from benchmark.scoring.strict import Outcome
from sgmri.errors import ConfigError

SCORES_FILE = "scores.json"
BOTH = "both"
"""Name of the rows that are about brains and knees together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One score of a run.

    Parameters
    ----------
    level, task, anatomy
        What it is about; ``anatomy`` may be :data:`BOTH`.
    name
        "A", "V" and "AR" are the published ones, the others are ours.
    is_published
        Whether it is the paper's score, faults included.
    interval
        Mean and 95 % range over resampled volumes; ours are over what was answered.
    """

    level: Level
    task: Task
    anatomy: str
    name: str
    is_published: bool
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the questions of one task.

    Parameters
    ----------
    asked
        Questions that belong to the run.
    answered, unparsable, unanswered
        Of those that have been put; what is missing has not been put yet.
    """

    level: Level
    task: Task
    asked: int
    answered: int
    unparsable: int
    unanswered: int

    @property
    def missing(self) -> int:
        """Questions that have not been put yet."""
        return self.asked - self.answered - self.unparsable - self.unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScores:
    """Everything that is said of a run.

    Parameters
    ----------
    name, origin, profile, is_blank
        Of the card.
    scores, tallies
        The numbers.
    certainty
        Calibration and abstaining.
    latency_s, cost_usd
        Mean time of an answer, and the sum of what is known to have been paid; None where nothing is known.
    """

    name: str
    origin: Origin
    profile: str
    is_blank: bool
    scores: tuple[Score, ...]
    tallies: tuple[Tally, ...]
    certainty: Certainty
    latency_s: float
    cost_usd: float | None

    def find(self, level: Level, task: Task, name: str, anatomy: str = BOTH) -> Interval | None:
        """Return one score; None where the run has none."""
        for score in self.scores:
            if (score.level, score.task, score.name, score.anatomy) == (level, task, name, anatomy):
                return score.interval
        return None

    def write(self, folder: Path) -> None:
        """Write the scores into the run's folder; what is not a number becomes null."""
        plain = json.dumps(_without_nan(asdict(self)), indent=1, allow_nan=False)
        (folder / SCORES_FILE).write_text(plain, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the scores of a run.

        Raises
        ------
        ConfigError
            If it was not scored.
        """
        try:
            plain = json.loads((folder / SCORES_FILE).read_text(encoding="utf-8"))
            return cls(
                **plain
                | {
                    "origin": Origin(plain["origin"]),
                    "scores": tuple(_score(row) for row in plain["scores"]),
                    "tallies": tuple(
                        Tally(**row | {"level": Level(row["level"]), "task": Task(row["task"])})
                        for row in plain["tallies"]
                    ),
                    "certainty": _certainty(plain["certainty"]),
                    "latency_s": _nan(plain)["latency_s"],
                }
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"expected a scored run, found no usable {SCORES_FILE} in {folder} ({error}); run sgmri benchmark score"
            ) from error


def _score(row: dict[str, Any]) -> Score:
    return Score(
        **row | {"level": Level(row["level"]), "task": Task(row["task"]), "interval": Interval(**_nan(row["interval"]))}
    )


def _certainty(row: dict[str, Any]) -> Certainty:
    plain = _nan(row)
    return Certainty(
        **plain
        | {
            "bins": tuple(Bin(**one) for one in row["bins"]),
            "curve": tuple((coverage, risk) for coverage, risk in row["curve"]),
        }
    )


def _nan(row: dict[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if value is None else value for name, value in row.items()}


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def report(card: RunCard, asked: Sequence[Item], answers: Sequence[ScoredAnswer], *, rounds: int = 1000) -> RunScores:
    """Sum up a run.

    Parameters
    ----------
    card
        What the run is.
    asked
        Every question that belongs to it.
    answers
        Those that were put, scored.
    rounds
        Of the bootstrap.
    """
    costs = [one.prediction.cost_usd for one in answers if one.prediction.cost_usd is not None]
    waits = [one.prediction.latency_s for one in answers]
    return RunScores(
        name=card.name,
        origin=card.origin,
        profile=card.profile,
        is_blank=card.is_blank,
        scores=tuple(_scores(answers, rounds)),
        tallies=tuple(_tallies(asked, answers)),
        certainty=certainty(answers),
        latency_s=sum(waits) / len(waits) if waits else float("nan"),
        cost_usd=sum(costs) if costs else None,
    )


def _scores(answers: Sequence[ScoredAnswer], rounds: int) -> Iterator[Score]:
    samples: dict[tuple[Level, Task, str, str, bool], list[tuple[float, str]]] = {}
    for one in answers:
        item = one.item
        named = [(name, value, True) for name, value in one.published.items()]
        named += [(name, value, False) for name, value in one.strict.scores.items()]
        for name, value, is_published in named:
            for anatomy in (BOTH, item.anatomy.value):
                key = (item.level, item.task, anatomy, name, is_published)
                samples.setdefault(key, []).append((value, item.volume_id))
    for (level, task, anatomy, name, is_published), pairs in sorted(samples.items()):
        values, volumes = [value for value, _ in pairs], [volume for _, volume in pairs]
        yield Score(
            level=level,
            task=task,
            anatomy=anatomy,
            name=name,
            is_published=is_published,
            interval=bootstrap_mean(values, volumes, rounds=rounds),
        )


def _tallies(asked: Sequence[Item], answers: Sequence[ScoredAnswer]) -> Iterator[Tally]:
    wanted = Counter((item.level, item.task) for item in asked)
    found = Counter((one.item.level, one.item.task, one.strict.outcome) for one in answers)
    for (level, task), count in sorted(wanted.items()):
        answered, unparsable, unanswered = (found[level, task, outcome] for outcome in Outcome)
        yield Tally(
            level=level, task=task, asked=count, answered=answered, unparsable=unparsable, unanswered=unanswered
        )
