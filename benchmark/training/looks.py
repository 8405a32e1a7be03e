"""Findings that can be planted: what each label looks like, where it lies, and how those of one volume are drawn.

Everything here is drawn in canonical coordinates before anything is painted (:mod:`benchmark.training.lesions`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

import numpy as np

from sgmri.volume import Anatomy

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
    rimless
        Part of them whose rim is as dark as the core.
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
    rimless: float = 0.0


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
                semi_axes_mm=((4.5, 7.5), (4.5, 7.5), (4.5, 8.0)),
                # A cavity like fluid within a bright rim: what sets it apart from a sulcus on FLAIR (Wardlaw 2013)
                level=(1.35, 1.9),
                core=(0.05, 0.2),
                edge_mm=(1.2, 2.0),
                most=3,
                rimless=0.3,
            ),
            Look(
                label="Mass",
                form=Form.BLOB,
                home=Home.TISSUE,
                centres=((12, 44), (-55, 52), (-10, 45)),
                semi_axes_mm=((12.0, 22.0), (12.0, 24.0), (11.0, 21.0)),
                level=(1.6, 2.2),
                # Necrosis is not fluid: FLAIR leaves it grey, which sets it apart from the cavity of an old infarct
                core=(0.45, 0.9),
                ragged=0.12,
                share=1.5,
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
                share=1.3,
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


def draw(
    anatomy: Anatomy,
    reach_mm: tuple[float, float, float, float],
    rng: np.random.Generator,
    favour: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Plan, ...]:
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
    favour
        Label -> how much more often than usual it is drawn.
    """
    looks = LOOKS[anatomy]
    weights = np.array([look.share * favour.get(look.label, 1.0) for look in looks])
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
    a, b, c = (float(low + (high - low) * np.clip(size + rng.normal(0, 0.12), 0, 1)) for low, high in look.semi_axes_mm)
    level = float(rng.uniform(*look.level))
    core = level if look.core is None else float(rng.uniform(*look.core))
    if look.rimless and rng.random() < look.rimless:
        level = core
    return Plan(
        look=look,
        centre=(x, y, z),
        semi_axes=(a, b, c),
        level=level,
        core=core,
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
