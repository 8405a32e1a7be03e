"""What the two stages minimise: findings on visual tokens, then the words, verdicts and numbers of the answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.training.examples import LABELS, Part
from benchmark.training.grids import BLOCK_PX
from benchmark.training.lesions import Planted
from benchmark.training.model import Sequences
from benchmark.training.vocabulary import NUMBERS
from worker.engine.auxiliary import FILLED

NARROW = 3.0
"""Deviation, in thousandths of a frame, of the soft target around a number: neighbours are nearly right."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellTargets:
    """What the auxiliary head is to read off the visual tokens.

    Parameters
    ----------
    presence
        float32 (frames, tokens, labels): 1 where the finding is to be seen.
    known
        float32 (labels,): 0 for a label of which nothing is known.
    cells
        int64 (boxes, 2): frame and token that are to say a box.
    edges
        float32 (boxes, 4): x0, y0, x1, y1 in thousandths of the frame.
    """

    presence: Tensor
    known: Tensor
    cells: Tensor
    edges: Tensor


def cell_targets(
    picked: Sequence[tuple[Sequence[Planted], int]],
    rows: int,
    columns: int,
    unknown: Sequence[str],
    device: torch.device,
) -> CellTargets:
    """Return the targets for frames.

    Parameters
    ----------
    picked
        For each frame: what was planted in its volume, and its frame index.
    rows, columns
        Pixels of a frame.
    unknown
        Labels of which nothing is known.
    device
        Where the targets are needed.
    """
    down, across = rows // BLOCK_PX, columns // BLOCK_PX
    entries = [
        (frame, LABELS.index(planted.label), *planted.boxes[index])
        for frame, (volume, index) in enumerate(picked)
        for planted in volume
        if index in planted.boxes
    ]
    presence = torch.zeros(len(picked), down * across, len(LABELS), device=device)
    known = torch.tensor([float(label not in unknown) for label in LABELS], device=device)
    if not entries:
        empty = torch.zeros(0, 2, dtype=torch.long, device=device)
        return CellTargets(presence=presence, known=known, cells=empty, edges=torch.zeros(0, 4, device=device))
    table = torch.tensor(entries, device=device, dtype=torch.float32)
    frame, label, boxes = table[:, 0].long(), table[:, 1].long(), table[:, 2:]
    top = torch.arange(down, device=device) * BLOCK_PX
    left = torch.arange(across, device=device) * BLOCK_PX
    high = (boxes[:, 3:4].minimum(top + BLOCK_PX) - boxes[:, 1:2].maximum(top)).clamp_min(0)
    wide = (boxes[:, 2:3].minimum(left + BLOCK_PX) - boxes[:, 0:1].maximum(left)).clamp_min(0)
    shared = (high[:, :, None] * wide[:, None, :]).flatten(1)
    area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp_max(BLOCK_PX**2)
    seen = shared >= FILLED * area[:, None]
    box, cell = seen.nonzero(as_tuple=True)
    presence[frame[box], cell, label[box]] = 1.0
    # A token that sees two findings says the box that fills it more
    place = frame[box] * down * across + cell
    best = torch.zeros(len(picked) * down * across, device=device)
    best = best.scatter_reduce(0, place, shared[box, cell], reduce="amax")
    wins = shared[box, cell] >= best[place] - 1e-3
    unit = torch.tensor([1000 / columns, 1000 / rows] * 2, device=device)
    return CellTargets(
        presence=presence,
        known=known,
        cells=torch.stack([frame[box], cell], dim=1)[wins],
        edges=boxes[box[wins]] * unit,
    )


def sight_loss(labels: Tensor, edges: Tensor, targets: CellTargets, spread: float = NARROW) -> tuple[Tensor, Tensor]:
    """Return the loss of the auxiliary head: labels on every token, edges on those that see a finding.

    Parameters
    ----------
    labels
        (frames, tokens, labels) logits.
    edges
        (boxes, 4, numbers) logits at ``targets.cells``.
    spread
        See :func:`soft_number_loss`.
    """
    raw = functional.binary_cross_entropy_with_logits(labels.float(), targets.presence, reduction="none")
    chance = torch.exp(-raw)
    focal = ((1 - chance) ** 1.5 * raw * (1 + 5 * targets.presence) * targets.known).mean() * 20
    if not len(targets.cells):
        return focal, focal.new_zeros(())
    return focal, soft_number_loss(edges.flatten(0, 1).float(), targets.edges.flatten(), spread).mean()


def soft_number_loss(logits: Tensor, values: Tensor, spread: float = NARROW) -> Tensor:
    """Return the cross-entropy against a bell around each value.

    Parameters
    ----------
    logits
        float32 (numbers to say, at least 1001): the token of a number is the number; to say anything else is wrong.
    values
        float32 (numbers to say,), 0 to 1000.
    spread
        Deviation of the bell; wide in the beginning, so that there is a way towards the value from anywhere.
    """
    numbers = torch.arange(NUMBERS, device=logits.device, dtype=torch.float32)
    bell = torch.exp(-(((numbers - values[:, None]) / spread) ** 2) / 2)
    bell = bell / bell.sum(dim=1, keepdim=True)
    return -(bell * functional.log_softmax(logits, dim=1)[:, :NUMBERS]).sum(dim=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpeechLoss:
    """The losses of the answers, and how often verdicts were right.

    Parameters
    ----------
    verdict, edge, words, copied
        Mean losses by :class:`Part`; edges against soft targets.
    right
        Part of the verdicts whose most likely token was right.
    edge_error
        Mean distance of the most likely number, in thousandths of a frame.
    """

    verdict: Tensor
    edge: Tensor
    words: Tensor
    copied: Tensor
    right: Tensor
    edge_error: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.verdict + 0.5 * self.edge + 0.3 * (self.words + self.copied)


def speech_loss(logits: Tensor, sequences: Sequences) -> SpeechLoss:
    """Return the losses of answers.

    Parameters
    ----------
    logits
        float32 (targets, vocabulary), of :func:`benchmark.training.model.learnt`.
    sequences
        What they are logits of. The token of a number is the number (:mod:`benchmark.training.vocabulary`).
    """
    wanted = sequences.targets >= 0
    targets, kinds = sequences.targets[wanted], sequences.kinds[wanted]
    raw = functional.cross_entropy(logits, targets, reduction="none")
    is_edge = kinds == int(Part.EDGE)
    verdict, words = kinds == int(Part.VERDICT), kinds == int(Part.WORDS)
    said = logits.detach().argmax(dim=1)
    values = targets[is_edge].float()
    error = (said[is_edge] - values).abs().clamp_max(1000)
    return SpeechLoss(
        verdict=_mean(raw[verdict]),
        edge=_mean(soft_number_loss(logits[is_edge], values)),
        words=_mean(raw[words]),
        copied=_mean(raw[kinds == int(Part.COPIED)]),
        right=_mean((said == targets)[verdict].float()),
        edge_error=_mean(error),
    )


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, len(values))
