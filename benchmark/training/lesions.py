"""Paint findings into bodies, and measure the exact boxes of what was painted.

The boxes are those of the painted voxels, never of the formula. What ends up too small, or outside the organ, is not
painted at all, so that no frame shows a trace that the truth leaves out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.training.bodies import BRAIN_RIM_MM, Body
from benchmark.training.canvas import Canvas, Grid, band, ramp
from benchmark.training.looks import LOOKS, Form, Home, Plan
from sgmri.volume import Anatomy, Plane

SHOWS = 0.5
"""Part of a finding's amplitude from which on a voxel belongs to it."""
LEAST_PIXELS = 16
"""Pixels of a frame that a finding covers at least, or else it is not painted there."""
_SHEETS = (-0.33, 0.0, 0.33)
"""A slice is the mean of so many sheets, at these parts of its thickness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A finding as painted: label and tight half-open boxes (x0, y0, x1, y1) in pixels, by frame index."""

    label: str
    boxes: Mapping[int, tuple[int, int, int, int]]


def plant(canvas: Canvas, body: Body, plans: Sequence[Sequence[Plan]]) -> tuple[Tensor, list[list[Planted]]]:
    """Paint the findings of every volume.

    Parameters
    ----------
    canvas
        Of the batch.
    body
        What is painted into; not changed.
    plans
        One list a volume.

    Returns
    -------
    image : Tensor
        float32 (volumes, frames, rows, columns).
    truth : list of list of Planted
        What was painted, by volume.
    """
    truth: list[list[Planted]] = [[] for _ in plans]
    image = body.image.clone()
    rough = canvas.texture(14.0)
    wholes = image.flatten(0, 1)
    for window in _windows(canvas.grid, plans):
        members, level = _painted(canvas, body, rough, window)
        pixels = (members >= SHOWS).sum(dim=(2, 3))
        members = members * (pixels >= LEAST_PIXELS)[:, :, None, None]
        delta = (level - body.image[window.volume[:, None], window.frames]) * members
        # Findings keep apart, so what they change adds up
        wholes.index_add_(
            0, (window.volume[:, None] * canvas.grid.frames + window.frames).flatten(), delta.flatten(0, 1)
        )
        for place, boxes in enumerate(_boxes(members >= SHOWS, window)):
            if boxes:
                plan = window.plans[place]
                truth[int(window.places[place])].append(Planted(label=plan.look.label, boxes=boxes))
    return image, truth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Window:
    """Findings of a batch whose frames are as many, and the frames around each.

    Parameters
    ----------
    plans, places
        The findings, and the volume of each.
    volume, frames
        int64 (findings,) and (findings, frames): the same as tensors; frames beyond the volume are its last ones.
    inside
        bool (findings, frames): whether the volume has the frame.
    first
        Frame index at which each window begins; may be negative.
    """

    plans: tuple[Plan, ...]
    places: tuple[int, ...]
    volume: Tensor
    frames: Tensor
    inside: Tensor
    first: tuple[int, ...]


_WINDOW_STEP = 4
_FINDINGS_A_WINDOW = 24


def _windows(grid: Grid, plans: Sequence[Sequence[Plan]]) -> Iterator[_Window]:
    """Sort findings by how many frames they can reach, and cut that many frames out for each."""
    affines = grid.affine.double().cpu().numpy()
    sized: dict[int, list[tuple[Plan, int, int]]] = {}
    for volume, findings in enumerate(plans):
        back = np.linalg.inv(affines[volume][:, :3])
        step = float(np.linalg.norm(affines[volume][:, 0]))
        for plan in findings:
            is_band = plan.look.form is Form.BAND
            centre = np.array([0.0, 0.0, plan.centre[2]] if is_band else plan.centre)
            middle = float((back @ (centre - affines[volume][:, 3]))[0])
            half = math.ceil(_reach_mm(plan, grid.plane) / step) + 1
            length = min(grid.frames, -(-(2 * half + 1) // _WINDOW_STEP) * _WINDOW_STEP)
            first = 0 if length == grid.frames else round(middle) - length // 2
            sized.setdefault(length, []).append((plan, volume, first))
    for length, entries in sorted(sized.items()):
        for start in range(0, len(entries), _FINDINGS_A_WINDOW):
            found, places, firsts = zip(*entries[start : start + _FINDINGS_A_WINDOW], strict=True)
            frames = torch.tensor(firsts)[:, None] + torch.arange(length)
            inside = (frames >= 0) & (frames < grid.frames)
            yield _Window(
                plans=found,
                places=places,
                volume=torch.tensor(places, device=grid.device),
                frames=frames.clamp(0, grid.frames - 1).to(grid.device),
                inside=inside.to(grid.device),
                first=firsts,
            )


def _reach_mm(plan: Plan, plane: Plane) -> float:
    """Return how far from its centre a finding can reach along the frames' normal, tilted frames included."""
    axis = {Plane.SAGITTAL: 0, Plane.CORONAL: 1, Plane.AXIAL: 2}[plane]
    if plan.look.form is Form.BAND:
        # A tilted frame cuts the skull higher on one side than on the other
        return plan.semi_axes[2] + 3.0 + 25.0
    across = max(size for place, size in enumerate(plan.semi_axes) if place != axis)
    along = math.hypot(plan.semi_axes[axis], 0.3 * across)
    return along * (1 + plan.look.ragged) + plan.edge_mm


def _painted(canvas: Canvas, body: Body, rough: Tensor, window: _Window) -> tuple[Tensor, Tensor]:
    """Return how much of each voxel a finding fills, and its grey value: (findings, frames, rows, columns)."""
    device, batch, volume = canvas.grid.device, window.plans, window.volume
    number = torch.tensor(
        [[*p.centre, *p.semi_axes, p.level, p.core, p.edge_mm, p.turn_deg, p.look.ragged] for p in batch]
    )
    columns = [column[:, None, None, None] for column in number.to(device).unbind(1)]
    centre, axes, (level, core, edge, turn, ragged) = columns[:3], columns[3:6], columns[6:]
    x, y, z = canvas.grid.axes_at(volume, window.frames)
    step = canvas.grid.slice_step[volume] * canvas.grid.thickness[volume, None]
    grain = rough[volume[:, None], window.frames]
    bump = 1 + ragged * grain.clamp(-2, 2) * 0.5
    mirrored = torch.tensor([p.look.form is Form.MIRRORED for p in batch], device=device)[:, None, None, None]
    is_band = torch.tensor([p.look.form is Form.BAND for p in batch], device=device)[:, None, None, None]
    x_side = torch.where(mirrored, x.abs(), x) - centre[0]
    cosine, sine = torch.cos(torch.deg2rad(turn)), torch.sin(torch.deg2rad(turn))
    least = torch.minimum(torch.minimum(axes[0], axes[1]), axes[2])
    y_side, z_side = y - centre[1], z - centre[2]
    total = torch.zeros_like(x)
    for sheet in _SHEETS:
        dx, dy, dz = (part[:, None, None, None] * sheet for part in step.unbind(1))
        across, along = x_side + dx, y_side + dy
        u, v = (cosine * across + sine * along) / axes[0], (cosine * along - sine * across) / axes[1]
        radius = (u * u + v * v + ((z_side + dz) / axes[2]) ** 2).sqrt() * bump
        total += (0.5 + (1 - radius) * least / edge).clamp(0, 1)
    members = total / len(_SHEETS)
    depth = body.depth_mm[volume[:, None], window.frames]
    if any(plan.look.form is Form.BAND for plan in batch):
        members = torch.where(is_band, _in_band(depth, (x, y, z), centre, axes), members)
    members = members * window.inside[:, :, None, None]
    members = members * _at_home(body, members, depth, window)
    value = level + (core - level) * ramp((0.72 - radius) * least, 3.0) * ~is_band
    return members, value * body.reference[volume] * (1 + 0.04 * grain)


def _in_band(
    depth: Tensor, place: tuple[Tensor, Tensor, Tensor], centre: Sequence[Tensor], axes: Sequence[Tensor]
) -> Tensor:
    """Return where a layer under the skin lies within its sector and height."""
    x, y, z = place
    angle = torch.rad2deg(torch.atan2(x, -y)) - centre[0]
    angle = (angle + 180) % 360 - 180
    sector = (0.5 + (centre[1] - angle.abs()) / 4).clamp(0, 1)
    return band(depth, axes[0], axes[0] + axes[1]) * sector * ramp(axes[2] - (z - centre[2]).abs(), 3.0)


def _at_home(body: Body, members: Tensor, depth: Tensor, window: _Window) -> Tensor:
    """Return what keeps a finding within its organ: 0 where too little of it would be left, else a mask."""
    device, looks = members.device, [plan.look for plan in window.plans]
    inside = ramp(depth - BRAIN_RIM_MM + 1.5)
    clipped = [
        look in LOOKS[Anatomy.BRAIN] and look.form is not Form.BAND and not look.label.startswith("Paranasal")
        for look in looks
    ]
    mask = torch.where(torch.tensor(clipped, device=device)[:, None, None, None], inside, torch.ones_like(inside))
    in_tissue = torch.tensor([look.home is Home.TISSUE for look in looks], device=device)[:, None, None, None]
    wanted = torch.where(in_tissue, body.tissue[window.volume[:, None], window.frames], mask)
    core = members >= SHOWS
    share = (wanted * core).sum(dim=(1, 2, 3)) / core.sum(dim=(1, 2, 3)).clamp_min(1)
    least = torch.tensor(
        [{Home.TISSUE: 0.7, Home.INSIDE_HEAD: 0.6, Home.ANYWHERE: 0.0}[look.home] for look in looks], device=device
    )
    return mask * (share >= least).float()[:, None, None, None]


def _boxes(mask: Tensor, window: _Window) -> list[dict[int, tuple[int, int, int, int]]]:
    """Return the tight boxes of each finding's mask, bool (findings, frames, rows, columns), by frame index."""
    rows, columns = mask.any(dim=3).to(torch.uint8), mask.any(dim=2).to(torch.uint8)
    seen = rows.amax(dim=2)
    first = torch.stack([columns.argmax(dim=2), rows.argmax(dim=2)], dim=2)
    last = torch.stack(
        [columns.shape[2] - columns.flip(2).argmax(dim=2), rows.shape[2] - rows.flip(2).argmax(dim=2)], dim=2
    )
    table = torch.cat([first, last, seen[:, :, None]], dim=2).cpu().tolist()
    return [
        {begin + place: (x0, y0, x1, y1) for place, (x0, y0, x1, y1, is_seen) in enumerate(frames) if is_seen}
        for begin, frames in zip(window.first, table, strict=True)
    ]
