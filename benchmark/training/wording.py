"""What the embedded model is taught to write: places, signs and summaries, in words of ours.

Every text follows from the truth alone; the only choice, a phrase of the bank, is drawn by the caller.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from worker.engine.summary import Fact

SIGNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Nonspecific white matter lesion": ("A bright focus in the white matter.", "A small bright spot."),
        "Lacunar infarct": ("A small dark focus.", "A small dark hole in the tissue."),
        "Mass": ("A large lesion with a bright rim.", "A rounded lesion with a different centre."),
        "Edema": ("A wide bright area with a soft border.", "An ill-defined bright area."),
        "Enlarged ventricles": ("Wide dark fluid spaces on both sides.", "Enlarged dark fluid spaces."),
        "Likely cysts": ("A smooth dark round space.", "A sharply bordered dark space."),
        "Encephalomalacia": ("A ragged dark cavity with a bright rim.", "Lost tissue with a bright border."),
        "Extra-axial mass": (
            "A bright lesion with a broad base at the skull.",
            "A smooth lesion at the rim of the brain.",
        ),
        "Dural thickening": ("A bright band along the skull.", "A thick bright layer inside the skull."),
        "Paranasal sinus opacification": ("A bright filling in front of the brain.", "A filled sinus."),
        "Joint Effusion": ("A wide bright fluid in front of the joint.", "A bright flat fluid."),
        "Bone- Subchondral edema": ("A bright area in the dark marrow.", "Fluid-like signal in the bone."),
        "Periarticular cysts": ("A smooth bright sac beside the joint.", "A bright round sac."),
    }
)
"""Label -> ways to put its sign into words."""
NO_SIGN = "Nothing of the kind stands out."
NOTHING_THERE = "nowhere on this frame"
_THIRDS = ("upper", "middle", "lower"), ("left", "centre", "right")


def place(box: Sequence[float], rows: int, columns: int) -> str:
    """Return where a box (x0, y0, x1, y1, in pixels) lies on its frame, in the image's own directions."""
    x, y = (box[0] + box[2]) / 2 / columns, (box[1] + box[3]) / 2 / rows
    down, across = (min(2, int(3 * share)) for share in (y, x))
    return f"{_THIRDS[0][down]} {_THIRDS[1][across]} of the image"


def caption(found: Sequence[Fact]) -> str:
    """Return the summary of what was found: two sentences."""
    if not found:
        return "No finding that was asked for is seen in this volume. It looks normal to a model of synthetic lesions."
    listed = "; ".join(
        f"{fact.label} in {fact.places} {_noun(fact.places)} on frames {fact.first} to {fact.last}" for fact in found
    )
    return f"Seen: {listed}. Nothing else that was asked for is seen."


def _noun(places: int) -> str:
    return "place" if places == 1 else "places"
