"""What a fine-tuning is told: one TOML file, read into frozen values; nothing is guessed from a wrong one."""

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from enum import StrEnum
from pathlib import Path

from benchmark.items import Level, Split, Task
from sgmri.errors import ConfigError


class RecipeName(StrEnum):
    """How items become what is shown, asked and answered."""

    PUBLISHED = "published"
    GROUNDED = "grounded"


class FrameSource(StrEnum):
    """Which pictures of a benchmark are shown: its published PNG frames, or its DICOM as the worker renders it."""

    PUBLISHED = "published"
    DICOM = "dicom"


class Method(StrEnum):
    """Whether weights themselves are trained, or low-rank adapters beside them."""

    LORA = "lora"
    FULL = "full"


class Part(StrEnum):
    """Parts of the model that may learn."""

    LANGUAGE = "language"
    MERGER = "merger"
    TOWER = "tower"


class Modules(StrEnum):
    """Matrices of the language model's layers that get adapters."""

    ATTENTION = "attention"
    MLP = "mlp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is learnt from.

    Parameters
    ----------
    benchmark
        Folders of built benchmarks, their items together.
    frames
        Which pictures; None: published ones for the published recipe, DICOM for the grounded one.
    split, levels, tasks, limit
        As for a run (:class:`benchmark.running.card.Selection`); ``limit`` counts in each benchmark, 0 is all.
    eval_share
        Part of the patients (volumes, where nobody knows the patient) whose items measure and never teach.
    workers
        Processes that prepare examples beside the training one.
    """

    benchmark: tuple[Path, ...]
    frames: FrameSource | None = None
    split: Split = Split.TRAIN
    levels: tuple[Level, ...] = tuple(Level)
    tasks: tuple[Task, ...] = tuple(Task)
    limit: int = 0
    eval_share: float = 0.05
    workers: int = 0

    def __post_init__(self) -> None:
        _require(bool(self.benchmark), "data.benchmark", "at least one folder", "none")
        _require(bool(self.levels and self.tasks), "data.levels, data.tasks", "at least one each", "none")
        _require(0 <= self.eval_share < 1, "data.eval_share", "0 or more and less than 1", self.eval_share)
        _require(min(self.limit, self.workers) >= 0, "data.limit, data.workers", "0 or more", "less")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Sizes of the adapters; used by method "lora" only.

    Parameters
    ----------
    rank, alpha, dropout
        As ``peft.LoraConfig`` takes them.
    modules
        Matrices of the language model that get one; all matrices of a merger or tower do, where it learns.
    """

    rank: int = 64
    alpha: int = 128
    dropout: float = 0.05
    modules: tuple[Modules, ...] = tuple(Modules)

    def __post_init__(self) -> None:
        _require(min(self.rank, self.alpha) > 0, "lora.rank, lora.alpha", "1 or more", "less")
        _require(0 <= self.dropout < 1, "lora.dropout", "0 or more and less than 1", self.dropout)
        _require(bool(self.modules), "lora.modules", "at least one", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How it is learnt.

    Parameters
    ----------
    method, parts
        What changes.
    epochs, max_steps
        How long: the steps that the epochs take, or ``max_steps`` where that is not 0.
    batch, accumulation
        Exchanges that a device takes at once, and how often before a step: a step sees their product times the devices.
    rate, warmup, weight_decay, clip
        AdamW: highest learning rate, part of the steps in which it rises (then a cosine down to 0), decay of matrices,
        and largest norm of a gradient.
    max_tokens
        Longest exchange; a longer one stops the training before it begins, nothing is cut off. 0: no limit.
    checkpointing
        Whether activations are computed again instead of kept: half the speed, a fraction of the memory.
    save_every, keep, eval_every
        Steps between two checkpoints (0: only at the end), how many are kept, steps between two evaluations.
    """

    method: Method = Method.LORA
    parts: tuple[Part, ...] = (Part.LANGUAGE, Part.MERGER)
    epochs: float = 3.0
    max_steps: int = 0
    batch: int = 1
    accumulation: int = 8
    rate: float = 2e-5
    warmup: float = 0.03
    weight_decay: float = 0.01
    clip: float = 1.0
    max_tokens: int = 0
    checkpointing: bool = False
    save_every: int = 500
    keep: int = 3
    eval_every: int = 500

    def __post_init__(self) -> None:
        _require(bool(self.parts), "train.parts", "at least one part", "none")
        for name in ("batch", "accumulation", "keep", "eval_every", "epochs", "rate", "clip"):
            _require(getattr(self, name) > 0, f"train.{name}", "more than 0", getattr(self, name))
        for name in ("max_steps", "max_tokens", "save_every", "weight_decay"):
            _require(getattr(self, name) >= 0, f"train.{name}", "0 or more", getattr(self, name))
        _require(0 <= self.warmup < 1, "train.warmup", "0 or more and less than 1", self.warmup)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the bundle says of itself.

    Parameters
    ----------
    name, version
        Of the model.
    licence
        Of the new weights: what the base model's licence and the data allow.
    encoder_precision
        Of the exported vision tower, ``fp16`` or ``fp32``.
    """

    name: str
    licence: str
    version: str = "1.0"
    encoder_precision: str = "fp16"

    def __post_init__(self) -> None:
        known = ("fp16", "fp32")
        _require(self.encoder_precision in known, "bundle.encoder_precision", "fp16 or fp32", self.encoder_precision)
        _require(bool(self.licence.strip()), "bundle.licence", "the licence of the new weights", "an empty text")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """A whole fine-tuning.

    Parameters
    ----------
    recipe
        How items become examples.
    base
        Checkpoint in the Hugging Face layout, or a bundle, whose prompt profile the grounded recipe then keeps.
    out
        Folder of log, checkpoints and, in the end, ``bundle``. Paths are relative to where the command runs.
    device
        ``auto``, ``cpu`` or ``cuda``.
    seed
        Of every choice.
    min_pixels, max_pixels
        Of a frame, for the grounded recipe; 0: those of its profile. The bundle carries what was trained.
    data, train, lora, bundle
        The tables of these names.
    """

    recipe: RecipeName
    base: Path
    out: Path
    device: str = "auto"
    seed: int = 0
    min_pixels: int = 0
    max_pixels: int = 0
    data: Data
    train: Schedule = field(default_factory=Schedule)
    lora: Lora = field(default_factory=Lora)
    bundle: Product

    def __post_init__(self) -> None:
        _require(self.device in ("auto", "cpu", "cuda"), "device", "auto, cpu or cuda", self.device)
        _require(min(self.seed, self.min_pixels, self.max_pixels) >= 0, "seed, min_pixels, max_pixels", ">= 0", "less")
        own = self.recipe is RecipeName.GROUNDED or not (self.min_pixels or self.max_pixels)
        _require(own, "min_pixels, max_pixels", "the grounded recipe, for the published one has its own", self.recipe)
        fits = self.recipe is RecipeName.GROUNDED or self.frames is FrameSource.PUBLISHED
        _require(fits, "data.frames", "published, whose pixels the published answers count", self.frames)

    @property
    def frames(self) -> FrameSource:
        """Which pictures are shown."""
        default = FrameSource.PUBLISHED if self.recipe is RecipeName.PUBLISHED else FrameSource.DICOM
        return self.data.frames or default

    def to_json(self) -> str:
        """Return everything as JSON, for the log and the bundle."""
        return json.dumps(dataclasses.asdict(self), default=str, indent=1, sort_keys=True)

    @property
    def digest(self) -> str:
        """SHA-256 of everything that changes what is learnt: where it is written and what it is called do not."""
        plain = json.loads(self.to_json())
        for name in ("out", "bundle"):
            del plain[name]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_config(path: Path) -> FinetuneConfig:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        If it cannot be read, a key is unknown or missing, or a value cannot be used.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"expected a TOML file, found none that can be read in {path} ({error})") from error
    try:
        config = _table(FinetuneConfig, plain, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    assert isinstance(config, FinetuneConfig)
    return config


def _require(good: bool, name: str, expected: str, found: object) -> None:
    if not good:
        raise ConfigError(f"{name}: expected {expected}, found {found}")


def _table(kind: type, plain: object, where: str) -> object:
    if not isinstance(plain, Mapping):
        raise ConfigError(f"{where.rstrip('.')}: expected a table, found {type(plain).__name__}")
    hints = typing.get_type_hints(kind)
    needed = {
        one.name
        for one in dataclasses.fields(kind)
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    }
    if unknown := sorted(set(plain) - set(hints)):
        raise ConfigError(f"{where}{unknown[0]}: unknown key; known are {', '.join(sorted(hints))}")
    if missing := sorted(needed - set(plain)):
        raise ConfigError(f"{where}{missing[0]}: expected a value, found none; add it")
    built: object = kind(**{name: _value(hints[name], value, where + name) for name, value in plain.items()})
    return built


def _value(hint: object, value: object, where: str) -> object:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _value(arguments[0], value, where)  # of "X | None": TOML has no None, one leaves the key out
    if origin is tuple:
        _require(isinstance(value, list), where, "a list", repr(value))
        assert isinstance(value, list)
        return tuple(_value(arguments[0], one, where) for one in value)
    assert isinstance(hint, type)
    if is_dataclass(hint):
        return _table(hint, value, f"{where}.")
    if issubclass(hint, StrEnum):
        _require(value in list(hint), where, f"one of {', '.join(hint)}", repr(value))
        return hint(str(value))
    if hint is float and type(value) is int:
        return float(value)
    written = str if hint is Path else hint
    _require(type(value) is written, where, written.__name__, repr(value))
    return Path(str(value)) if hint is Path else value
