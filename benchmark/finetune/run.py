"""A whole fine-tuning: from a configuration to a bundle."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from transformers import Qwen3VLConfig

from benchmark.finetune.base import Base, find_base
from benchmark.finetune.config import FinetuneConfig
from benchmark.finetune.dataset import Lessons, Material, make_recipe, read_material
from benchmark.finetune.examples import Scribe
from benchmark.finetune.exchange import Recipe
from benchmark.finetune.objective import Objective, answer_loss
from benchmark.finetune.result import write_bundle
from benchmark.finetune.student import enrol
from benchmark.finetune.train import Training
from benchmark.items import Item
from sgmri.errors import ConfigError, EngineUnavailable
from sgmri.interfaces import Frames
from worker.engine.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Everything that a training needs, loaded.

    Parameters
    ----------
    base, material, recipe
        What is taught to what, and how.
    training, student
        The training, and the model that is to learn.
    """

    base: Base
    material: Material
    recipe: Recipe
    training: Training
    student: nn.Module


def finetune(
    config: FinetuneConfig, *, objective: Objective = answer_loss, golden_frames: Iterable[Frames] = ()
) -> Bundle | None:
    """Train, and make a bundle of what was trained; an interrupted training goes on from its latest checkpoint.

    Parameters
    ----------
    config
        What is asked for.
    objective
        What is minimised.
    golden_frames
        Volumes whose readings become the bundle's golden cases.

    Returns
    -------
    The bundle; None in every process but the main one.

    Raises
    ------
    ConfigError
        If base, items, pictures or folder cannot be used.
    EngineUnavailable
        If the device is not there.
    """
    if (config.out / "bundle").exists():
        raise ConfigError(f"out: expected a folder without a bundle, found {config.out / 'bundle'}; give another")
    course = prepare(config, objective)
    trained = course.training.run(course.student)
    if not course.training.accelerator.is_main_process:
        return None
    return write_bundle(
        student=trained,
        config=config,
        base=course.base,
        material=course.material,
        profile=course.recipe.profile,
        golden_frames=golden_frames,
        device=course.training.accelerator.device.type,
    )


def prepare(config: FinetuneConfig, objective: Objective = answer_loss) -> Course:
    """Load base, items and model.

    Raises
    ------
    ConfigError, EngineUnavailable
        As :func:`finetune`.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailable("expected a CUDA device, found none that torch can use; set device to cpu")
    base, material = find_base(config.base), read_material(config.data)
    if not any(material.labels.values()):
        raise ConfigError("data: expected items about at least one finding, found none; choose other items")
    recipe = make_recipe(config, material, base.profile)
    has_gpu = config.device != "cpu" and torch.cuda.is_available()
    accelerator = Accelerator(cpu=not has_gpu, mixed_precision="bf16" if has_gpu else "no")
    set_seed(config.seed)
    student = enrol(config, base.directory, accelerator.device)
    student_config = student.config
    assert isinstance(student_config, Qwen3VLConfig)
    scribe = Scribe.of(base.directory, student_config, max_tokens=config.train.max_tokens)

    def lessons(items: Sequence[tuple[Path, Item]]) -> Lessons:
        return Lessons(items, recipe, scribe, config.frames, seed=config.seed)

    training = Training(
        config=config,
        accelerator=accelerator,
        lessons=lessons(material.taught),
        questions=lessons(material.held_out) if material.held_out else None,
        objective=objective,
    )
    return Course(base=base, material=material, recipe=recipe, training=training, student=student)
