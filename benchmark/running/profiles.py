"""How models are asked: the published ways, and ours."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from sgmri.errors import ConfigError
from worker.engine import profiles
from worker.engine.profiles import PromptProfile, TaskLines

MINIMAL = replace(
    profiles.PROFILES["sgmri-vqa-sft"],
    name="published-minimal",
    system=(
        "You are {role}. For research use only, not for diagnosis. You are shown {count} frames (Frame {first} through "
        "Frame {last}) of {series}, each {columns}x{rows} pixels."
    ),
    task_lines=TaskLines(detection="", localisation="", counting="", classification="", captioning=""),
    closing="",
)
"""The bare question; boxes are pixels of the frame, corner and size, as the published answers write them."""

PROFILES: Mapping[str, PromptProfile] = MappingProxyType(
    {
        MINIMAL.name: MINIMAL,
        "published-json": replace(profiles.PROFILES["sgmri-vqa-sft"], name="published-json"),
        "sgmri": profiles.PROFILES["sgmri"],
        "qwen3-vl": profiles.PROFILES["qwen3-vl"],
    }
)
"""Name -> profile. Engines and baselines write the published form, and are read as ``published-minimal``."""


def profile_named(name: str) -> PromptProfile:
    """Return a profile.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in PROFILES:
        raise ConfigError(f"expected one of the profiles {', '.join(PROFILES)}, found {name!r}")
    return PROFILES[name]
