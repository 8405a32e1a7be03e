"""Which result objects a destination gets, and in which shape: one profile a viewer, several viewers combine.

What each viewer needs of an object are the rules of :mod:`dicom_io.viewer_rules`; docs/viewer-rules.md lists both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dicom_io.kinds import ResultKind
from sgmri.errors import ConfigError
from sgmri.outlets import Outlet
from sgmri.settings import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one destination gets.

    Parameters
    ----------
    viewers
        Names of the viewers there, whose rules the objects must keep.
    kinds
        The objects.
    cornerstone_tracking
        Whether a box's Tracking Identifier begins with the name of OHIF's rectangle tool: OHIF up to 3.11 makes
        measurements of these only.
    refined_masks
        Whether segmentations hold what stands out inside the boxes, where that is plausible, instead of the boxes.
    """

    viewers: tuple[str, ...] = ()
    kinds: frozenset[ResultKind]
    cornerstone_tracking: bool = False
    refined_masks: bool = False

    @property
    def rules_of(self) -> tuple[str, ...]:
        """The keys of :data:`dicom_io.viewer_rules.RULES` that the objects must keep."""
        return (*self.viewers, "ohif-3.11") if self.cornerstone_tracking else self.viewers


DEFAULT: Final = Profile(kinds=frozenset({ResultKind.SEG, ResultKind.SR}))
"""Where no viewer is named."""

KINDS: Final[Mapping[str, frozenset[ResultKind]]] = MappingProxyType(
    {
        "ohif": frozenset({ResultKind.SEG, ResultKind.SR, ResultKind.TEXT_SR}),
        "slicer": frozenset({ResultKind.SEG, ResultKind.SR}),
        "weasis": frozenset({ResultKind.SEG, ResultKind.SR, ResultKind.PR, ResultKind.KO}),
        "generic-pacs": frozenset({ResultKind.SR, ResultKind.PR, ResultKind.PDF, ResultKind.KO}),
        "images-only": frozenset({ResultKind.SC}),
    }
)
"""Viewer -> the objects that it shows."""


def profile_for(delivery: Delivery | Outlet, *, path: str = "delivery.viewers") -> Profile:
    """Return the profile of a destination: the union of what its viewers show.

    Parameters
    ----------
    delivery
        Names the viewers.
    path
        The key that names them, for the error.

    Raises
    ------
    ConfigError
        If a viewer is unknown; names those that are known.
    """
    for name in delivery.viewers:
        if name not in KINDS:
            raise ConfigError(f"{path}: expected names among {', '.join(KINDS)}, found {name!r}")
    kinds = frozenset[ResultKind]().union(*(KINDS[name] for name in delivery.viewers)) or DEFAULT.kinds
    if delivery.label_map and ResultKind.SEG in kinds:
        kinds = kinds - {ResultKind.SEG} | {ResultKind.LABELMAP}
    return Profile(
        viewers=delivery.viewers,
        kinds=kinds,
        cornerstone_tracking=delivery.cornerstone_tracking,
        refined_masks=delivery.refined_masks,
    )
