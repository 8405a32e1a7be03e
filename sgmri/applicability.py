"""What a question set can be asked of: modality, anatomy, planes, weightings, contrast agent, how much of the body
and how finely.

A volume outside it is left. An answer such as "no mass in this volume" about a slab of a few millimetres would be
true and worthless.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sgmri.volume import Anatomy, ContrastAgent, Plane, Weighting

_TOLERANCE = 1e-6
"""Lengths are sums of decimal fractions: 4 x 5 mm must not fall short of 20 mm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From a least to a most value, both included.

    Parameters
    ----------
    least, most
        In the unit of whoever holds the span.
    """

    least: float
    most: float

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most:
            raise ValueError(f"expected 0 < least <= most, found {self.least} and {self.most}")

    def has(self, *values: float) -> bool:
        """Tell whether all values lie within it."""
        return all(self.least - _TOLERANCE <= value <= self.most + _TOLERANCE for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a volume looks like, as far as its headers tell.

    Parameters
    ----------
    modality
        As in Modality (0008,0060).
    anatomy
        What it shows; what a rule of the site says counts where the headers say nothing.
    plane
        None where the frames share none.
    weighting
        UNKNOWN where nothing tells.
    contrast_agent
        Whether one had been given; UNKNOWN where nothing tells, or sources contradict each other.
    frames, rows, columns
        The size of the volume.
    pixel_spacing_mm
        (between rows, between columns).
    slice_spacing_mm
        From centre to centre.
    coverage_mm
        Along the normal, slices that are missing in between included.
    """

    modality: str
    anatomy: Anatomy
    plane: Plane | None
    weighting: Weighting
    contrast_agent: ContrastAgent = ContrastAgent.UNKNOWN
    frames: int
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    slice_spacing_mm: float
    coverage_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicability:
    """What a question set can be asked of.

    Parameters
    ----------
    modality, anatomy, planes, weightings, contrast_agents
        Those that it is made for.
    frames
        Number of frames.
    matrix
        Rows, and columns.
    pixel_spacing_mm, slice_spacing_mm, coverage_mm
        As in :class:`Look`; the pixel spacing in both directions.
    """

    modality: str = "MR"
    anatomy: Anatomy
    planes: frozenset[Plane]
    weightings: frozenset[Weighting]
    contrast_agents: frozenset[ContrastAgent]
    frames: Span
    matrix: Span
    pixel_spacing_mm: Span
    slice_spacing_mm: Span
    coverage_mm: Span

    def misfits(self, look: Look) -> tuple[str, ...]:
        """Say in what a volume is outside, each as "expected ..., found ..."; empty where it is inside.

        Parameters
        ----------
        look
            The volume.
        """
        return (*self._misfits_of_kind(look), *self._misfits_of_size(look))

    def _misfits_of_kind(self, look: Look) -> Iterator[str]:
        if look.modality != self.modality:
            yield f"expected modality {self.modality}, found another"
        if look.anatomy is not self.anatomy:
            yield f"expected a {self.anatomy}, found a {look.anatomy}"
        if look.plane not in self.planes:
            yield f"expected plane {_listed(self.planes)}, found {look.plane or 'none that all frames share'}"
        if look.weighting not in self.weightings:
            yield f"expected weighting {_listed(self.weightings)}, found {look.weighting}"
        if look.contrast_agent not in self.contrast_agents:
            yield f"expected contrast agent {_listed(self.contrast_agents)}, found {look.contrast_agent}"

    def _misfits_of_size(self, look: Look) -> Iterator[str]:
        for what, unit, span, found in (
            ("frames", "", self.frames, (look.frames,)),
            ("a matrix", "", self.matrix, (look.rows, look.columns)),
            ("a pixel spacing", " mm", self.pixel_spacing_mm, look.pixel_spacing_mm),
            ("a slice spacing", " mm", self.slice_spacing_mm, (look.slice_spacing_mm,)),
            ("a coverage", " mm", self.coverage_mm, (look.coverage_mm,)),
        ):
            if not span.has(*found):
                numbers = " x ".join(f"{number:.4g}" for number in found)
                yield f"expected {what} of {span.least:g} to {span.most:g}{unit}, found {numbers}{unit}"


def _listed(values: frozenset[Plane] | frozenset[Weighting] | frozenset[ContrastAgent]) -> str:
    return ", ".join(sorted(value.value for value in values))
