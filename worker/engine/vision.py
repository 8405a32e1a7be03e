"""Make grey frames into visual features: numpy before the vision tower, onnxruntime for the tower itself.

The tower is an ``encoder.onnx`` that :mod:`worker.engine.export` made from a Qwen3-VL checkpoint. What the file
needs at its inputs is written in its metadata (:class:`EncoderSpec`), so that the two cannot drift apart.
"""

import importlib.metadata
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgmri.errors import ConfigError, EngineError, EngineUnavailable, InvalidGeometry
from worker.engine.runtime import check_runtime, open_session, provider_in_use

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_LOG = logging.getLogger(__name__)
_FORMAT = "sgmri-encoder/1"
_PATCHES_A_RUN = 16_384
"""Frames do not attend to each other, so a large volume is encoded in parts; bounds the memory of the attention."""


class Grid(NamedTuple):
    """How many patches a frame has.

    Parameters
    ----------
    rows, columns
        Patches down and across a frame; multiples of the merge size.
    """

    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patches:
    """The frames of a volume, cut up for the tower.

    Parameters
    ----------
    values
        float32 (frames, patches, values): normalised pixels. Patches run in merge order (each merged block's
        patches lie together), values in the order channel, time, row, column.
    grid
        Patches down and across a frame.
    """

    values: NDArray[np.float32]
    grid: Grid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridInputs:
    """What the tower needs to know about places, for one grid.

    Parameters
    ----------
    interp_indices, interp_weights
        int64, float32 (patches, 4): the four learned positions around each patch, and their bilinear weights.
    position_ids
        int64 (patches, 2): row and column of each patch, for the rotary positions.
    """

    interp_indices: NDArray[np.int64]
    interp_weights: NDArray[np.float32]
    position_ids: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """What the language model sees of a volume.

    Parameters
    ----------
    embeds
        float32 (frames, tokens, width).
    deepstack
        One array of the same shape for each of the first layers of the language model.
    """

    embeds: NDArray[np.float32]
    deepstack: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """What an encoder file is and what it expects; lives in the file's metadata.

    Parameters
    ----------
    patch, merge, temporal
        Pixels along a patch, patches along a merged block, repetitions of a frame in time.
    side
        Learned positions along one side of the (square) table.
    mean, std
        Normalisation of each channel, for pixels in 0..1.
    grey_fold
        Whether channels and time were summed into the patch embedding: then a patch has patch x patch values.
    precision
        ``fp32`` or ``fp16`` (inside; inputs and outputs are float32).
    tower_sha256
        Digest of the checkpoint's vision tensors as stored.
    """

    patch: int
    merge: int
    temporal: int
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    grey_fold: bool
    precision: str
    tower_sha256: str

    @property
    def values_a_patch(self) -> int:
        """Length of the last axis of the tower's input."""
        repeated = 1 if self.grey_fold else len(self.mean) * self.temporal
        return repeated * self.patch * self.patch

    def preprocess(self, frames: NDArray[np.uint8]) -> Patches:
        """Cut frames into patches as this encoder expects them (see :func:`preprocess`)."""
        if self.grey_fold:
            return preprocess(frames, patch=self.patch, merge=self.merge, mean=self.mean[:1], std=self.std[:1])
        return preprocess(
            frames, patch=self.patch, merge=self.merge, mean=self.mean, std=self.std, temporal=self.temporal
        )

    def to_metadata(self) -> dict[str, str]:
        """Return the entries for the file's ``metadata_props``."""
        entries = {name: json.dumps(getattr(self, name)) for name in self.__slots__}
        return {"format": _FORMAT, **entries}

    @classmethod
    def from_metadata(cls, entries: Mapping[str, str]) -> "EncoderSpec":
        """Read the entries back.

        Raises
        ------
        ConfigError
            If the file was not made by this product's export.
        """
        if entries.get("format") != _FORMAT:
            raise ConfigError(
                f"expected an encoder of format {_FORMAT}, found {entries.get('format', 'none')}; "
                "make it again with: sgmri model export"
            )
        try:
            fields = {name: json.loads(entries[name]) for name in cls.__slots__}
            fields |= {name: tuple(fields[name]) for name in ("mean", "std")}
            return cls(**fields)
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"the encoder's metadata is damaged ({type(error).__name__}); make it again with: sgmri model export"
            ) from error


def pad_to_blocks(frames: NDArray[np.uint8], *, patch: int, merge: int) -> NDArray[np.uint8]:
    """Add black rows below and black columns to the right until frames divide into merged blocks.

    Boxes keep their coordinates, since the origin (the outer corner of the top-left pixel) stays.

    Parameters
    ----------
    frames
        uint8 (frames, rows, columns).
    patch, merge
        Pixels along a patch, patches along a merged block.

    Returns
    -------
    uint8 (frames, rows, columns)
        The same array where nothing was missing.
    """
    block = patch * merge
    missing = tuple(-size % block for size in frames.shape[1:])
    if not any(missing):
        return frames
    return np.pad(frames, ((0, 0), *((0, pixels) for pixels in missing)))


def preprocess(
    frames: NDArray[np.uint8],
    *,
    patch: int,
    merge: int,
    mean: tuple[float, ...] = (0.5,),
    std: tuple[float, ...] = (0.5,),
    temporal: int = 1,
) -> Patches:
    """Normalise grey frames and cut them into patches; bit for bit what the Hugging Face image processor does.

    Nothing is resized or padded here: that changes where boxes lie and therefore belongs to the caller
    (:func:`pad_to_blocks`).

    Parameters
    ----------
    frames
        uint8 (frames, rows, columns); rows and columns are multiples of ``patch * merge``.
    patch, merge
        Pixels along a patch, patches along a merged block.
    mean, std
        Normalisation of each channel, for pixels in 0..1. One entry: grey; three: the grey value repeated as RGB.
    temporal
        How often a frame is repeated in time.

    Raises
    ------
    InvalidGeometry
        If the frames do not divide into merged blocks.
    """
    block = patch * merge
    if frames.dtype != np.uint8 or frames.ndim != 3 or 0 in frames.shape:
        raise InvalidGeometry(f"expected uint8 (frames, rows, columns), found {frames.dtype} {frames.shape}")
    count, height, width = frames.shape
    if height % block or width % block:
        raise InvalidGeometry(
            f"expected rows and columns that are multiples of {block}, found {height} x {width}; use pad_to_blocks"
        )
    grid = Grid(height // patch, width // patch)
    blocks = frames.reshape(count, grid.rows // merge, merge, patch, grid.columns // merge, merge, patch)
    patches = blocks.transpose(0, 1, 4, 2, 5, 3, 6).reshape(count, grid.rows * grid.columns, patch * patch)
    # One table of 256 entries a channel: the rounding of the original (float64, then float32), done once
    in_unit = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    channels = [((in_unit - np.float32(m)) / np.float32(s))[patches] for m, s in zip(mean, std, strict=True)]
    values = np.concatenate([channel for channel in channels for _ in range(temporal)], axis=-1)
    return Patches(values=values, grid=grid)


@lru_cache(maxsize=32)
def grid_inputs(grid: Grid, *, side: int, merge: int) -> GridInputs:
    """Return the positions of a grid's patches, in merge order; do not write into the arrays.

    Parameters
    ----------
    grid
        Patches down and across a frame.
    side
        Learned positions along one side of the table; the grid is spread over it corner to corner.
    merge
        Patches along a merged block.

    Raises
    ------
    InvalidGeometry
        If the grid does not divide into merged blocks.
    """
    if min(grid) < 1 or grid.rows % merge or grid.columns % merge:
        raise InvalidGeometry(f"expected a grid of multiples of {merge}, found {grid.rows} x {grid.columns}")
    rows, columns = np.divmod(np.arange(grid.rows * grid.columns, dtype=np.int64), grid.columns)
    position_ids = np.stack([_in_merge_order(rows, grid, merge), _in_merge_order(columns, grid, merge)], axis=-1)
    row_taps, row_weights = _taps(position_ids[:, 0], grid.rows, side)
    column_taps, column_weights = _taps(position_ids[:, 1], grid.columns, side)
    inputs = GridInputs(
        interp_indices=(row_taps[:, :, None] * side + column_taps[:, None, :]).reshape(-1, 4),
        interp_weights=(row_weights[:, :, None] * column_weights[:, None, :]).reshape(-1, 4),
        position_ids=position_ids,
    )
    for array in (inputs.interp_indices, inputs.interp_weights, inputs.position_ids):
        array.flags.writeable = False  # they are shared by every caller
    return inputs


def _in_merge_order(values: NDArray[np.int64], grid: Grid, merge: int) -> NDArray[np.int64]:
    blocks = values.reshape(grid.rows // merge, merge, grid.columns // merge, merge)
    return blocks.transpose(0, 2, 1, 3).reshape(-1)


def _taps(index: NDArray[np.int64], size: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the two neighbours in the table and their weights: int64, float32 (patches, 2)."""
    source = index.astype(np.float32) * np.float32(side - 1) / np.float32(max(size - 1, 1))
    floor = np.floor(source)
    offsets = np.arange(2)
    taps = np.clip(floor.astype(np.int64)[:, None] + offsets, 0, side - 1)
    distance = np.abs(source[:, None] - floor[:, None] - offsets.astype(np.float32))
    return taps, np.maximum(np.float32(1) - distance, np.float32(0))


class OnnxEncoder:
    """Runs an ``encoder.onnx`` in onnxruntime.

    Parameters
    ----------
    path
        The file; its external data, if any, beside it.
    provider
        ``cpu`` or ``cuda``.
    allow_cpu_fallback
        Whether ``cuda`` may become the CPU where it cannot be had; onnxruntime would do so without a word.
    threads
        Threads of one run on the CPU; None leaves it to onnxruntime.
    installed
        Returns the version of an installed distribution or raises ``PackageNotFoundError``.

    Raises
    ------
    ConfigError
        If both onnxruntime packages are installed, none is, or the file is no encoder of ours.
    EngineUnavailable
        If CUDA was asked for and onnxruntime would not use it.
    """

    def __init__(
        self,
        path: Path,
        *,
        provider: str = "cpu",
        allow_cpu_fallback: bool = False,
        threads: int | None = None,
        installed: Callable[[str], str] = importlib.metadata.version,
    ) -> None:
        check_runtime(installed)
        self._session: InferenceSession | None = open_session(path, provider, threads)
        self.provider = provider_in_use(self._session)
        """``cpu`` or ``cuda``: what is in use."""
        if provider == "cuda" != self.provider:
            if not allow_cpu_fallback:
                self.close()
                raise EngineUnavailable(
                    "expected the encoder on CUDA, found that onnxruntime would use the CPU; install onnxruntime-gpu "
                    "(not onnxruntime) with its CUDA and cuDNN libraries and check that nvidia-smi lists a device, "
                    "or allow the CPU as a fallback"
                )
            _LOG.warning("encoder: CUDA was asked for and cannot be had; running on the CPU, as allowed")
        self.spec = EncoderSpec.from_metadata(self._session.get_modelmeta().custom_metadata_map)
        """What the file is and what it expects."""

    def encode(self, patches: NDArray[np.float32], grid: Grid) -> Features:
        """Encode the frames of one volume.

        Parameters
        ----------
        patches
            float32 (frames, patches, values): :attr:`Patches.values` of this encoder's own preprocessing.
        grid
            Patches down and across a frame.

        Raises
        ------
        InvalidGeometry
            If patches and grid do not fit each other or the encoder.
        EngineUnavailable
            If the encoder is closed, or onnxruntime fails (memory).
        EngineError
            If features are not finite.
        """
        session = self._session
        if session is None:
            raise EngineUnavailable("the encoder is closed; open it again")
        places = grid_inputs(Grid(*grid), side=self.spec.side, merge=self.spec.merge)
        count = len(places.position_ids)
        if patches.dtype != np.float32 or patches.shape[1:] != (count, self.spec.values_a_patch) or not len(patches):
            raise InvalidGeometry(
                f"expected float32 (frames, {count}, {self.spec.values_a_patch}) for this encoder and grid, "
                f"found {patches.dtype} {patches.shape}"
            )
        step = max(1, _PATCHES_A_RUN // count)
        parts = [_run(session, patches[start : start + step], places) for start in range(0, len(patches), step)]
        embeds, *deepstack = (np.concatenate(part) if len(part) > 1 else part[0] for part in zip(*parts, strict=True))
        if not all(np.isfinite(output).all() for output in (embeds, *deepstack)):
            raise EngineError(
                "expected finite features, found NaN or infinity; where the encoder is fp16, export it as fp32"
            )
        return Features(embeds=embeds, deepstack=tuple(deepstack))

    def close(self) -> None:
        """Release memory and device; harmless twice."""
        self._session = None


def _run(session: "InferenceSession", patches: NDArray[np.float32], places: GridInputs) -> list[NDArray[np.float32]]:
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    try:
        outputs: list[NDArray[np.float32]] = session.run(
            None,
            {
                "patches": patches,
                "interp_indices": places.interp_indices,
                "interp_weights": places.interp_weights,
                "position_ids": places.position_ids,
            },
        )
    except (native.RuntimeException, native.Fail) as error:
        raise EngineUnavailable(
            f"onnxruntime failed on {len(patches)} frames of {patches.shape[1]} patches ({type(error).__name__}); "
            "most often memory: stop other work on this device"
        ) from error
    return outputs
