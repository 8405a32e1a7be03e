"""Synthetic bodies in canonical coordinates: a head and a knee whose proportions, grey values and textures vary.

They are cousins of the phantoms of :mod:`conformance.phantom_anatomy`, never copies: what is learnt from them must
hold for those, and vary more. Hard negatives (vessels, choroid plexus, bright cortex, tiny foci, eyes) are part of
every body, for they are no findings.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.training.canvas import Canvas, band, crease, ramp

BRAIN_RIM_MM = 13.0
"""Depth below the skin at which the brain begins."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Body:
    """A batch of painted bodies.

    Parameters
    ----------
    image
        float32 (volumes, frames, rows, columns), noiseless.
    tissue
        The same shape, 0 to 1: where a lesion of the organ itself may lie (brain parenchyma; bone marrow).
    depth_mm
        The same shape: how far below the skin; negative outside.
    reference
        (volumes, 1, 1, 1): grey value of normal tissue, by which lesions are brighter or darker.
    """

    image: Tensor
    tissue: Tensor
    depth_mm: Tensor
    reference: Tensor


def head(canvas: Canvas) -> Body:
    """Paint heads: scalp, skull, fluid, grey and white matter, ventricles, deep grey matter, and hard negatives."""
    x, y, z, each = canvas.x, canvas.y, canvas.z, canvas.each
    white = each(300, 480)
    grey = white * each(0.95, 1.4)
    fluid = white * each(0.12, 0.45)
    fold, fine, warp = canvas.texture(13.0), canvas.texture(6.0), canvas.texture(60.0)
    power = each(2.0, 2.6)
    outline = (x.abs() / 74) ** power + (y.abs() / 95) ** power + ((z + 8).abs() / 93) ** power
    depth = (1 - outline.clamp_min(1e-6) ** (1 / power)) * 80 + warp * each(0.5, 2.0)
    canvas.blend(white * each(0.8, 2.2) + 25 * fine, band(depth, 0.0, each(3.0, 6.5)))
    canvas.blend(each(25, 110), band(depth, 4.5, 11.0))
    canvas.blend(each(90, 320) + 20 * fine, band(depth, 6.8, 8.8))
    canvas.blend(fluid, ramp(depth - 11.0))

    below = depth - 12.5 - each(0.0, 2.5) + each(0.4, 1.2) * fold
    brain = ramp(below)
    canvas.blend(white + each(4, 14) * fine + each(3, 9) * warp, brain)
    posterior = ramp(-(z + 24), 6.0) * ramp(y - 12, 6.0)
    cortical = ((23 - below) / 12).clamp(0, 1) * brain * (1 - posterior)
    canvas.blend(grey, torch.maximum(ramp(4.0 - below) * brain, crease(fold, 0.55) * cortical))
    sulci = crease(fold, 0.16) * cortical * each(0.5, 0.95)
    canvas.blend(fluid, sulci)
    canvas.blend(grey, 0.6 * posterior * brain)
    canvas.blend(fluid + 0.5 * (white - fluid), 0.5 * posterior * brain * crease(fine, 0.25))
    midline = ramp(z - 22, 4.0) + ramp((y + 2).abs() - 44, 4.0) * ramp(z + 30, 6.0)
    midline = midline.clamp(0, 1) * brain
    canvas.blend(grey, midline * ramp(4.5 - x.abs()))
    canvas.blend(fluid, midline * ramp(each(0.6, 1.6) - x.abs()))
    canvas.pair((12, 6, 4), (8, 14, 9), grey * each(0.9, 1.05), turn_deg=-15)
    canvas.pair((25, -6, 6), (5, 17, 11), grey * each(0.9, 1.05), turn_deg=-12)
    canvas.pair((42, -8, -2), (2.2, 17, 11), fluid, turn_deg=-8)
    spaces = _ventricles(canvas, fluid)
    _decoys_in_the_head(canvas, white, brain, spaces)
    falx = midline * ramp(3.5 - x.abs())
    tissue = ramp(below - 3.0) * (1 - spaces) * (1 - (sulci + falx).clamp(0, 1))
    return Body(image=canvas.image, tissue=tissue, depth_mm=depth, reference=white)


def _ventricles(canvas: Canvas, fluid: Tensor) -> Tensor:
    """Paint the fluid spaces of normal width; return where they are."""
    before = canvas.image
    canvas.image = torch.zeros_like(before)
    wide = canvas.each(0.65, 1.15)
    canvas.pair((9, -26, 9), (4.5 * wide, 13.0, 8.0), 1.0, turn_deg=18)
    canvas.pair((10, 2, 16), (5.5 * wide, 25.0, 6.0), 1.0)
    canvas.pair((19, 30, 8), (6.5 * wide, 12.0, 8.0), 1.0, turn_deg=-24)
    canvas.pair((25, 45, 2), (4.0 * wide, 11.0, 5.0), 1.0, turn_deg=-8)
    canvas.ellipsoid((0, 2, -6), (2.2 * wide, 12.0, 9.0), 1.0)
    canvas.ellipsoid((0, 33, -36), (7.0 * wide, 4.0, 8.0), 1.0)
    cistern = torch.zeros_like(before)
    spaces, canvas.image = canvas.image, cistern
    canvas.ellipsoid((0, 22, -36), (17, 14, 18), 1.0)
    canvas.ellipsoid((0, 18, -38), (13, 11, 24), 0.0)
    spaces = torch.maximum(spaces, canvas.image)
    canvas.image = before
    canvas.blend(fluid, spaces)
    return spaces


def _decoys_in_the_head(canvas: Canvas, white: Tensor, brain: Tensor, spaces: Tensor) -> None:
    """Paint what is bright or dark without being a finding: plexus, ventricular rims, vessels, eyes, air, tiny foci."""
    each, chance = canvas.each, canvas.chance
    plexus = chance(0.5) * 0.8
    for side in (-1.0, 1.0):
        radius = canvas.radius((side * 20.0, 32.0, 6.0), (3.0, 4.0, 3.5))
        canvas.blend(white * each(1.0, 1.9), ramp((1 - radius) * 3) * spaces * plexus)
    # rims of the ventricles are a little bright in many normal heads
    halo = (spaces * (1 - spaces) * 4) * chance(0.4) * each(0.2, 0.7)
    canvas.blend(white * each(1.1, 1.5), halo)
    # vessels and spaces around them: too thin and short to count as lesions
    threads = crease(canvas.texture(9.0), 0.05) * crease(canvas.texture(11.0), 0.05) * brain
    canvas.blend(white * each(1.2, 2.2), threads * chance(0.6) * 0.9)
    pits = crease(canvas.texture(7.0), 0.05) * crease(canvas.texture(8.0), 0.05) * brain
    canvas.blend(white * 0.35, pits * chance(0.5) * 0.8)
    patches = (canvas.texture(16.0) - 2.0).clamp(0, 1) * brain * (1 - spaces)
    canvas.blend(white * each(1.05, 1.18), patches * chance(0.5))
    gaze = white * each(0.2, 1.6)
    for side in (-1.0, 1.0):
        canvas.ellipsoid((side * 31.0, -74.0, -38.0), (12.0, 12.0, 11.0), gaze)
    # an air-filled frontal sinus and nasal cavity
    air = each(5, 40)
    canvas.blend(air, _sinus(canvas) * chance(0.7))
    canvas.ellipsoid((0.0, -62.0, -52.0), (14.0, 26.0, 12.0), air)


def _sinus(canvas: Canvas) -> Tensor:
    radius = canvas.radius((0.0, -76.0, -18.0), (17.0, 6.5, 11.0))
    return ramp((1 - radius) * 6)


def knee(canvas: Canvas) -> Body:
    """Paint knees: fat, muscle, femur, tibia, fibula, patella, cartilage, menisci, ligaments, vessels, normal fluid."""
    x, y, z, each = canvas.x, canvas.y, canvas.z, canvas.each
    fine, patch, fibre = canvas.texture(4.0), canvas.texture(22.0), canvas.texture(9.0)
    muscle = each(220, 340)
    fat = each(55, 150)
    marrow_level = each(80, 170)
    bone_edge = each(30, 65)
    girth = 1 + each(0.0, 0.0025) * z
    limb = ((x / (60 * girth)) ** 2 + ((y + 2) / (62 * girth)) ** 2).sqrt()
    depth = (1 - limb) * 60 + each(0.4, 1.6) * patch
    canvas.blend(each(120, 240), band(depth, 0.0, 1.8))
    canvas.blend(fat + 10 * fibre, ramp(depth - 1.8))
    belly = ramp(depth - each(6, 11) - 3 * patch, 2.0) * ramp((z - 3).abs() - each(18, 27), 22.0)
    canvas.blend(muscle + 22 * fibre + 14 * patch, belly)
    canvas.blend(fat, 0.8 * belly * crease(patch, 0.09))
    capsule = ((x / 45) ** 2 + ((y + 2) / 44) ** 2 + (z / 26) ** 2).sqrt()
    canvas.blend(muscle * each(0.65, 0.95) + 16 * fibre, ramp((1 - capsule) * 26, 5.0))
    marrow = marrow_level + each(6, 16) * fine + 9 * patch
    cartilage = muscle * each(1.2, 1.75)
    bone = torch.maximum(_femur(canvas, marrow, bone_edge, cartilage), _lower_leg(canvas, marrow, bone_edge, cartilage))
    _soft_parts(canvas, marrow, bone_edge)
    _decoys_in_the_knee(canvas, muscle, depth)
    return Body(image=canvas.image, tissue=bone, depth_mm=depth, reference=muscle)


def _femur(canvas: Canvas, marrow: Tensor, edge: Tensor, cartilage: Tensor) -> Tensor:
    x, y, z = canvas.x, canvas.y, canvas.z
    flare = canvas.each(13, 17) + 20 * torch.exp(-((((z - 18).clamp_min(0)) / 22) ** 2))
    shaft = (1 - ((x / flare) ** 2 + (y / (14 + 0.3 * (flare - 15))) ** 2).sqrt()) * 15
    inside = torch.minimum(shaft, z - 20)
    for centre_x in (-21.0, 21.0):
        inside = torch.maximum(inside, (1 - canvas.radius((centre_x, 4, 21), (19, 27, 18.5))) * 18)
    notch = (1 - ((x / 8) ** 2 + ((z - 4) / 16) ** 2).sqrt()) * 8
    inside = torch.minimum(inside, torch.maximum(-notch, -y - 14))
    canvas.blend(cartilage, ramp(inside + 2.2) * ramp(13 - z, 6.0) * ramp(34 - y.abs()))
    canvas.blend(edge, ramp(inside))
    canvas.blend(marrow, ramp(inside - 1.8))
    return ramp(inside - 2.5)


def _lower_leg(canvas: Canvas, marrow: Tensor, edge: Tensor, cartilage: Tensor) -> Tensor:
    x, y, z = canvas.x, canvas.y, canvas.z
    taper = 17 + 21 * torch.exp(-((((-z - 12).clamp_min(0)) / 16) ** 2))
    across = (x / taper).abs() ** 2.6 + ((y - 1 + 0.25 * (38 - taper)) / (0.72 * taper + 2)).abs() ** 2.6
    plateau = (1 - across.clamp_min(1e-6) ** (1 / 2.6)) * 20
    spines = 3.2 * torch.exp(-((x.abs() - 4) ** 2) / 14) * torch.exp(-((y / 9) ** 2))
    inside = torch.minimum(plateau, -2.6 + spines - z)
    canvas.blend(cartilage, ramp(inside + 2.0) * ramp(z + 9, 4.0) * ramp(plateau))
    canvas.blend(edge, ramp(inside))
    canvas.blend(marrow, ramp(inside - 1.8))
    fibula = torch.minimum(8 - ((x - 37) ** 2 + (y - 16) ** 2).sqrt(), -14 - z)
    canvas.blend(edge, ramp(fibula))
    canvas.blend(marrow, ramp(fibula - 1.6))
    return ramp(inside - 2.5)


def _soft_parts(canvas: Canvas, marrow: Tensor, edge: Tensor) -> None:
    """Paint menisci, cruciate and collateral ligaments, patella and its tendon, and the vessels behind."""
    x, y, z, each = canvas.x, canvas.y, canvas.z, canvas.each
    rim = (((x.abs() - 21) / 15) ** 2 + ((y - 2) / 19) ** 2).sqrt()
    wedge = (rim - 0.62) * 9 - (z - 0.2).abs()
    canvas.blend(each(40, 80), ramp(wedge) * ramp((1.28 - rim) * 15) * ramp(30 - x.abs()))
    cruciate = ramp(2.4 - (x - 0.25 * z + 1).abs()) * band(z, 0.0, 24.0) * band(y, -12, 14)
    canvas.blend(each(50, 110), cruciate)
    collateral = ramp(1.6 - (x.abs() - 45).abs()) * ramp(30 - z.abs()) * band(y, -6, 12)
    canvas.blend(each(40, 90), collateral)
    high = each(14, 26)
    canvas.ellipsoid((0.0, -46.0, high), (21.0, 9.0, 19.0), edge)
    canvas.ellipsoid((0.0, -46.0, high), (19.0, 7.4, 17.0), marrow)
    tendon = ramp(11 - x.abs()) * ramp(2.6 - (y + 50 + 0.05 * z).abs()) * ramp(2 - z)
    canvas.blend(each(40, 80), tendon)
    bright = each(120, 420)
    for place, size in ((4.0, 3.4), (-5.0, 2.6)):
        tube = ((x - place - 0.04 * z) ** 2 + (y - 38) ** 2).sqrt()
        canvas.blend(bright, ramp(size - tube))


def _decoys_in_the_knee(canvas: Canvas, muscle: Tensor, depth: Tensor) -> None:
    """Paint a film of normal joint fluid, small vessels, and a growth line."""
    each, chance = canvas.each, canvas.chance
    film = ramp(1.0 - (canvas.z + 0.3).abs()) * ramp(34 - canvas.x.abs()) * ramp(26 - canvas.y.abs())
    canvas.blend(muscle * each(1.2, 1.9), film * chance(0.5) * each(0.3, 0.9))
    threads = crease(canvas.texture(9.0), 0.05) * crease(canvas.texture(11.0), 0.05) * ramp(depth - 4)
    canvas.blend(muscle * each(1.2, 2.2), threads * chance(0.6) * 0.9)
    line = ramp(0.8 - (canvas.z + 20).abs()) * ramp(30 - canvas.x.abs()) * ramp(20 - canvas.y.abs())
    canvas.blend(muscle * 0.9, line * chance(0.2) * 0.6)
