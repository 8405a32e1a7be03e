"""A sealed bundle of random weights with everything that a real one has, small enough for a test."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.interfaces import Frames
from tests.worker.engine.plain_frames import plain_frames
from tests.worker.engine.tiny_language import save
from worker.engine import golden
from worker.engine.bundle import Bundle, seal
from worker.engine.bundling import About, make_bundle
from worker.engine.manifest import MANIFEST_NAME
from worker.engine.profiles import PROFILES, PromptProfile

ABOUT = About(
    model_id="random-tiny",
    version="1.0",
    licence="MIT",
    intended_use=f"Tests. {RESEARCH_USE_STATEMENT}",
    labels=("Nonspecific white matter lesion", "Mass"),
    question_set_ids=("brain-1",),
    card="# random-tiny\n",
)


def checkpoint(directory: Path, *, seed: int = 7) -> Path:
    """Write a random checkpoint with its image processor's numbers."""
    save(directory, seed=seed)
    processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return directory


def shown(count: int = 4, *, seed: int = 0, rows: int = 64, columns: int = 96) -> Frames:
    """Return a few frames of noise."""
    return plain_frames(np.random.default_rng(seed).integers(0, 256, (count, rows, columns), dtype=np.uint8))


def small_bundle(scratch: Path, *, profile: PromptProfile | None = None, golden: bool = True) -> Bundle:
    """Make a bundle with one golden case."""
    return make_bundle(
        checkpoint(scratch / "checkpoint"),
        scratch / "bundle",
        ABOUT,
        profile or PROFILES["sgmri"],
        precision="fp32",
        golden_frames=[shown()] if golden else [],
    )


def with_other_features(bundle: Bundle, directory: Path) -> Bundle:
    """Copy a bundle, sealed with a golden case whose features no machine computes."""
    shutil.copytree(bundle.directory, directory)
    (directory / MANIFEST_NAME).unlink()
    (case,) = golden.read(directory / golden.FILE_NAME)
    golden.write([replace(case, features=case.features + np.float16(1))], directory / golden.FILE_NAME)
    return seal(directory, bundle.manifest)
