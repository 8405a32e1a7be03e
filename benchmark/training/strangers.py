"""Volumes that are no head and no knee: quality-assurance phantoms, other limbs, maps, grids, noise.

The model must say so instead of reading them, so they are part of its training; those of :data:`HELD_OUT` are not,
and show whether it learnt the idea or the examples.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from benchmark.training.bodies import head
from benchmark.training.canvas import Canvas, crease, ramp

Painter = Callable[[Canvas], Tensor]


def _tube(canvas: Canvas, centre: tuple[float, float], axes: tuple[Tensor, Tensor]) -> Tensor:
    """Return depth in mm inside an elliptic tube across the frames' main plane."""
    first, second = _in_plane(canvas)
    radius = (((first - centre[0]) / axes[0]) ** 2 + ((second - centre[1]) / axes[1]) ** 2).sqrt()
    return (1 - radius) * torch.minimum(axes[0], axes[1])


def _in_plane(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """Return the two canonical coordinates that vary over a frame."""
    return {"axial": (canvas.x, canvas.y), "coronal": (canvas.x, canvas.z), "sagittal": (canvas.y, canvas.z)}[
        canvas.grid.plane.value
    ]


def spheres(canvas: Canvas) -> Tensor:
    """Paint one to seven filled spheres, as quality-assurance phantoms have them."""
    level = canvas.each(250, 900)
    outer = canvas.radius((0.0, 0.0, 0.0), (canvas.each(55, 92),) * 3)
    hollow = canvas.chance(0.5)
    image = level * ramp((1 - outer) * 60) * (1 - 0.9 * hollow)
    places = ((30, 0, 0), (-30, 0, 0), (0, 34, 0), (0, -34, 0), (0, 0, 30), (0, 0, -30))
    for x, y, z in places:
        inner = canvas.radius((float(x), float(y), float(z)), (canvas.each(5, 15),) * 3)
        image = image + (canvas.each(40, 1000) - image) * ramp((1 - inner) * 10) * canvas.chance(0.6)
    return image


def resolution_phantom(canvas: Canvas) -> Tensor:
    """Paint a cylinder with bars and a grid of pins."""
    first, second = _in_plane(canvas)
    size = canvas.each(60, 95)
    inside = ramp(_tube(canvas, (0.0, 0.0), (size, size)))
    pitch = canvas.each(6, 18)
    bars = (torch.sin(first * 6.28 / pitch) > 0).float() * (second > 10).float()
    pins = ((torch.sin(first * 6.28 / pitch) * torch.sin(second * 6.28 / pitch)) > 0.6).float() * (second <= 10).float()
    return canvas.each(300, 900) * inside * (1 - 0.85 * torch.maximum(bars, pins))


def wrist(canvas: Canvas) -> Tensor:
    """Paint a narrow limb with many small bones."""
    fibre, fine = canvas.texture(9.0), canvas.texture(4.0)
    wide, thick = canvas.each(26, 36), canvas.each(16, 25)
    first, second = _in_plane(canvas)
    limb = _tube(canvas, (0.0, 0.0), (wide, thick if canvas.grid.plane.value == "axial" else canvas.each(70, 100)))
    image = (canvas.each(220, 420) + 20 * fibre) * ramp(limb)
    for place in range(9):
        x, y = (place % 4 - 1.5) * 13.0, (place // 4 - 1) * 15.0
        bone = (
            ((first - x) / 6.5) ** 2 + ((second - y) / 6.0) ** 2 + (canvas.dice.each(-1, 1, canvas.count)) ** 2 * 0.2
        ).sqrt()
        image = image + (55 - image) * ramp((1.1 - bone) * 6)
        image = image + (canvas.each(90, 500) + 10 * fine - image) * ramp((0.85 - bone) * 6)
    return image


def thigh(canvas: Canvas) -> Tensor:
    """Paint one or two round limbs with a single shaft each."""
    fibre = canvas.texture(12.0)
    image = torch.zeros_like(canvas.x)
    for side in (-48.0, 48.0):
        size = canvas.each(36, 46)
        limb = _tube(canvas, (side, 0.0), (size, size))
        image = image + (canvas.each(500, 900) - image) * ramp(limb)
        image = image + (canvas.each(200, 350) + 20 * fibre - image) * ramp(limb - canvas.each(5, 12))
        image = image + (60 - image) * ramp(limb - size + 15)
        image = image + (canvas.each(300, 800) - image) * ramp(limb - size + 11)
    return image


def trunk(canvas: Canvas) -> Tensor:
    """Paint a wide oval with organs and a spine."""
    blobs, fibre = canvas.texture(40.0), canvas.texture(12.0)
    limb = _tube(canvas, (0.0, 0.0), (canvas.each(92, 110), canvas.each(60, 85)))
    image = canvas.each(500, 900) * ramp(limb)
    image = image + (300 + 160 * blobs.clamp(-1.5, 1.5) + 15 * fibre - image) * ramp(limb - 14)
    first, second = _in_plane(canvas)
    spine = (((first) / 14) ** 2 + ((second - 40) / 12) ** 2).sqrt()
    return (image + (180 - image) * ramp((1 - spine) * 12)).clamp_min(0)


def parametric_map(canvas: Canvas) -> Tensor:
    """Paint a head's outline filled with streaks and blotches, as anisotropy and diffusion maps look in grey."""
    outline = head(canvas).depth_mm
    streaks = crease(canvas.texture(18.0), 0.3) + crease(canvas.texture(9.0), 0.3)
    blotches = canvas.texture(7.0).abs()
    mix = canvas.each(0, 1)
    return 500 * ramp(outline - canvas.each(8, 13)) * (mix * streaks + (1 - mix) * blotches)


def noise(canvas: Canvas) -> Tensor:
    """Paint nothing, or smooth clouds."""
    clouds = canvas.texture(float(canvas.dice.uniform(5, 60, 1).item()))
    return (canvas.each(0, 300) * (1 + clouds)).clamp_min(0) * canvas.chance(0.7)


def stack_of_boxes(canvas: Canvas) -> Tensor:
    """Paint rectangular containers of different grey."""
    first, second = _in_plane(canvas)
    image = torch.zeros_like(canvas.x)
    for _ in range(5):
        x, y = canvas.each(-60, 60), canvas.each(-60, 60)
        wide, high = canvas.each(8, 45), canvas.each(8, 45)
        inside = torch.minimum(wide - (first - x).abs(), high - (second - y).abs())
        image = image + (canvas.each(60, 900) - image) * ramp(inside)
    return image


def inverted_head(canvas: Canvas) -> Tensor:
    """Paint a head with its grey scale turned round inside the skin."""
    body = head(canvas)
    return (900 - body.image).clamp_min(0) * ramp(body.depth_mm)


def fruit(canvas: Canvas) -> Tensor:
    """Paint a round thing with radial segments."""
    first, second = _in_plane(canvas)
    size = canvas.each(45, 85)
    angle = torch.atan2(second, first)
    inside = _tube(canvas, (0.0, 0.0), (size, size * canvas.each(0.8, 1.0)))
    segments = 0.6 + 0.4 * torch.cos(angle * float(int(canvas.dice.uniform(5, 12, 1).item())))
    return (canvas.each(400, 800) * segments + 30 * canvas.texture(6.0)) * ramp(inside) + 200 * ramp(inside) * ramp(
        6 - inside
    )


def ankle(canvas: Canvas) -> Tensor:
    """Paint an L-shaped limb with a few blocky bones."""
    first, second = _in_plane(canvas)
    leg = torch.minimum(24 - (first + 20).abs(), 60 - (second + 30).abs())
    foot = torch.minimum(70 - (first - 15).abs(), 18 - (second - 42).abs())
    inside = torch.maximum(leg, foot)
    image = (canvas.each(200, 400) + 20 * canvas.texture(8.0)) * ramp(inside, 3.0)
    for x, y, size in (
        (-20.0, -20.0, 13.0),
        (-18.0, 30.0, 14.0),
        (8.0, 42.0, 11.0),
        (32.0, 44.0, 9.0),
        (55.0, 45.0, 7.0),
    ):
        bone = size - torch.maximum((first - x).abs(), (second - y).abs())
        image = image + (50 - image) * ramp(bone)
        image = image + (canvas.each(100, 600) - image) * ramp(bone - 2)
    return image


def limb_of_chance(canvas: Canvas) -> Tensor:
    """Paint any rounded body: an outline of random waves, a rind, a filling of random grain, a few round organs."""
    first, second = _in_plane(canvas)
    first, second = first - canvas.each(-20, 20), second - canvas.each(-20, 20)
    angle = torch.atan2(second, first)
    wavy = torch.ones_like(angle)
    for count in (1, 2, 3, 5):
        wavy = wavy + canvas.each(-0.2, 0.2) * torch.cos(angle * count + canvas.each(0, 6.28))
    size = canvas.each(30, 95) * wavy.clamp_min(0.3)
    inside = size - torch.hypot(first, second * canvas.each(0.7, 1.4))
    grain = canvas.texture(float(canvas.dice.uniform(4, 40, 1).item()))
    filling = canvas.each(60, 700) * (1 + canvas.each(0.0, 0.5) * grain)
    image = canvas.each(100, 900) * ramp(inside)
    image = image + (filling - image) * ramp(inside - canvas.each(0, 14))
    for _ in range(int(canvas.dice.uniform(0, 7, 1).item())):
        x, y, wide, high = (canvas.each(low, top) for low, top in ((-40, 40), (-40, 40), (4, 30), (4, 30)))
        organ = 1 - torch.hypot((first - x) / wide, (second - y) / high)
        image = image + (canvas.each(20, 900) - image) * ramp(organ * 10) * ramp(inside - 3)
    return image.clamp_min(0)


def scrambled_head(canvas: Canvas) -> Tensor:
    """Paint a head whose halves or quarters have changed places, as a wrong matrix or a wrapped read-out gives it."""
    image = head(canvas).image
    rows, columns = image.shape[2:]
    down, across = (int(canvas.dice.uniform(-0.7, 1.7, 1).item() > 0.5) for _ in range(2))
    return image.roll((rows // 2 * max(down, 1 - across), columns // 2 * across), (2, 3))


def banded_head(canvas: Canvas) -> Tensor:
    """Paint a head whose grey scale runs over several times, as wrapped phase and colour tables turned grey do."""
    body = head(canvas)
    waves = canvas.each(0.006, 0.02)
    return 450 * (1 + torch.sin(body.image * waves * 6.28)) * ramp(body.depth_mm)


def vessels(canvas: Canvas) -> Tensor:
    """Paint bright threads on nearly nothing, as projections of angiography show them."""
    threads = torch.zeros_like(canvas.x)
    for scale in (40.0, 24.0):
        threads = torch.maximum(threads, crease(canvas.texture(scale), 0.08) * crease(canvas.texture(scale), 0.6))
    outline = ramp(_tube(canvas, (0.0, 0.0), (canvas.each(60, 90), canvas.each(60, 95))))
    return (canvas.each(500, 900) * threads + canvas.each(10, 120)) * outline


def lattice(canvas: Canvas) -> Tensor:
    """Paint a turned lattice of rods, a checkerboard, or rings: test objects and aliased grids."""
    first, second = _in_plane(canvas)
    turn, pitch = canvas.each(0, 1.57), canvas.each(8, 40)
    u = (first * torch.cos(turn) + second * torch.sin(turn)) * 6.28 / pitch
    v = (second * torch.cos(turn) - first * torch.sin(turn)) * 6.28 / pitch
    rings = torch.sin(torch.hypot(first, second) * 6.28 / pitch)
    is_ring = canvas.chance(0.3)
    wave = is_ring * rings + (1 - is_ring) * torch.sin(u) * torch.sin(v)
    outline = ramp(canvas.each(40, 120) - torch.maximum(first.abs(), second.abs()))
    return canvas.each(200, 900) * (0.5 + 0.5 * (wave * canvas.each(1, 6)).clamp(-1, 1)) * outline


def spine(canvas: Canvas) -> Tensor:
    """Paint a column of blocks with discs between them, and a bright or dark canal behind."""
    first, second = _in_plane(canvas)
    bend = first - 0.002 * canvas.each(-1, 1) * second**2 - canvas.each(-25, 25)
    pitch, wide = canvas.each(24, 38), canvas.each(12, 20)
    block = (torch.cos(second * 6.28 / pitch + canvas.each(0, 6.28)) + 0.55).clamp(0, 1)
    image = canvas.each(100, 500) * (1 + 0.2 * canvas.texture(12.0)) * ramp(canvas.each(50, 80) - bend.abs())
    image = image + (canvas.each(60, 200) - image) * ramp(wide + 2 - bend.abs())
    image = image + (canvas.each(200, 800) - image) * ramp(wide - bend.abs()) * block
    canal = 7 - (bend - wide - 9).abs()
    return (image + (canvas.each(30, 900) - image) * ramp(canal)).clamp_min(0)


TRAINED: Mapping[str, Painter] = MappingProxyType(
    {
        "spheres": spheres,
        "resolution phantom": resolution_phantom,
        "wrist": wrist,
        "thigh": thigh,
        "trunk": trunk,
        "parametric map": parametric_map,
        "noise": noise,
        "boxes": stack_of_boxes,
        "limb of chance": limb_of_chance,
        "scrambled head": scrambled_head,
        "banded head": banded_head,
        "vessels": vessels,
        "lattice": lattice,
        "spine": spine,
    }
)
"""Strangers that the model meets in training."""
HELD_OUT: Mapping[str, Painter] = MappingProxyType({"inverted head": inverted_head, "fruit": fruit, "ankle": ankle})
"""Strangers that it never meets before it is examined."""
