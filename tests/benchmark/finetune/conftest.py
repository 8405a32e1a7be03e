"""A benchmark of two phantoms, a random checkpoint, and configurations that are over in seconds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.finetune.config import Data, FinetuneConfig, Lora, Method, Product, RecipeName, Schedule
from benchmark.finetune.run import finetune
from benchmark.generator.building import build_phantoms
from benchmark.items import ITEMS_FILE, Item, Level, Split, Task, read_items
from tests.worker.engine.small_bundle import checkpoint, shown
from worker.engine.bundle import Bundle

SHORT = Schedule(method=Method.FULL, max_steps=4, batch=1, accumulation=2, rate=3e-3, save_every=2, eval_every=4)

HOLDS_OUT_ONE = 0.7
"""A share with which one of the two phantoms is held out."""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread: of a model this small, threads that wait for each other are most of the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a benchmark of a brain and a knee."""
    folder = tmp_path_factory.mktemp("phantoms")
    build_phantoms(folder, 2, seed=3, split=Split.TRAIN, progress=lambda what, done, total: None)
    return folder


@pytest.fixture(scope="session")
def items(phantoms: Path) -> tuple[Item, ...]:
    return tuple(read_items(phantoms / ITEMS_FILE))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random Qwen3-VL in the Hugging Face layout."""
    return checkpoint(tmp_path_factory.mktemp("base") / "random-tiny")


@pytest.fixture
def config(phantoms: Path, base: Path, tmp_path: Path) -> FinetuneConfig:
    """Return a fine-tuning of the whole language model on single frames, yes or no and where."""
    return short(phantoms, base, tmp_path / "out")


@pytest.fixture
def adapters(config: FinetuneConfig) -> FinetuneConfig:
    """Return the same with adapters on language model and merger."""
    return replace(config, train=replace(SHORT, method=Method.LORA))


@pytest.fixture(scope="session")
def taught(phantoms: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the bundle of a short fine-tuning with adapters, some items held out."""
    config = short(phantoms, base, tmp_path_factory.mktemp("taught") / "out")
    config = replace(
        config, train=replace(SHORT, method=Method.LORA), data=replace(config.data, eval_share=HOLDS_OUT_ONE)
    )
    bundle = finetune(config, golden_frames=[shown()])
    assert bundle is not None
    return bundle


def short(phantoms: Path, base: Path, out: Path) -> FinetuneConfig:
    """Return a configuration that is over in seconds."""
    return FinetuneConfig(
        recipe=RecipeName.GROUNDED,
        base=base,
        out=out,
        device="cpu",
        max_pixels=16_384,
        data=Data(
            benchmark=(phantoms,),
            levels=(Level.IMAGE,),
            tasks=(Task.DETECTION, Task.LOCALIZATION),
            limit=24,
            eval_share=0.0,
        ),
        train=SHORT,
        lora=Lora(rank=4, alpha=8, dropout=0.1),
        bundle=Product(name="random-taught", licence="MIT", encoder_precision="fp32"),
    )
