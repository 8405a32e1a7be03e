"""What is learnt from, and in which order: both follow from items and seed alone, so that a training can go on."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from benchmark.finetune.config import Data, FinetuneConfig, FrameSource, RecipeName
from benchmark.finetune.examples import Example, Scribe
from benchmark.finetune.exchange import Recipe
from benchmark.finetune.grounded import GroundedRecipe
from benchmark.finetune.published import PublishedRecipe
from benchmark.items import Item, Level
from benchmark.running.card import Benchmark, Selection
from benchmark.running.pictures import Pictures, dicom_frames
from sgmri.errors import ConfigError
from sgmri.interfaces import Frames
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy
from worker.engine.profiles import PixelBudget, PromptProfile

_VOLUMES_IN_MEMORY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The items of a fine-tuning.

    Parameters
    ----------
    taught, held_out
        Items with the folder of their benchmark; no patient is in both.
    sha256
        Folder -> digest of its file of items.
    """

    taught: tuple[tuple[Path, Item], ...]
    held_out: tuple[tuple[Path, Item], ...]
    sha256: dict[Path, str]

    @property
    def labels(self) -> dict[Anatomy, tuple[str, ...]]:
        """Anatomy -> labels of the taught items that the product has a code for."""
        found: defaultdict[Anatomy, set[str]] = defaultdict(set)
        for _, item in self.taught:
            found[item.anatomy] |= {label for label in (*item.labels, item.label) if label in FINDINGS}
        return {anatomy: tuple(sorted(found[anatomy])) for anatomy in Anatomy}


def read_material(data: Data) -> Material:
    """Read the items of every benchmark, and hold out those of some patients.

    Raises
    ------
    ConfigError
        If a folder holds no benchmark, or nothing is left to teach.
    """
    taught: list[tuple[Path, Item]] = []
    held_out: list[tuple[Path, Item]] = []
    digests: dict[Path, str] = {}
    selection = Selection(split=data.split, levels=data.levels, tasks=data.tasks, limit=data.limit or None)
    for folder in data.benchmark:
        found = Benchmark.load(folder)
        digests[folder] = found.sha256
        for item in selection.of(found.items):
            part = held_out if _share(item.patient_id or item.volume_id) < data.eval_share else taught
            part.append((folder, item))
    if not taught:
        raise ConfigError(
            f"data: expected items of the split {data.split} to learn from, found none; build it with --split "
            f"{data.split}, or lower eval_share"
        )
    return Material(taught=tuple(taught), held_out=tuple(held_out), sha256=digests)


def _share(name: str) -> float:
    """Return a number from 0 to 1 that depends on a name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def make_recipe(config: FinetuneConfig, material: Material, profile: PromptProfile) -> Recipe:
    """Return the recipe of a fine-tuning; the grounded one asks as a profile says, with the frames' size of the file.

    Parameters
    ----------
    config, material
        What is taught.
    profile
        Of the base model where it is a bundle, else ours.
    """
    if config.recipe is RecipeName.PUBLISHED:
        return PublishedRecipe()
    own = profile.pixel_budget
    budget = PixelBudget(min_pixels=config.min_pixels or own.min_pixels, max_pixels=config.max_pixels or own.max_pixels)
    return GroundedRecipe(profile=replace(profile, pixel_budget=budget), labels=material.labels)


class Lessons(Dataset[Example]):
    """Examples by position: an item, and the draws of its recipe, follow from seed and position.

    Parameters
    ----------
    items
        With the folder of their benchmark.
    recipe, scribe
        How they become examples.
    source
        Which pictures are shown.
    seed
        Of every choice.
    """

    def __init__(
        self, items: Sequence[tuple[Path, Item]], recipe: Recipe, scribe: Scribe, source: FrameSource, *, seed: int
    ) -> None:
        self._items = items
        self._recipe = recipe
        self._scribe = scribe
        self._source = source
        self._seed = seed
        self._volumes: dict[tuple[Path, str], Frames] = {}

    def __len__(self) -> int:
        """Return the number of items: an epoch."""
        return len(self._items)

    def __getitem__(self, position: int) -> Example:
        """Return the example at a position of the whole training, over all epochs.

        Raises
        ------
        ConfigError
            If the benchmark lacks the frames, has others than its items say, or the example is too long.
        SeriesError
            If the plug-in would not read the volume.
        """
        epoch, place = divmod(position, len(self._items))
        folder, item = self._items[_order(self._seed, epoch, len(self._items))[place]]
        frames = self._shown(folder, item)
        exchange = self._recipe.exchange(item, frames, np.random.default_rng((self._seed, 1, position)))
        return self._scribe.write(item, exchange, frames)

    def _shown(self, folder: Path, item: Item) -> Frames:
        if self._source is FrameSource.PUBLISHED:
            return Pictures(folder, "published").of(item)
        frames = self._volume(folder, item)
        if item.level is Level.VOLUME:
            return frames
        return replace(frames, pixels=frames.pixels[[number - 1 for number in item.frame_numbers]])

    def _volume(self, folder: Path, item: Item) -> Frames:
        key = folder, item.volume_id
        if key not in self._volumes:
            if len(self._volumes) >= _VOLUMES_IN_MEMORY:
                self._volumes.pop(next(iter(self._volumes)))
            self._volumes[key] = dicom_frames(folder, item)
        return self._volumes[key]

    def longest(self) -> int:
        """Return a position in the first epoch with as many frames as any: what is too long shows there first."""
        counts = [len(self._items[place][1].frame_numbers) for place in _order(self._seed, 0, len(self._items))]
        return max(range(len(counts)), key=lambda position: counts[position])


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng((seed, 0, epoch)).permutation(count).tolist())
