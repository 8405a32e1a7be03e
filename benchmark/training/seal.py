"""Make the embedded model's bundle of a trained checkpoint: calibrate, prove, examine, describe, seal.

    python -m benchmark.training.seal CHECKPOINT --out DIR [--volumes N] [--log FILE ...]

Calibration is fitted on volumes of seeds between training and examination; the examination's seeds are used for
nothing else. The numbers in the model card are those of ``eval.json`` beside it.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file
from transformers import Qwen3VLForConditionalGeneration

from benchmark import heldout
from benchmark.calibration import fit, gather, tuned
from benchmark.evaluation import ANY, Report, Sample, abstains, as_json, as_markdown, examine, report
from benchmark.metrics import auroc
from benchmark.recorded import RecordedSpeaker
from benchmark.training.examples import ARTEFACTS, LABELS, PROFILE
from benchmark.training.grids import PLANES
from benchmark.training.model import MERGE, PATCH
from benchmark.training.train import HEAD_FILE
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.catalogue import STANDARD
from sgmri.questions import QuestionKind
from worker.engine import auxiliary, calibration
from worker.engine.bundle import load
from worker.engine.bundling import About, make_bundle
from worker.engine.calibration import Calibration
from worker.engine.classical import ClassicalEngine
from worker.engine.grounded import GroundedEngine
from worker.engine.loading import card_of, load_engine, open_engine
from worker.engine.local import Device
from worker.engine.places import EMBEDDED

GOLDEN_SEED = 700_000
"""First seed of the golden cases: between calibration and examination."""
_GOLDEN_CASES = 3
INTENDED_USE = (
    f"{RESEARCH_USE_STATEMENT} A demonstration: it knows synthetic lesions painted on synthetic and a few real "
    "backgrounds, and nothing else."
)
_LICENCE = "MIT"
_NOT_TUNED = frozenset({QuestionKind.CLASSIFICATION, QuestionKind.CAPTIONING})
"""What no threshold is chosen for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What the examination found."""

    model: Report
    classical: Report
    strangers_known: float
    strangers_new: float


def prepared(checkpoint: Path, directory: Path) -> None:
    """Write a checkpoint in half precision with everything that its users look for."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, local_files_only=True, dtype=torch.float16)
    model.save_pretrained(directory)
    shutil.copyfile(checkpoint / "tokenizer.json", directory / "tokenizer.json")
    head = load_file(checkpoint / HEAD_FILE)
    auxiliary.write(directory / auxiliary.FILE_NAME, LABELS, [head[name] for name in _HEAD])
    processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": PATCH, "merge_size": MERGE}
    files = {
        "preprocessor_config.json": {**processor, "temporal_patch_size": 2},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
        },
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (directory / "chat_template.jinja").write_text(_CHAT_TEMPLATE, encoding="utf-8")


_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


_HEAD = ("presence.0.weight", "presence.0.bias", "presence.2.weight", "presence.2.bias")
"""What of the auxiliary head is kept: which findings a visual token sees. Its boxes are the language model's to say."""


def base_calibration() -> Calibration:
    """Return what is known before anything is measured."""
    planes = {anatomy.value: tuple(plane.value for plane, _ in known) for anatomy, known in PLANES.items()}
    return Calibration(scope_threshold=0.0, planes=MappingProxyType(planes))


def about(card: str, version: str) -> About:
    """Return what the bundle says of itself."""
    return About(
        model_id=EMBEDDED,
        version=version,
        licence=_LICENCE,
        intended_use=INTENDED_USE,
        labels=(*LABELS, *ARTEFACTS.values()),
        question_set_ids=tuple(questions.set_id for questions in STANDARD.values()),
        card=card,
    )


def calibrated(directory: Path, volumes: int) -> tuple[Calibration, str]:
    """Fit the calibration of a bundle, and say how well its odds rank: in words, seen by the head, and together."""
    bundle = load(directory)
    engine, speaker = load_engine(bundle, Device())
    card = card_of(bundle)
    cases = list(heldout.volumes(volumes, seed=0, first_seed=heldout.CALIBRATION_SEED))
    recorded = RecordedSpeaker(speaker, unsaid=_NOT_TUNED)
    try:
        evidence = gather(recorded, card.profile, cases, LABELS)
        fitted = replace(fit(evidence, base=base_calibration()), snaps=True)
        fitted = tuned(recorded, replace(card, calibration=fitted), cases, LABELS)
    finally:
        engine.close()
    lines = [
        f"frames seen from log-odds {fitted.frame_threshold}, boxes believed from {fitted.box_threshold}, "
        f"{'drawn' if fitted.snaps else 'not drawn'} onto what stands out, organ recognised from "
        f"{fitted.scope_threshold}"
    ]
    for label in evidence.labels:
        points = evidence.of(label)
        truth = [point.truth for point in points]
        odds = (
            [point.said for point in points],
            [point.seen or 0.0 for point in points],
            [fitted.on_volume([label], point.said, point.seen) for point in points],
        )
        said, seen, both = (auroc(values, truth) for values in odds)
        lines.append(f"{label}: AUROC {said:.3f} said, {seen:.3f} seen, {both:.3f} together, {sum(truth)} volumes")
    return fitted, "\n".join(lines)


def examined(engine: GroundedEngine, volumes: int, seed: int) -> Examined:
    """Sit the examination, the classical engine beside the model on the same volumes."""
    cases = list(heldout.volumes(volumes, seed=seed))
    samples = {
        name: examine(one, cases, LABELS, progress=_progress(name, volumes))
        for name, one in ((EMBEDDED, engine), ("classical", ClassicalEngine()))
    }
    known, new = (
        [abstains(engine, case.frames) for case in heldout.strangers(48, seed=seed, held_out=held_out)]
        for held_out in (False, True)
    )
    return Examined(
        model=report(EMBEDDED, samples[EMBEDDED], LABELS),
        classical=report("classical", samples["classical"], LABELS),
        strangers_known=sum(known) / len(known),
        strangers_new=sum(new) / len(new),
    )


def _progress(name: str, volumes: int) -> Callable[[Sample], None]:
    done: list[Sample] = []

    def tell(sample: Sample) -> None:
        done.append(sample)
        if sys.stderr.isatty() or len(done) % 20 == 0:
            print(f"{name}: {len(done)} of {volumes} volumes", file=sys.stderr, flush=True)

    return tell


def card_text(result: Examined, logs: Sequence[Path]) -> str:
    """Return the model card."""
    return _CARD.format(
        use=INTENDED_USE,
        labels="\n".join(f"- {label}" for label in LABELS),
        model=as_markdown(result.model),
        classical=as_markdown(result.classical),
        known=f"{result.strangers_known:.1%}",
        new=f"{result.strangers_new:.1%}",
        logs=", ".join(path.name for path in logs) or "none",
    )


_CARD = """# sgmri-embedded

{use}

A Qwen3-VL of nine million parameters (transformers' own class; vision tower as ONNX), trained from scratch by
`scripts/train-embedded` for the demonstration and for tests. It has seen synthetic phantoms, and synthetic lesions
painted on phantoms of the demonstration and on a few real series. **It has never been told about a real lesion, and
nothing here says how it would read a patient.**

## What it answers

Axial heads and coronal or sagittal knees; everything else is "not assessed". Findings that it was taught:

{labels}

Other questions of the catalogue are "outside the engine's scope". It also says when an artefact limits the reading.

## Examination

On synthetic volumes of seeds that were never trained on, half of them normal, 95 % intervals over volumes. A question
that is not answered counts as wrong. The classical engine beside it knows no names of findings, so most of its
answers are "not assessed".

{model}
{classical}
Volumes that are no head and no knee, on which it says nothing: {known} of kinds that it met in training, {new} of kinds
that it never met.

## Training

Logs (in `benchmark/training/logs`): {logs}. The logs say on which device each stage ran;
a GPU's arithmetic is not repeatable bit for bit, so the same seeds give a model like this one, not this one.
"""


def main() -> None:
    """Make the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", default="1.0")
    parser.add_argument("--volumes", type=int, default=200, help="of the examination")
    parser.add_argument("--calibration", type=int, default=200, help="volumes that the calibration is fitted on")
    parser.add_argument("--seed", type=int, default=0, help="another examination")
    parser.add_argument("--log", type=Path, action="append", default=[], help="of the training, named in the card")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"--out: expected a directory that does not exist yet, found {arguments.out}")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        prepared(arguments.checkpoint, place / "checkpoint")
        trial = make_bundle(
            place / "checkpoint",
            place / "trial",
            about("trial\n", "0"),
            PROFILE,
            extra={calibration.FILE_NAME: calibration.to_json(base_calibration())},
        )
        fitted, ranked = calibrated(trial.directory, arguments.calibration)
        print(f"On {arguments.calibration} calibration volumes: {ranked}", flush=True)
        golden = [
            case.frames
            for case in heldout.volumes(12, seed=0, first_seed=GOLDEN_SEED, backgrounds=False)
            if case.slices <= 16
        ][:_GOLDEN_CASES]
        files = {calibration.FILE_NAME: calibration.to_json(fitted)}
        trial = make_bundle(place / "checkpoint", place / "calibrated", about("trial\n", "0"), PROFILE, extra=files)
        engine = GroundedEngine(load_engine(trial, Device())[1], card_of(trial))
        result = examined(engine, arguments.volumes, arguments.seed)
        engine.close()
        text = as_json(
            [result.model, result.classical],
            seed=arguments.seed,
            first_seed=heldout.FIRST_SEED,
            strangers_known=result.strangers_known,
            strangers_new=result.strangers_new,
            any_label=ANY,
        )
        files["eval.json"] = text
        bundle = make_bundle(
            place / "checkpoint",
            arguments.out,
            about(card_text(result, arguments.log), arguments.version),
            PROFILE,
            golden_frames=golden,
            extra=files,
        )
    open_engine(bundle.directory, Device()).close()
    print(as_markdown(result.model))
    print(f"{bundle.digest}  {bundle.size_bytes / 1e6:.1f} MB  {bundle.directory}")


if __name__ == "__main__":
    main()
