"""Train the embedded model: first the tower with its auxiliary head, then the language model on what the tower sees.

    python -m benchmark.training.train --out DIR [--device cuda] [--minutes N] [--seed N] [--backgrounds FILE]

The schedule follows the clock: of the time given, two fifths go to seeing and three to speaking, of which the last
part with the tower learning again. The log (one JSON object a line) and the checkpoint are written to
DIR; :mod:`benchmark.training.seal` makes a bundle of it.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from benchmark.training import backgrounds, model, vocabulary
from benchmark.training.examples import LABELS, Composer
from benchmark.training.grids import draw_shape
from benchmark.training.losses import NARROW, SpeechLoss, cell_targets, sight_loss, speech_loss
from benchmark.training.optimisers import Optimisers
from benchmark.training.phantoms import Batch, Maker
from benchmark.training.scanner import window
from benchmark.training.vocabulary import NUMBERS
from sgmri.volume import Anatomy
from worker.engine.profiles import PROFILES

HEAD_FILE = "head.safetensors"
FRAME_COUNTS = (8, 10, 12, 16, 20, 22, 24, 28, 32, 40, 48)
_FRAME_SHARES = (0.08, 0.08, 0.1, 0.14, 0.14, 0.12, 0.14, 0.08, 0.06, 0.03, 0.03)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long, how fast, how much at a time.

    Parameters
    ----------
    seconds
        Of training, both stages.
    seeing
        Part of it for the tower alone.
    thaw
        Part of the second stage after which the tower learns again.
    rate
        Highest learning rate.
    slow
        Part of the rate at which the tower learns in the second stage.
    frames_a_step, volumes_a_step
        Frames of a batch of volumes, and how many of these are asked about as a whole.
    reuse
        How often the same painted volumes are shown, each time windowed and turned anew.
    """

    seconds: float
    seeing: float = 0.42
    thaw: float = 0.6
    rate: float = 2e-3
    slow: float = 0.25
    frames_a_step: int = 480
    volumes_a_step: int = 8
    reuse: int = 4


_DEFAULT = Schedule(seconds=0.0)
_BLOCKS = ("model.model.visual.blocks", "model.model.visual.patch_embed")
"""What is frozen while the language model learns its first words."""


@dataclass(slots=True, kw_only=True, eq=False)
class School:
    """Everything that training needs, and the log."""

    device: torch.device
    schedule: Schedule
    maker: Maker
    composer: Composer
    student: Qwen3VLForConditionalGeneration
    tower: model.LiveTower
    head: model.AuxiliaryHead
    log_file: Path
    begun: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def say(self, **figures: object) -> None:
        """Write one line of the log."""
        line = json.dumps({"s": round(self.elapsed(), 1), **figures})
        print(line, flush=True)
        with self.log_file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def batches(self, until: float) -> Iterator[tuple[Batch, Tensor]]:
        """Yield batches with their grey frames, float32 (volumes, frames, rows, columns), until so many seconds."""
        rng = self.maker.rng
        while self.elapsed() < until:
            anatomy = Anatomy.KNEE if rng.random() < 0.3 else Anatomy.BRAIN
            frames = int(rng.choice(FRAME_COUNTS, p=_FRAME_SHARES))
            shape = draw_shape(rng, anatomy=anatomy, frames=frames)
            with torch.no_grad():
                batch = self.maker.batch(shape, max(1, self.schedule.frames_a_step // frames))
            for turn in range(self.schedule.reuse):
                shown = batch if turn == 0 else mirrored(batch)
                with torch.no_grad():
                    grey = window(shown.voxels, self.maker.dice)
                yield shown, grey


def mirrored(batch: Batch) -> Batch:
    """Return the batch with left and right exchanged, boxes too."""
    columns = batch.shape.columns
    truth = [
        [
            type(planted)(
                label=planted.label,
                boxes={frame: (columns - x1, y0, columns - x0, y1) for frame, (x0, y0, x1, y1) in planted.boxes.items()},
            )
            for planted in volume
        ]
        for volume in batch.truth
    ]
    return Batch(
        shape=batch.shape,
        grid=batch.grid,
        voxels=batch.voxels.flip(3),
        truth=truth,
        stranger=batch.stranger,
        is_spoilt=batch.is_spoilt,
        unknown=batch.unknown,
    )


def picked_frames(batch: Batch, index: int, count: int, rng: np.random.Generator) -> list[int]:
    """Return some frames of a volume, those with findings first."""
    seen = sorted({frame for planted in batch.truth[index] for frame in planted.boxes})
    first = rng.permutation(seen)[: max(1, count - 1)].tolist() if seen else []
    others = [frame for frame in rng.permutation(batch.shape.frames).tolist() if frame not in first]
    return [int(frame) for frame in [*first, *others][:count]]


def numbers_of(student: Qwen3VLForConditionalGeneration) -> Tensor:
    """Return the embeddings of the numbers, (1001, width)."""
    weight: Tensor = student.model.language_model.embed_tokens.weight
    return weight[:NUMBERS]


def learn_to_see(school: School) -> None:
    """First stage: the tower and its auxiliary head on half of the frames."""
    until = school.schedule.seconds * school.schedule.seeing
    optimisers = Optimisers({**_named(school.tower.tower, "tower"), **_named(school.head, "head")}, school.schedule.rate)
    for step, (batch, grey) in enumerate(school.batches(until)):
        part = school.elapsed() / until
        optimisers.set_part(part)
        loss, figures = _sight(school, batch, grey, spread=max(NARROW, 60 * 0.05 ** (part / 0.6)))
        optimisers.step(loss)
        if step % 25 == 0:
            school.say(stage="see", step=step, **_rounded(figures))


def _sight(
    school: School, batch: Batch, grey: Tensor, *, spread: float = NARROW
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of the auxiliary head on frames picked from a batch, findings first."""
    rng, frames = school.maker.rng, batch.shape.frames
    picks = [(v, f) for v in range(len(grey)) for f in picked_frames(batch, v, max(2, round(frames * 0.6)), rng)]
    volumes, indices = (list(part) for part in zip(*picks, strict=True))
    with _autocast(school.device):
        features = school.tower.see(grey[volumes, indices])
    return _read_off(school, batch, picks, features, spread)


def _read_off(
    school: School, batch: Batch, picks: Sequence[tuple[int, int]], features: tuple[Tensor, ...], spread: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of the auxiliary head on the features of some (volume, frame)."""
    targets = cell_targets(
        [(batch.truth[v], f) for v, f in picks], batch.shape.rows, batch.shape.columns, batch.unknown, school.device
    )
    with _autocast(school.device):
        tokens = torch.cat(features, dim=-1)
        labels = school.head.presence(tokens)
        edges = school.head.edges(tokens[targets.cells[:, 0], targets.cells[:, 1]], numbers_of(school.student))
    presence, edge = sight_loss(labels, edges, targets, spread)
    with torch.no_grad():
        said = edges.float().argmax(dim=-1)
        off = (said - targets.edges).abs().median() if len(said) else edge
        seen = labels > 0
        right = (seen & (targets.presence > 0)).sum()
    figures = {
        "presence": presence,
        "edge": edge,
        "edge_off": off,
        "precision": right / seen.sum().clamp_min(1),
        "recall": right / targets.presence.sum().clamp_min(1),
    }
    return presence + 0.5 * edge, figures


def learn_to_speak(school: School) -> nn.Module:
    """Second stage: the language model on the tower's features; return the averaged weights."""
    schedule, begun = school.schedule, school.elapsed()
    until = schedule.seconds
    named = {**_named(school.student, "model"), **_named(school.head, "head")}
    blocks = [named[name] for name in named if name.startswith(_BLOCKS)]
    optimisers = Optimisers(named, schedule.rate, slow=_BLOCKS, share=schedule.slow)
    average = torch.optim.swa_utils.AveragedModel(
        school.student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    for step, (batch, grey) in enumerate(school.batches(until)):
        part = (school.elapsed() - begun) / (until - begun)
        thawed = part > schedule.thaw
        for parameter in blocks:
            parameter.requires_grad_(thawed)
        optimisers.set_part(part, thawed=thawed)
        loss, figures = _lesson(school, batch, grey)
        optimisers.step(loss)
        average.update_parameters(school.student)
        if step % 25 == 0:
            school.say(stage="speak", step=step, frames=batch.shape.frames, **_rounded(figures))
    inner: nn.Module = average.module
    return inner


def _lesson(
    school: School, batch: Batch, grey: Tensor, frames_a_volume: int = 3
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of everything that is asked about a batch: whole volumes, single frames, visual tokens."""
    composer, rng = school.composer, school.maker.rng
    count, frames = grey.shape[:2]
    whole = min(count, school.schedule.volumes_a_step)
    alone: list[tuple[int, int]] = []
    if batch.stranger is None:
        alone = [(v, f) for v in range(count) for f in picked_frames(batch, v, frames_a_volume, rng)]
    # The frames of whole volumes first, in order; then the others that are asked about
    picks = [(v, f) for v in range(whole) for f in range(frames)]
    picks += [pick for pick in alone if pick[0] >= whole]
    place = {pick: number for number, pick in enumerate(picks)}
    volumes, indices = (list(part) for part in zip(*picks, strict=True))
    start = composer.prefix(batch.shape, frames)
    asked = [composer.about_volume(batch, index) for index in range(whole)]
    packed = composer.pack(start, asked).to(school.device)
    with _autocast(school.device):
        features = school.tower.see(grey[volumes, indices])
        ours = tuple(level[: whole * frames].flatten(0, 1) for level in features)
        loss = speech_loss(model.learnt(school.student, packed, ours), packed)
        total, figures = loss.total, _prefixed("volume", loss)
        if alone:
            single = composer.pack(
                composer.prefix(batch.shape, 1), [composer.about_frame(batch, v, f) for v, f in alone]
            ).to(school.device)
            places = torch.tensor([place[pick] for pick in alone], device=school.device)
            theirs = tuple(level[places].flatten(0, 1) for level in features)
            loss = speech_loss(model.learnt(school.student, single, theirs), single)
            total, figures = total + loss.total, figures | _prefixed("frame", loss)
    sight, seen = _read_off(school, batch, picks, features, NARROW)
    return total + 0.4 * sight, figures | seen


def _prefixed(prefix: str, loss: SpeechLoss) -> dict[str, Tensor]:
    figures = {"verdict": loss.verdict, "right": loss.right, "words": loss.words}
    if prefix == "frame":
        figures |= {"edge": loss.edge, "edge_off": loss.edge_error}
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def _named(module: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    return {f"{prefix}.{name}": parameter for name, parameter in module.named_parameters()}


def _rounded(figures: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: round(float(value.detach()), 4) for name, value in figures.items()}


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16)


def enrol(arguments: argparse.Namespace) -> School:
    """Make everything that training needs."""
    device = torch.device(arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    profile = PROFILES["sgmri"]
    tokenizer = vocabulary.build(profile)
    fixed = list(backgrounds.load(arguments.backgrounds)) if arguments.backgrounds else []
    seeds = [10_000 + arguments.seed * 1_000 + number for number in range(arguments.phantoms)]
    # Before anything touches a GPU: the painters are forked
    fixed += backgrounds.painted(seeds, processes=arguments.processes) if seeds else ()
    student = model.build(tokenizer, seed=arguments.seed).to(device)
    return School(
        device=device,
        schedule=Schedule(
            seconds=arguments.minutes * 60,
            seeing=arguments.seeing,
            thaw=arguments.thaw,
            rate=arguments.rate,
            slow=arguments.slow,
            volumes_a_step=arguments.volumes_a_step,
            frames_a_step=arguments.frames_a_step,
            reuse=arguments.reuse,
        ),
        maker=Maker(seed=arguments.seed, device=device, backgrounds=fixed),
        composer=Composer(tokenizer=tokenizer, profile=profile, rng=np.random.default_rng(arguments.seed + 1)),
        student=student,
        tower=model.LiveTower(student).to(device),
        head=model.AuxiliaryHead(len(LABELS)).to(device),
        log_file=arguments.out / "train.jsonl",
    )


def write(school: School, trained: nn.Module, out: Path) -> None:
    """Write the checkpoint in float32, and the auxiliary head, so that training can go on from it."""
    assert isinstance(trained, Qwen3VLForConditionalGeneration)
    trained.save_pretrained(out)
    save_file(school.head.state_dict(), out / HEAD_FILE)
    school.composer.tokenizer.save(str(out / "tokenizer.json"))


def resume(school: School, checkpoint: Path) -> None:
    """Take weights and auxiliary head of an earlier training."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, local_files_only=True, dtype=torch.float32)
    school.student.load_state_dict(model.state_dict())
    school.head.load_state_dict(load_file(checkpoint / HEAD_FILE))


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
    parser.add_argument("--reuse", type=int, default=_DEFAULT.reuse)
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
    trained = learn_to_speak(school)
    school.say(stage="end")
    write(school, trained, arguments.out)


if __name__ == "__main__":
    main()
