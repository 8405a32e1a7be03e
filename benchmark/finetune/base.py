"""The model that a fine-tuning starts from: a checkpoint of somebody's, or a bundle of ours."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from sgmri.errors import ConfigError
from worker.engine.bundle import load
from worker.engine.manifest import MANIFEST_NAME
from worker.engine.profiles import PROFILES, PromptProfile, from_mapping

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What is known of it before it is loaded.

    Parameters
    ----------
    directory
        In the Hugging Face layout.
    name
        For people.
    sha256
        The bundle's digest, or that of a checkpoint's weights.
    profile
        How the grounded recipe asks it: as its bundle says, or as ours does.
    dtype
        Of the stored weights; the fine-tuned ones are stored in the same.
    """

    directory: Path
    name: str
    sha256: str
    profile: PromptProfile
    dtype: torch.dtype


def find_base(directory: Path) -> Base:
    """Look at a checkpoint or bundle; a bundle is verified.

    Raises
    ------
    ConfigError
        If there are no weights in the directory.
    EngineError
        If it is a bundle, and not as sealed.
    """
    shards = sorted(directory.glob("model*.safetensors"))
    if not shards:
        raise ConfigError(
            f"base: expected a checkpoint or bundle with model.safetensors, found none in {directory}; fetch one with "
            "sgmri model pull"
        )
    dtype = _stored(shards[0])
    if (directory / MANIFEST_NAME).exists():
        bundle = load(directory)
        profile = from_mapping(bundle.manifest.profile)
        name = f"{bundle.manifest.model_id} {bundle.manifest.version}"
        return Base(directory=directory, name=name, sha256=bundle.digest, profile=profile, dtype=dtype)
    digest = hashlib.sha256()
    for shard in shards:
        with shard.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Base(
        directory=directory,
        name=directory.resolve().name,
        sha256=digest.hexdigest(),
        profile=PROFILES["sgmri"],
        dtype=dtype,
    )


def _stored(shard: Path) -> torch.dtype:
    try:
        with safe_open(shard, framework="pt") as stored:
            return _DTYPES[stored.get_slice(next(iter(stored.keys()))).get_dtype()]
    except (OSError, SafetensorError, KeyError, StopIteration) as error:
        raise ConfigError(
            f"base: expected weights of float32, bfloat16 or float16 in {shard}, found none ({type(error).__name__}); "
            "fetch the checkpoint again"
        ) from error
