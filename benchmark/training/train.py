"""Train the embedded model: first the tower with its auxiliary head, then the language model on what the tower sees.

    python -m benchmark.training.train --out DIR [--device cuda] [--minutes N] [--seed N] [--backgrounds FILE]

The schedule follows the clock: of the time given, two fifths go to seeing and three to speaking, of which the last
part with the tower learning again. The log (one JSON object a line) and the checkpoint are written to
DIR; :mod:`benchmark.training.seal` makes a bundle of it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import Qwen3VLForConditionalGeneration

from benchmark.training import backgrounds, model, vocabulary
from benchmark.training.examples import LABELS, PROFILE, Composer
from benchmark.training.losses import NARROW
from benchmark.training.phantoms import Maker, Mix
from benchmark.training.stages import Schedule, School, learn_to_see, learn_to_speak

HEAD_FILE = "head.safetensors"
_DEFAULT = Schedule(seconds=0.0)


def enrol(arguments: argparse.Namespace) -> School:
    """Make everything that training needs."""
    device = torch.device(arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    # A checkpoint's embeddings belong to its own tokens
    own = None if arguments.resume is None else arguments.resume / "tokenizer.json"
    tokenizer = vocabulary.build(PROFILE) if own is None else Tokenizer.from_file(str(own))
    fixed = list(backgrounds.load(arguments.backgrounds)) if arguments.backgrounds else []
    seeds = [10_000 + arguments.seed * 1_000 + number for number in range(arguments.phantoms)]
    # Before anything touches a GPU: the painters are forked
    fixed += backgrounds.painted(seeds, processes=arguments.processes) if seeds else ()
    student = model.build(tokenizer, seed=arguments.seed)
    nn.Module.to(student, device)
    return School(
        device=device,
        schedule=Schedule(
            seconds=arguments.minutes * 60,
            seeing=arguments.seeing,
            thaw=arguments.thaw,
            rate=arguments.rate,
            slow=arguments.slow,
            volumes_a_step=arguments.volumes_a_step,
            whole_every=arguments.whole_every,
            frames_a_volume=arguments.frames_a_volume,
            frames_a_step=arguments.frames_a_step,
            reuse=arguments.reuse,
            short=arguments.short,
            average=arguments.average,
            copying=arguments.copying,
            # Boxes that are already learnt are not blurred again
            spread=_DEFAULT.spread if arguments.resume is None else NARROW,
        ),
        maker=Maker(
            seed=arguments.seed,
            device=device,
            backgrounds=fixed,
            mix=Mix(normal=arguments.normal, stranger=arguments.strange, favour=dict(arguments.favour)),
        ),
        composer=Composer(tokenizer=tokenizer, profile=PROFILE, rng=np.random.default_rng(arguments.seed + 1)),
        student=student,
        tower=model.LiveTower(student).to(device),
        head=model.AuxiliaryHead(len(LABELS)).to(device),
        log_file=arguments.out / "train.jsonl",
    )


def write(school: School, trained: nn.Module, out: Path) -> None:
    """Write the checkpoint in float32, and the auxiliary head, so that training can go on from it."""
    assert isinstance(trained, Qwen3VLForConditionalGeneration)
    out.mkdir(parents=True, exist_ok=True)
    trained.save_pretrained(out)
    save_file(school.head.state_dict(), out / HEAD_FILE)
    school.composer.tokenizer.save(str(out / "tokenizer.json"))


def resume(school: School, checkpoint: Path) -> None:
    """Take weights and auxiliary head of an earlier training."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, local_files_only=True, dtype=torch.float32)
    school.student.load_state_dict(model.state_dict())
    school.head.load_state_dict(load_file(checkpoint / HEAD_FILE))


def favoured(text: str) -> tuple[str, float]:
    """Read ``LABEL=TIMES``."""
    label, _, times = text.rpartition("=")
    if label not in LABELS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(LABELS)}, found {label!r}")
    return label, float(times)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--resume", type=Path, help="checkpoint of an earlier training to go on from")
    parser.add_argument("--thaw", type=float, default=_DEFAULT.thaw, help="part of it before the tower learns again")
    parser.add_argument("--seeing", type=float, default=_DEFAULT.seeing, help="part of the time for the first stage")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=_DEFAULT.rate)
    parser.add_argument("--frames-a-step", type=int, default=_DEFAULT.frames_a_step)
    parser.add_argument("--slow", type=float, default=_DEFAULT.slow)
    parser.add_argument("--volumes-a-step", type=int, default=_DEFAULT.volumes_a_step)
    parser.add_argument("--whole-every", type=int, default=_DEFAULT.whole_every)
    parser.add_argument("--frames-a-volume", type=int, default=_DEFAULT.frames_a_volume)
    parser.add_argument("--normal", type=float, default=Mix().normal, help="part of the volumes without a finding")
    parser.add_argument(
        "--strange", type=float, default=Mix().stranger, help="part of the batches that are no head and no knee"
    )
    parser.add_argument(
        "--favour", type=favoured, nargs="*", default=[], metavar="LABEL=TIMES", help="plant a label more often"
    )
    parser.add_argument("--reuse", type=int, default=_DEFAULT.reuse)
    parser.add_argument("--short", type=float, default=_DEFAULT.short, help="how much short volumes are preferred")
    parser.add_argument("--average", type=float, default=_DEFAULT.average, help="decay of the averaged weights")
    parser.add_argument(
        "--copying", type=float, default=_DEFAULT.copying, help="part of the steps with summaries of made-up findings"
    )
    parser.add_argument("--phantoms", type=int, default=24, help="painted backgrounds of conformance")
    parser.add_argument("--processes", type=int, default=2, help="that paint them")
    parser.add_argument("--backgrounds", type=Path, help="real ones, of benchmark.training.collect")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    school = enrol(arguments)
    school.say(
        stage="begin",
        device=torch.cuda.get_device_name() if school.device.type == "cuda" else "cpu",
        torch=torch.__version__,
        parameters=sum(p.numel() for p in school.student.parameters()),
        backgrounds=len(school.maker.backgrounds),
        arguments={name: str(value) for name, value in vars(arguments).items()},
    )
    if arguments.resume is not None:
        resume(school, arguments.resume)
    school.begun = time.monotonic()
    if arguments.seeing > 0:
        learn_to_see(school)
        write(school, school.student, arguments.out)
    trained = learn_to_speak(school, lambda average: write(school, average, arguments.out / "latest"))
    school.say(stage="end")
    write(school, trained, arguments.out)


if __name__ == "__main__":
    main()
