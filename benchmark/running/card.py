"""What a run is: who was asked, how, and which questions. Kept beside the answers, so that a run can be taken up again.

A run's folder holds ``run.json`` (the card), ``answers.jsonl`` (see :mod:`benchmark.running.ledger`) and, once it is
scored, ``scores.json`` and ``certainty.png``.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from benchmark.items import ITEMS_FILE, Item, Level, Split, Task, read_items
from sgmri.errors import ConfigError

CARD_FILE = "run.json"
ANSWERS_FILE = "answers.jsonl"


class Origin(StrEnum):
    """Where the answers of a run come from."""

    MODEL = "model"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which questions of a benchmark are asked.

    Parameters
    ----------
    split
        Train or test; None for both.
    levels, tasks
        The ones asked.
    limit
        At most so many, drawn by their names: the same ones whoever is asked; None for all.
    """

    split: Split | None = Split.TEST
    levels: tuple[Level, ...] = tuple(Level)
    tasks: tuple[Task, ...] = tuple(Task)
    limit: int | None = None

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items that are asked, in the benchmark's order."""
        chosen = (
            item
            for item in items
            if self.split in (None, item.split) and item.level in self.levels and item.task in self.tasks
        )
        if self.limit is None:
            return chosen
        everything = list(chosen)
        drawn = sorted(everything, key=lambda item: hashlib.sha256(item.item_id.encode()).digest())[: self.limit]
        names = {item.item_id for item in drawn}
        return (item for item in everything if item.item_id in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCard:
    """What a run is.

    Parameters
    ----------
    name
        Of the model, for tables.
    origin
        Model or baseline.
    profile
        Name of the prompt profile (:data:`benchmark.running.profiles.PROFILES`): what the answers' numbers mean.
    items_sha256
        Digest of the file of items.
    selection
        Which of them are asked.
    is_blank
        Whether the model was shown black frames instead of the images.
    """

    name: str
    origin: Origin
    profile: str
    items_sha256: str
    selection: Selection
    is_blank: bool = False

    def write(self, folder: Path) -> None:
        """Write the card into a run's folder, or take the run there up again if it has the same card.

        Raises
        ------
        ConfigError
            If another run lies there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / CARD_FILE
        if path.exists():
            if self.read(folder) != self:
                raise ConfigError(
                    f"{folder}: expected the run that is to be taken up again, found one with another model, profile, "
                    "benchmark or selection; give another folder"
                )
            return
        # under another name first: a process killed here leaves no half card, and no card is ever written twice
        unfinished = folder / f"{CARD_FILE}.unfinished"
        unfinished.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        unfinished.replace(path)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the card of a run.

        Raises
        ------
        ConfigError
            If there is none.
        """
        try:
            plain = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
            return cls(**plain | {"origin": Origin(plain["origin"]), "selection": _selection(plain["selection"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"expected the folder of a run, found no usable {CARD_FILE} in {folder} ({error}); run sgmri benchmark "
                "run or baselines"
            ) from error


def _selection(plain: dict[str, Any]) -> Selection:
    return Selection(
        split=None if plain["split"] is None else Split(plain["split"]),
        levels=tuple(Level(level) for level in plain["levels"]),
        tasks=tuple(Task(task) for task in plain["tasks"]),
        limit=plain["limit"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark's items in memory, and which file they come from."""

    folder: Path
    items: tuple[Item, ...]
    sha256: str

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a benchmark's file of items.

        Raises
        ------
        ConfigError
            If there is none.
        """
        items = tuple(read_items(folder / ITEMS_FILE))
        with (folder / ITEMS_FILE).open("rb") as file:
            return cls(folder=folder, items=items, sha256=hashlib.file_digest(file, "sha256").hexdigest())

    def asked(self, card: RunCard) -> list[Item]:
        """Return the items that a run is about.

        Raises
        ------
        ConfigError
            If the run is about another benchmark.
        """
        if self.sha256 != card.items_sha256:
            raise ConfigError(
                f"{self.folder}: expected the items that {card.name} was asked, found others; give their benchmark"
            )
        return list(card.selection.of(self.items))
