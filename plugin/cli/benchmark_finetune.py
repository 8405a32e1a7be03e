"""``sgmri benchmark finetune``: train a Qwen3-VL on a built benchmark, and seal a bundle of what was trained."""

import argparse
import json
from pathlib import Path
from typing import Any

from plugin.cli.model_bundle import GOLDEN_PHANTOMS, phantom_frames
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import ConfigError


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the part."""
    parser = commands.add_parser("finetune", help="train a Qwen3-VL on a built benchmark, and make a bundle of it")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML; docs/finetune.md explains it")
    parser.add_argument("--json", action="store_true", help="for machines: digest and folder of the bundle")
    parser.set_defaults(run=run_finetune)


def run_finetune(arguments: argparse.Namespace) -> int:
    """Train, or go on where a training was interrupted."""
    try:
        from benchmark.finetune.config import read_config
        from benchmark.finetune.run import finetune
    except ImportError as error:
        raise ConfigError(
            f"finetune: expected the model stack and its teachers, found no {error.name or 'part of it'}; "
            "pip install 'sgmri[worker-cpu,finetune]'"
        ) from None
    frames = (phantom_frames(phantom) for phantom in GOLDEN_PHANTOMS)
    bundle = finetune(read_config(arguments.config), golden_frames=frames)
    if bundle is None:
        return 0  # another process of the same training seals it
    if arguments.json:
        print(json.dumps({"digest": bundle.digest, "directory": str(bundle.directory)}))
    else:
        print(f"{bundle.digest}  {bundle.size_bytes / 1e6:.1f} MB  {bundle.directory}")
        print(f"Nothing was measured yet: sgmri model evaluate {bundle.directory}. {RESEARCH_USE_STATEMENT}")
    return 0
