"""What a fine-tuning leaves: a sealed bundle of the plain weights, with a card of what they were taught.

Nothing in it says how well the model reads: that is measured afterwards, on items that it was not taught.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
import transformers
from torch import nn

from benchmark.finetune.base import Base
from benchmark.finetune.config import FinetuneConfig
from benchmark.finetune.dataset import Material
from benchmark.finetune.student import merged
from benchmark.finetune.train import LOG_FILE, read_log
from benchmark.generator.building import SUMMARY_FILE
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.catalogue import STANDARD
from sgmri.interfaces import Frames
from worker.engine.bundle import Bundle
from worker.engine.bundling import About, make_bundle
from worker.engine.checkpoint import without_bars
from worker.engine.local import Device
from worker.engine.profiles import PromptProfile

PROVENANCE_FILE = "finetune.json"
_CARRIED = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "chat_template.json", "chat_template.jinja", "preprocessor_config.json", "processor_config.json"),
    "video_preprocessor_config.json",
)
"""What of the base model stays as it is. Not its auxiliary head, calibration, golden cases or evaluation: they were
measured on other weights."""
_CARD = """# {name}

{use}

{base} (sha256 {base_sha256:.12}), fine-tuned by `sgmri benchmark finetune` with the recipe `{recipe}`.

| | |
|---|---|
| taught | {items} items of {volumes} volumes, from {sources} |
| held out | {held_out} items, of other patients |
| what learnt | {method}: {parts} |
| steps | {steps} |
| loss of an answer token, first and last step | {first:.3f}, {last:.3f} |
| the same on what was held out, before and after | {eval_loss} |
| asked with | prompt profile `{profile}` |
| licence of the weights | {licence} |

{synthetic}No accuracy was measured, and its certainties are not calibrated: `sgmri model evaluate` and `sgmri benchmark
score` say how it reads. Its golden cases prove that a machine computes as this one did, not that the answers are right.
The whole configuration is in `{provenance}`.
"""
_SYNTHETIC = "**It was taught on synthetic phantoms: nothing here says how it would read a patient.**\n\n"


def write_bundle(  # noqa: PLR0913 -- what a bundle is made of, all keyword-only
    *,
    student: nn.Module,
    config: FinetuneConfig,
    base: Base,
    material: Material,
    profile: PromptProfile,
    golden_frames: Iterable[Frames],
    device: str,
) -> Bundle:
    """Seal the trained weights; there is a whole bundle in ``out/bundle`` in the end, or none.

    Parameters
    ----------
    student
        Trained; not to be used any more afterwards.
    config, base, material
        What was done, to what, with what.
    profile
        How it is to be asked.
    golden_frames
        Volumes whose readings become golden cases.
    device
        Where they are read, ``cpu`` or ``cuda``.

    Raises
    ------
    EngineError
        If the exported encoder does not compute what the weights do.
    """
    plain = merged(nn.Module.to(student, "cpu"))
    with tempfile.TemporaryDirectory(dir=config.out) as scratch:
        checkpoint = Path(scratch)
        nn.Module.to(plain, dtype=base.dtype)
        with without_bars():
            plain.save_pretrained(checkpoint)
        for name in _CARRIED:
            if (base.directory / name).is_file():
                shutil.copyfile(base.directory / name, checkpoint / name)
        return make_bundle(
            checkpoint,
            config.out / "bundle",
            _about(config, base, material, profile),
            profile,
            precision=config.bundle.encoder_precision,
            golden_frames=golden_frames,
            extra={PROVENANCE_FILE: _provenance(config, base, material)},
            device=Device(name=device),
        )


def _about(config: FinetuneConfig, base: Base, material: Material, profile: PromptProfile) -> About:
    rows = read_log(config.out / LOG_FILE)
    losses = [row["loss"] for row in rows if "loss" in row]
    evaluated = [row["eval_loss"] for row in rows if "eval_loss" in row]
    sources = {_source(folder) for folder in material.sha256}
    use = f"{RESEARCH_USE_STATEMENT} Fine-tuned, not examined, not calibrated."
    card = _CARD.format(
        name=config.bundle.name,
        use=use,
        base=base.name,
        base_sha256=base.sha256,
        recipe=config.recipe,
        items=len(material.taught),
        volumes=len({item.volume_id for _, item in material.taught}),
        sources=", ".join(sorted(sources)),
        held_out=len(material.held_out),
        method=config.train.method,
        parts=", ".join(config.train.parts),
        steps=len(losses),
        first=losses[0],
        last=losses[-1],
        eval_loss=f"{evaluated[0]:.3f}, {evaluated[-1]:.3f}" if evaluated else "nothing was held out",
        profile=profile.name,
        licence=config.bundle.licence,
        synthetic=_SYNTHETIC if "phantoms" in sources else "",
        provenance=PROVENANCE_FILE,
    )
    labels = material.labels
    return About(
        model_id=config.bundle.name,
        version=config.bundle.version,
        licence=config.bundle.licence,
        intended_use=use,
        labels=tuple(label for known in labels.values() for label in known),
        question_set_ids=tuple(STANDARD[anatomy].set_id for anatomy, known in labels.items() if known),
        card=card,
    )


def _provenance(config: FinetuneConfig, base: Base, material: Material) -> str:
    said = {
        "config": json.loads(config.to_json()),
        "base": {"name": base.name, "sha256": base.sha256},
        "items_sha256": sorted(material.sha256.values()),
        "items": {"taught": len(material.taught), "held_out": len(material.held_out)},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    # Paths say where things lay on one machine, and nothing about the model
    for table, names in ((said["config"], ("base", "out")), (said["config"]["data"], ("benchmark",))):
        for name in names:
            del table[name]
    return json.dumps(said, indent=1, sort_keys=True) + "\n"


def _source(folder: Path) -> str:
    """Return what a benchmark was built from, as it says itself."""
    path = folder / SUMMARY_FILE
    return str(json.loads(path.read_text(encoding="utf-8"))["source"]) if path.exists() else "unknown"
