"""Which result objects a destination gets, and in which shape: one profile a viewer, several viewers combine.

What each viewer shows of which object was found by running it or reading its source; docs/viewers.md has the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dicom_io.kinds import ResultKind
from sgmri.errors import ConfigError
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
    """

    viewers: tuple[str, ...] = ()
    kinds: frozenset[ResultKind]
    cornerstone_tracking: bool = False


DEFAULT: Final = Profile(kinds=frozenset({ResultKind.SEG, ResultKind.SR}))
"""Where no viewer is named."""

KINDS: Final[Mapping[str, frozenset[ResultKind]]] = MappingProxyType(
    {
        "ohif": frozenset({ResultKind.SEG, ResultKind.SR, ResultKind.TEXT_SR}),
        "slicer": frozenset({ResultKind.SEG, ResultKind.SR}),
        "weasis": frozenset({ResultKind.SEG, ResultKind.SR, ResultKind.PR, ResultKind.KO}),
        "generic-pacs": frozenset({ResultKind.SR, ResultKind.PR, ResultKind.KO}),
        "images-only": frozenset({ResultKind.SC}),
    }
)
"""Viewer -> the objects that it shows."""


def profile_for(delivery: Delivery) -> Profile:
    """Return the profile of a destination: the union of what its viewers show.

    Parameters
    ----------
    delivery
        Names the viewers.

    Raises
    ------
    ConfigError
        If a viewer is unknown; names those that are known.
    """
    for name in delivery.viewers:
        if name not in KINDS:
            raise ConfigError(f"delivery.viewers: expected names among {', '.join(KINDS)}, found {name!r}")
    kinds = (KINDS[name] for name in delivery.viewers)
    return Profile(
        viewers=delivery.viewers,
        kinds=frozenset[ResultKind]().union(*kinds) if delivery.viewers else DEFAULT.kinds,
        cornerstone_tracking=delivery.cornerstone_tracking,
    )
