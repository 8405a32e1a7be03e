"""Find compact bright or dark outliers inside the head or the joint: image processing without weights.

The volume is divided by a smooth local background; what is left is noise, texture and whatever stands out. Blobs
that stand out far enough, are compact, of plausible size and (in the brain) not mirrored on the other side are
kept, with boxes at half of their amplitude.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sgmri.geometry import Box
from worker.engine.regions import MAD_TO_SIGMA, Image, Mask, blurred
from worker.engine.shapes import RING_REACH_MM, Measures, Shape, grow_to_half, measure
from worker.engine.symmetry import Midline, find_midline, mirrored_strength


class Polarity(StrEnum):
    """Which way a blob differs from the tissue around it."""

    BRIGHT = "bright"
    DARK = "dark"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierRules:
    """What counts as an outlier; lengths in mm, contrasts as a fraction of the local background.

    Parameters
    ----------
    smoothing_mm
        Standard deviation of the Gaussian against noise.
    background_mm
        Standard deviation of the Gaussian of the local background.
    min_sigma
        Robust standard deviations that a blob's core must differ by.
    min_bright_contrast, min_dark_contrast
        Fraction of the local background that a blob must differ by.
    min_size_mm, max_size_mm
        In-plane extent of the blob at half amplitude: its shorter side at least, its longer side at most.
    max_dark_size_mm
        Longer side of a dark blob at most: fluid spaces are larger.
    min_fill
        Fraction of its box that a blob fills (an ellipse fills 0.79, a curve little).
    min_solidity
        Fraction of the block around it that a blob fills over all its frames (an ellipsoid fills 0.52).
    max_elongation
        Longer over shorter axis of the blob's second moments.
    min_isolation
        Fraction of the surroundings that must lie below half of the blob's amplitude.
    max_mirrored
        Fraction of its contrast that the mirrored place shows at most; more is a paired structure.
    thick_slices_mm
        From this slice spacing on a blob may be seen on a single frame.
    """

    smoothing_mm: float
    background_mm: float
    min_sigma: float
    min_bright_contrast: float
    min_dark_contrast: float
    min_size_mm: float
    max_size_mm: float
    max_dark_size_mm: float
    min_fill: float
    min_solidity: float
    max_elongation: float
    min_isolation: float
    max_mirrored: float
    thick_slices_mm: float


_Extent = tuple[slice, slice, slice]
"""Part of a volume: frames, rows, columns."""

_FEW_FRAMES = 3
"""In so few frames, or fewer, a blob may be seen on a single one."""
_CORE_LEVELS = (4, 2, 1)
"""Multiples of the least contrast at which cores are looked for."""
_MIN_CORE_PIXELS = 4
"""Fewer are noise."""
_BACKGROUND_PASSES = 3
_MIN_WEIGHT = 0.05
"""A local background needs this fraction of region in its neighbourhood."""
_MIN_SIGMA = 0.02
"""Even a noiseless image has steps of one grey value."""
_MIN_INSIDE = 0.8
"""Fraction of a blob that lies in the region."""
_MIRROR_REACH_MM = 5.0
"""How exactly paired structures face each other."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchSpace:
    """Where blobs are looked for.

    Parameters
    ----------
    pixels
        uint8 (frames, rows, columns).
    region
        bool, of the same shape: the brain or the limb.
    pixel_size_mm, slice_spacing_mm
        Size of a square pixel and distance of frames.
    has_symmetry
        Whether left and right of the body face each other on the frames.
    """

    pixels: NDArray[np.uint8]
    region: Mask
    pixel_size_mm: float
    slice_spacing_mm: float
    has_symmetry: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One compact outlier, followed over frames.

    Parameters
    ----------
    polarity
        Brighter or darker than its surroundings.
    boxes
        Frame index and box (whole pixels, tight at half amplitude), ascending.
    size_mm
        Longest side of its boxes.
    contrast
        Amplitude as a fraction of the local background, positive.
    sigma
        Amplitude in robust standard deviations, positive.
    """

    polarity: Polarity
    boxes: tuple[tuple[int, Box], ...]
    size_mm: float
    contrast: float
    sigma: float


def find_blobs(space: SearchSpace, rules: OutlierRules) -> tuple[Blob, ...]:
    """Return the compact outliers of a region, in order of first frame and place.

    Parameters
    ----------
    space
        Where to look.
    rules
        What counts.
    """
    if not space.region.any():
        return ()
    smooth = blurred(space.pixels, rules.smoothing_mm / space.pixel_size_mm)
    relative = _relative_contrast(smooth, space.region, rules.background_mm / space.pixel_size_mm)
    midline = find_midline(smooth, space.region, space.pixel_size_mm) if space.has_symmetry else None
    sigma = max(float(np.median(np.abs(relative[space.region]))) * MAD_TO_SIGMA, _MIN_SIGMA)
    search = _Search(space=space, rules=rules, relative=relative, sigma=sigma, midline=midline)
    blobs = [blob for polarity in Polarity for blob in search.blobs(polarity)]
    return tuple(sorted(blobs, key=lambda blob: (blob.boxes[0][0], blob.boxes[0][1].y0, blob.boxes[0][1].x0)))


def _relative_contrast(smooth: Image, region: Mask, width_px: float) -> Image:
    """Return the difference from the local background, as a fraction of it; 0 outside the region's neighbourhood.

    The background is a mean over the region only, repeated without what stood out the time before.
    """
    weight = region.astype(np.float32)
    relative = np.zeros_like(smooth)
    for _ in range(_BACKGROUND_PASSES):
        total = _wide_mean(weight, width_px)
        mean = _wide_mean(weight * smooth, width_px) / np.maximum(total, _MIN_WEIGHT)
        background = np.where(total > _MIN_WEIGHT, mean, 0)
        relative = np.where(background > 1, smooth / np.maximum(background, 1) - 1, 0).astype(np.float32)
        spread = float(np.median(np.abs(relative[region]))) * MAD_TO_SIGMA
        weight = (region & (np.abs(relative) < max(2.5 * spread, _MIN_SIGMA))).astype(np.float32)
    return relative


def _wide_mean(image: Image, width_px: float) -> Image:
    """Return a mean over about a Gaussian of standard deviation ``width_px``, in the plane.

    Two running means of side w have the variance (w^2 - 1) / 6, and cost the same for every width.
    """
    side = max(round((6 * width_px**2 + 1) ** 0.5), 1)
    mean: Image = image
    for _ in range(2):
        mean = ndimage.uniform_filter(mean, size=(1, side, side), mode="constant")
    return mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search:
    """One search for blobs: the contrast, its spread, and the rules."""

    space: SearchSpace
    rules: OutlierRules
    relative: Image
    sigma: float
    midline: Midline | None

    def blobs(self, polarity: Polarity) -> list[Blob]:
        """Return the blobs of one polarity, strongest first.

        Cores are looked for from the highest contrast down, for at a low one a blob may be joined to its neighbours.
        """
        signed = self.relative if polarity is Polarity.BRIGHT else -self.relative
        taken = np.zeros(signed.shape, bool)
        found: list[Blob] = []
        for level in _CORE_LEVELS:
            cores, count = ndimage.label((signed > level * self._threshold(polarity)) & self.space.region)
            extents, sizes = ndimage.find_objects(cores), np.bincount(cores.ravel())[1:]
            fitting = [core for core in range(count) if self._may_be_core(extents[core], int(sizes[core]))]
            # ndimage.maximum would sort the whole volume
            peaks = {core: signed[extents[core]][cores[extents[core]] == core + 1].max() for core in fitting}
            for core in sorted(fitting, key=peaks.__getitem__, reverse=True):
                window = self._window(extents[core], signed.shape)
                core_mask = cores[window] == core + 1
                if (taken[window] & core_mask).any():
                    continue
                shape = grow_to_half(signed[window], core_mask, self.space.pixel_size_mm)
                if shape is None or (taken[window] & shape.mask).any():
                    continue
                blob = self._checked(polarity, signed, window, shape)
                if blob is not None:
                    taken[window] |= shape.mask
                    found.append(blob)
        return found

    def _threshold(self, polarity: Polarity) -> float:
        """Return the contrast that a blob of this polarity needs."""
        rules = self.rules
        least = rules.min_bright_contrast if polarity is Polarity.BRIGHT else rules.min_dark_contrast
        return max(least, rules.min_sigma * self.sigma)

    def _reach_px(self, length_mm: float) -> int:
        return int(np.ceil(length_mm / self.space.pixel_size_mm))

    def _may_be_core(self, extent: _Extent, size: int) -> bool:
        """Tell whether a core is more than noise, and no larger than any blob (the ventricles, the outline)."""
        height, width = (part.stop - part.start for part in extent[1:])
        return size >= _MIN_CORE_PIXELS and max(height, width) <= self._reach_px(self.rules.max_size_mm)

    def _window(self, extent: _Extent, shape: tuple[int, ...]) -> _Extent:
        """Return the part of the volume that holds a core, the blob around it and the surroundings of that."""
        pad_px = self._reach_px(self.rules.max_size_mm / 2 + RING_REACH_MM)
        pad_frames = int(np.ceil(self.rules.max_size_mm / max(self.space.slice_spacing_mm, 0.1)))
        pads = (min(pad_frames, shape[0]), pad_px, pad_px)
        frame, row, column = (
            slice(max(part.start - pad, 0), min(part.stop + pad, size))
            for part, pad, size in zip(extent, pads, shape, strict=True)
        )
        return frame, row, column

    def _checked(self, polarity: Polarity, signed: Image, window: _Extent, shape: Shape) -> Blob | None:
        """Return the blob that a shape is, or None where the rules say that it is none."""
        measures = measure(shape, self.space.pixel_size_mm)
        is_blob = (
            shape.amplitude > self._threshold(polarity)
            and shape.isolation >= self.rules.min_isolation
            and self._has_size(measures, polarity)
            and self._is_compact(measures)
            and float(self.space.region[window][shape.mask].mean()) >= _MIN_INSIDE
            and not self._is_paired(signed, window, shape)
        )
        if not is_blob:
            return None
        frame, row, column = (part.start for part in window)
        return Blob(
            polarity=polarity,
            boxes=tuple((frame + index, _moved(box, column, row)) for index, box in measures.boxes),
            size_mm=measures.longest_mm,
            contrast=shape.amplitude,
            sigma=shape.amplitude / self.sigma,
        )

    def _has_size(self, measures: Measures, polarity: Polarity) -> bool:
        """Tell whether a shape is neither too small nor too large, in the plane and across the frames."""
        rules, spacing_mm = self.rules, self.space.slice_spacing_mm
        longest_mm = rules.max_size_mm if polarity is Polarity.BRIGHT else rules.max_dark_size_mm
        across_mm = (len(measures.boxes) - 1) * spacing_mm
        may_be_single = spacing_mm >= rules.thick_slices_mm or len(self.space.pixels) <= _FEW_FRAMES
        return (
            measures.shortest_mm >= rules.min_size_mm
            and max(measures.longest_mm, across_mm) <= longest_mm
            and (may_be_single or len(measures.boxes) > 1)
        )

    def _is_compact(self, measures: Measures) -> bool:
        """Tell whether a shape is rather a ball than a line or a shell."""
        return (
            measures.fill >= self.rules.min_fill
            and measures.solidity >= self.rules.min_solidity
            and measures.elongation <= self.rules.max_elongation
        )

    def _is_paired(self, signed: Image, window: _Extent, shape: Shape) -> bool:
        """Tell whether the mirrored place stands out likewise, or is the place itself (on the midline)."""
        if self.midline is None:
            return False
        frame, row, column = (axis + part.start for axis, part in zip(np.nonzero(shape.mask), window, strict=True))
        own = float(signed[frame, row, column].mean())
        reach_px = _MIRROR_REACH_MM / self.space.pixel_size_mm
        return mirrored_strength(signed, (frame, row, column), self.midline, reach_px) > self.rules.max_mirrored * own


def _moved(box: Box, x: int, y: int) -> Box:
    return Box(x0=box.x0 + x, y0=box.y0 + y, x1=box.x1 + x, y1=box.y1 + y)
