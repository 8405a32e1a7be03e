"""The two stages of training: the tower learns to see, then the language model learns to speak of what it sees."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from benchmark.training import model
from benchmark.training.examples import Composer
from benchmark.training.grids import draw_shape
from benchmark.training.losses import NARROW, SpeechLoss, cell_targets, sight_loss, speech_loss
from benchmark.training.optimisers import Optimisers
from benchmark.training.phantoms import Batch, Maker
from benchmark.training.scanner import window
from benchmark.training.vocabulary import NUMBERS
from sgmri.volume import Anatomy

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
    whole_every, frames_a_volume
        Every how many steps volumes are asked about as a whole, and how many frames of each are asked about alone.
    reuse
        How often the same painted volumes are shown, each time windowed and turned anew.
    short
        How much short volumes are preferred; 0: not at all, 1: in inverse proportion to their frames.
    average
        Decay of the averaged weights, a step.
    copying
        Part of the steps whose frames are also asked for summaries of findings that they are told.
    spread
        How wide the soft target around a box's edge is at first, in thousandths of a frame.
    """

    seconds: float
    seeing: float = 0.42
    thaw: float = 0.6
    rate: float = 2e-3
    slow: float = 0.25
    frames_a_step: int = 480
    volumes_a_step: int = 8
    whole_every: int = 1
    frames_a_volume: int = 3
    reuse: int = 4
    short: float = 0.0
    average: float = 0.99
    copying: float = 0.25
    spread: float = 60.0


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
            shares = np.array(_FRAME_SHARES) / np.array(FRAME_COUNTS) ** self.schedule.short
            frames = int(rng.choice(FRAME_COUNTS, p=shares / shares.sum()))
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
                boxes={
                    frame: (columns - x1, y0, columns - x0, y1) for frame, (x0, y0, x1, y1) in planted.boxes.items()
                },
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
    optimisers = Optimisers(
        {**_named(school.tower.tower, "tower"), **_named(school.head, "head")}, school.schedule.rate
    )
    for step, (batch, grey) in enumerate(school.batches(until)):
        part = school.elapsed() / until
        optimisers.set_part(part)
        loss, figures = _sight(school, batch, grey, spread=max(NARROW, school.schedule.spread * 0.05 ** (part / 0.6)))
        optimisers.step(loss)
        if step % 25 == 0:
            school.say(stage="see", step=step, **_rounded(figures))


def _sight(school: School, batch: Batch, grey: Tensor, *, spread: float = NARROW) -> tuple[Tensor, dict[str, Tensor]]:
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


def learn_to_speak(school: School, keep: Callable[[nn.Module], None]) -> nn.Module:
    """Second stage: the language model on the tower's features; return the averaged weights.

    Parameters
    ----------
    school
        Everything that training needs.
    keep
        Given the averaged weights every 500 steps.
    """
    schedule, begun = school.schedule, school.elapsed()
    until = schedule.seconds
    named = {**_named(school.student, "model"), **_named(school.head, "head")}
    blocks = [named[name] for name in named if name.startswith(_BLOCKS)]
    optimisers = Optimisers(named, schedule.rate, slow=_BLOCKS, share=schedule.slow)
    averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(schedule.average)  # type: ignore[no-untyped-call]  # torch
    average = torch.optim.swa_utils.AveragedModel(school.student, multi_avg_fn=averaging)
    for step, (batch, grey) in enumerate(school.batches(until)):
        part = (school.elapsed() - begun) / (until - begun)
        thawed = part > schedule.thaw
        for parameter in blocks:
            parameter.requires_grad_(thawed)
        optimisers.set_part(part, thawed=thawed)
        is_whole = step % schedule.whole_every == 0 or batch.stranger is not None
        loss, figures = _lesson(school, batch, grey, volumes=schedule.volumes_a_step if is_whole else 0)
        optimisers.step(loss)
        average.update_parameters(school.student)
        if step % 500 == 499:
            keep(average.module)
        if step % 25 == 0:
            school.say(stage="speak", step=step, frames=batch.shape.frames, **_rounded(figures))
    inner: nn.Module = average.module
    return inner


def _lesson(school: School, batch: Batch, grey: Tensor, *, volumes: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of everything that is asked about a batch: whole volumes, single frames, visual tokens."""
    composer, rng, schedule = school.composer, school.maker.rng, school.schedule
    count, frames = grey.shape[:2]
    whole, frames_a_volume = min(count, volumes), schedule.frames_a_volume
    alone: list[tuple[int, int]] = []
    if batch.stranger is None:
        alone = [(v, f) for v in range(count) for f in picked_frames(batch, v, frames_a_volume, rng)]
    # The frames of whole volumes first, in order; then the others that are asked about
    picks = [(v, f) for v in range(whole) for f in range(frames)]
    picks += [pick for pick in alone if pick[0] >= whole]
    place = {pick: number for number, pick in enumerate(picks)}
    volume_of, frame_of = (list(part) for part in zip(*picks, strict=True))
    total, figures = torch.zeros((), device=school.device), {}
    with _autocast(school.device):
        features = school.tower.see(grey[volume_of, frame_of])
        if whole:
            start = composer.prefix(batch.shape, frames)
            asked = [composer.about_volume(batch, index) for index in range(whole)]
            packed = composer.pack(start, asked).to(school.device)
            ours = tuple(level[: whole * frames].flatten(0, 1) for level in features)
            loss = speech_loss(model.learnt(school.student, packed, ours), packed)
            total, figures = loss.total, _prefixed("volume", loss)
        if alone:
            questions = [composer.about_frame(batch, v, f) for v, f in alone]
            if rng.random() < schedule.copying:
                questions = [asked + composer.about_findings(batch.shape.anatomy, frames) for asked in questions]
            single = composer.pack(composer.prefix(batch.shape, 1), questions).to(school.device)
            places = torch.tensor([place[pick] for pick in alone], device=school.device)
            theirs = tuple(level[places].flatten(0, 1) for level in features)
            loss = speech_loss(model.learnt(school.student, single, theirs), single)
            total, figures = total + loss.total, figures | _prefixed("frame", loss)
    sight, seen = _read_off(school, batch, picks, features, NARROW)
    return total + 0.4 * sight, figures | seen


def _prefixed(prefix: str, loss: SpeechLoss) -> dict[str, Tensor]:
    figures = {"verdict": loss.verdict, "right": loss.right, "words": loss.words, "copied": loss.copied}
    if prefix == "frame":
        figures |= {"edge": loss.edge, "edge_off": loss.edge_error}
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def _named(module: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    return {f"{prefix}.{name}": parameter for name, parameter in module.named_parameters()}


def _rounded(figures: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: round(float(value.detach()), 4) for name, value in figures.items()}


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16)
