"""Findings to plant: what each label looks like, where it lies, and the exact boxes of what was painted.

A plan is drawn in canonical coordinates before anything is painted (:func:`draw`); :func:`plant` paints it and
measures the boxes on what was painted, never on the formula. What ends up too small, or outside the organ, is not
painted at all, so that no frame shows a trace that the truth leaves out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from benchmark.training.bodies import BRAIN_RIM_MM, Body
from benchmark.training.canvas import Canvas, Grid, band, ramp
from sgmri.volume import Anatomy, Plane

SHOWS = 0.5
"""Part of a finding's amplitude from which on a voxel belongs to it."""
LEAST_PIXELS = 16
"""Pixels of a frame that a finding covers at least, or else it is not painted there."""
_SHEETS = (-0.33, 0.0, 0.33)
"""A slice is the mean of so many sheets, at these parts of its thickness."""

Range = tuple[float, float]


class Form(Enum):
    """How a finding is painted."""

    BLOB = auto()
    """An ellipsoid with a more or less irregular border."""
    MIRRORED = auto()
    """An ellipsoid and its mirror image across the midline, one finding."""
    BAND = auto()
    """A layer between two depths below the skin, within a sector around the head's axis."""


class Home(Enum):
    """Where most of a finding must lie to be painted."""

    TISSUE = auto()
    INSIDE_HEAD = auto()
    ANYWHERE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What findings of one label look like.

    Parameters
    ----------
    label
        Of :mod:`sgmri.vocabulary`.
    form, home
        How it is painted, and where it must lie.
    centres
        Ranges of canonical x, y, z in mm; x is mirrored at random where ``both_sides``.
    semi_axes_mm
        Ranges along x, y, z. For a band: depth of its outer side, its thickness, and half the height.
    level
        Range of its grey value, in parts of the reference.
    core
        Range of the middle's grey value where it differs from the rim's; None where it does not.
    edge_mm
        Range of the width of its border.
    ragged
        How irregular the border is, in parts of the radius.
    both_sides
        Whether it lies left or right at random.
    share
        How often it is drawn, relative to the other labels of the anatomy.
    most
        Most of a volume.
    """

    label: str
    form: Form
    home: Home
    centres: tuple[Range, Range, Range]
    semi_axes_mm: tuple[Range, Range, Range]
    level: Range
    core: Range | None = None
    edge_mm: Range = (1.5, 3.0)
    ragged: float = 0.05
    both_sides: bool = True
    share: float = 1.0
    most: int = 1


_DEEP: tuple[Range, Range, Range] = ((8, 46), (-58, 56), (-4, 52))

LOOKS: Mapping[Anatomy, tuple[Look, ...]] = MappingProxyType(
    {
        Anatomy.BRAIN: (
            Look(
                label="Nonspecific white matter lesion",
                form=Form.BLOB,
                home=Home.TISSUE,
                centres=_DEEP,
                semi_axes_mm=((3.5, 12.0), (3.5, 13.0), (4.0, 11.0)),
                level=(1.55, 2.4),
                ragged=0.08,
                share=2.0,
                most=5,
            ),
            Look(
                label="Lacunar infarct",
                form=Form.BLOB,
                home=Home.TISSUE,
                centres=((8, 38), (-30, 34), (-6, 40)),
                semi_axes_mm=((3.8, 7.0), (3.8, 7.0), (4.0, 8.0)),
                level=(0.08, 0.3),
                share=1.4,
                most=3,
            ),
            Look(
                label="Mass",
                form=Form.BLOB,
                home=Home.TISSUE,
                centres=((12, 44), (-55, 52), (-10, 45)),
                semi_axes_mm=((12.0, 22.0), (12.0, 24.0), (11.0, 21.0)),
                level=(1.6, 2.2),
                core=(0.2, 0.8),
                ragged=0.12,
            ),
            Look(
                label="Edema",
                form=Form.BLOB,
                home=Home.TISSUE,
                centres=((14, 42), (-55, 52), (0, 45)),
                semi_axes_mm=((15.0, 27.0), (17.0, 32.0), (12.0, 24.0)),
                level=(1.4, 1.8),
                edge_mm=(6.0, 10.0),
                ragged=0.22,
            ),
            Look(
                label="Enlarged ventricles",
                form=Form.MIRRORED,
                home=Home.INSIDE_HEAD,
                centres=((13, 16), (0, 8), (12, 17)),
                semi_axes_mm=((10.0, 15.0), (33.0, 42.0), (11.0, 16.0)),
                level=(0.15, 0.4),
                both_sides=False,
                ragged=0.06,
            ),
            Look(
                label="Likely cysts",
                form=Form.BLOB,
                home=Home.INSIDE_HEAD,
                centres=((34, 58), (-62, 60), (-30, 48)),
                semi_axes_mm=((11.0, 19.0), (12.0, 20.0), (11.0, 19.0)),
                level=(0.05, 0.22),
                edge_mm=(1.2, 2.0),
                ragged=0.03,
            ),
            Look(
                label="Encephalomalacia",
                form=Form.BLOB,
                home=Home.INSIDE_HEAD,
                centres=((38, 58), (-65, 62), (-6, 52)),
                semi_axes_mm=((13.0, 21.0), (13.0, 22.0), (11.0, 19.0)),
                level=(1.5, 2.0),
                core=(0.12, 0.35),
                ragged=0.25,
            ),
            Look(
                label="Extra-axial mass",
                form=Form.BLOB,
                home=Home.ANYWHERE,
                centres=((56, 66), (-50, 50), (-4, 44)),
                semi_axes_mm=((14.0, 20.0), (16.0, 25.0), (13.0, 21.0)),
                level=(1.6, 2.1),
                edge_mm=(1.2, 2.0),
                ragged=0.04,
            ),
            Look(
                label="Dural thickening",
                form=Form.BAND,
                home=Home.ANYWHERE,
                centres=((-180, 180), (55, 105), (5, 40)),
                semi_axes_mm=((10.5, 11.5), (5.0, 8.5), (16.0, 38.0)),
                level=(1.5, 2.4),
                both_sides=False,
            ),
            Look(
                label="Craniotomy",
                form=Form.BAND,
                home=Home.ANYWHERE,
                centres=((-180, 180), (24, 42), (0, 42)),
                semi_axes_mm=((-1.0, 1.0), (13.0, 16.0), (14.0, 26.0)),
                level=(0.02, 0.08),
                both_sides=False,
            ),
            Look(
                label="Paranasal sinus opacification",
                form=Form.BLOB,
                home=Home.ANYWHERE,
                centres=((0, 3), (-77, -75), (-20, -16)),
                semi_axes_mm=((14.0, 18.0), (5.5, 7.5), (9.0, 12.0)),
                level=(1.7, 2.6),
                share=0.8,
            ),
        ),
        Anatomy.KNEE: (
            Look(
                label="Joint Effusion",
                form=Form.BLOB,
                home=Home.ANYWHERE,
                centres=((0, 12), (-36, -22), (34, 50)),
                semi_axes_mm=((15.0, 24.0), (5.0, 10.0), (8.0, 14.0)),
                level=(2.3, 3.3),
                ragged=0.1,
                share=1.2,
            ),
            Look(
                label="Bone- Subchondral edema",
                form=Form.BLOB,
                home=Home.TISSUE,
                centres=((12, 26), (-6, 12), (-19, -11)),
                semi_axes_mm=((6.0, 13.0), (6.0, 12.0), (5.0, 9.0)),
                level=(1.9, 3.0),
                edge_mm=(2.0, 4.0),
                ragged=0.15,
                share=1.2,
                most=2,
            ),
            Look(
                label="Periarticular cysts",
                form=Form.BLOB,
                home=Home.ANYWHERE,
                centres=((20, 40), (24, 36), (-16, 8)),
                semi_axes_mm=((5.0, 11.0), (5.0, 11.0), (5.0, 11.0)),
                level=(2.9, 3.8),
                edge_mm=(1.2, 2.5),
                ragged=0.04,
                share=1.2,
                most=2,
            ),
        ),
    }
)
"""What can be planted, by anatomy. Also in the knee: marrow oedema of the femur (:data:`_FEMUR`)."""

_FEMUR: tuple[Range, Range, Range] = ((14, 26), (-8, 12), (13, 24))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One finding to be planted, in canonical coordinates.

    Parameters
    ----------
    look
        Its label and form.
    centre, semi_axes
        In mm; for a band angle (degrees), half-angle and z, and outer depth, thickness and half-height.
    level, core
        Grey value of rim and middle, in parts of the reference.
    edge_mm
        Width of its border.
    turn_deg
        Turn about z.
    """

    look: Look
    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    level: float
    core: float
    edge_mm: float
    turn_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A finding as painted: label and tight half-open boxes (x0, y0, x1, y1) in pixels, by frame index."""

    label: str
    boxes: Mapping[int, tuple[int, int, int, int]]


def draw(anatomy: Anatomy, reach_mm: tuple[float, float, float, float], rng: np.random.Generator) -> tuple[Plan, ...]:
    """Draw what is planted into one volume: one to three labels, apart from each other.

    Parameters
    ----------
    anatomy
        Which organ.
    reach_mm
        Canonical range along the frames' normal that the volume covers, as (axis, low, high, margin): a finding's
        centre lies inside it.
    rng
        Source of the choice.
    """
    looks = LOOKS[anatomy]
    weights = np.array([look.share for look in looks])
    kinds = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
    chosen = rng.choice(len(looks), size=min(kinds, len(looks)), replace=False, p=weights / weights.sum())
    plans: list[Plan] = []
    for index in chosen:
        look = looks[int(index)]
        for _ in range(int(rng.integers(1, look.most + 1))):
            plan = _placed(look, plans, reach_mm, rng)
            if plan is not None:
                plans.append(plan)
    return tuple(plans)


def _placed(
    look: Look, others: Sequence[Plan], reach_mm: tuple[float, float, float, float], rng: np.random.Generator
) -> Plan | None:
    """Return a finding that keeps clear of the others and lies in the volume; None where eight tries fail."""
    for _ in range(8):
        plan = _one(look, rng)
        axis, low, high, margin = int(reach_mm[0]), *reach_mm[1:]
        # A band's z stands in the third place as well, and its sector in the first two
        place = plan.centre[axis] if look.form is not Form.BAND or axis == 2 else 0.0
        if low + margin < place < high - margin and all(_apart(plan, other) for other in others):
            return plan
    return None


def _one(look: Look, rng: np.random.Generator) -> Plan:
    centres = look.centres
    if look.label == "Bone- Subchondral edema" and rng.random() < 0.5:
        centres = _FEMUR
    x, y, z = (float(rng.uniform(low, high)) for low, high in centres)
    if look.both_sides and rng.random() < 0.5:
        x = -x
    size = float(rng.beta(1.1, 1.1))
    # Axes of one finding go together: no needles and no discs
    a, b, c = (
        float(low + (high - low) * np.clip(size + rng.normal(0, 0.12), 0, 1)) for low, high in look.semi_axes_mm
    )
    level = float(rng.uniform(*look.level))
    return Plan(
        look=look,
        centre=(x, y, z),
        semi_axes=(a, b, c),
        level=level,
        core=level if look.core is None else float(rng.uniform(*look.core)),
        edge_mm=float(rng.uniform(*look.edge_mm)),
        turn_deg=float(rng.uniform(-40, 40)) if look.form is Form.BLOB else 0.0,
    )


def _apart(plan: Plan, other: Plan) -> bool:
    """Tell whether two findings leave 4 mm between them, seen along any axis pair."""
    if Form.BAND in (plan.look.form, other.look.form):
        return plan.look.form is not other.look.form and _off_the_rim(plan, other)
    sides = [1.0, -1.0] if Form.MIRRORED in (plan.look.form, other.look.form) else [1.0]
    for side in sides:
        offset = np.array(plan.centre) - np.array([side * other.centre[0], *other.centre[1:]])
        reach = np.array(plan.semi_axes) + np.array(other.semi_axes)
        turned = max(reach[0], reach[1])
        if math.sqrt((offset[0] / turned) ** 2 + (offset[1] / turned) ** 2 + (offset[2] / reach[2]) ** 2) < 1.25:
            return False
    return True


def _off_the_rim(plan: Plan, other: Plan) -> bool:
    """Tell whether a blob beside a band lies well inside the head."""
    blob = other if plan.look.form is Form.BAND else plan
    radius = math.hypot((abs(blob.centre[0]) + blob.semi_axes[0]) / 60, (abs(blob.centre[1]) + blob.semi_axes[1]) / 80)
    return radius < 0.95


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
        wholes.index_add_(0, (window.volume[:, None] * canvas.grid.frames + window.frames).flatten(), delta.flatten(0, 1))
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
