"""Turn the vision tower of a Qwen3-VL checkpoint into an ``encoder.onnx``, and prove that it computes the same.

The Hugging Face module cannot be exported: it splits its attention by lengths that only the input knows. All frames
of a series have one size, so :class:`FrameTower` shares the module's parameters and puts frames on a batch axis.
Proven against the module itself, never against the twin; a file that fails the proof is not written.
"""

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx_ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionBlock,
    Qwen3VLVisionModel,
    Qwen3VLVisionPatchMerger,
    apply_rotary_pos_emb_vision,
)

from sgmri.errors import ConfigError
from worker.engine.tower import load_tower
from worker.engine.vision import EncoderSpec, Features, Grid, GridInputs, OnnxEncoder, grid_inputs, preprocess

OPSET = 23
"""The first with an Attention operator, which both providers implement."""
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 2e-3}
"""Largest allowed relative L2 difference of any output, by precision."""
INLINE_LIMIT_BYTES = 1_500_000_000
"""Larger weights go into a file of their own: a protobuf ends at 2 GB."""
PARITY_CASES: tuple[tuple[int, int, int], ...] = (
    (1, 4, 4),
    (40, 4, 4),
    (16, 4, 4),
    (8, 10, 10),
    (24, 10, 10),
    (2, 8, 20),
    (7, 7, 2),
    (3, 1, 1),
    (5, 3, 5),
    (1, 25, 25),
)
"""(frames, merged rows, merged columns): single frames and long series, square and not, down to one merged block."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityRow:
    """How far the encoder is from the module for one size of volume.

    Parameters
    ----------
    frames, h, w
        Frames, and patches down and across each.
    max_abs
        Largest absolute difference of any value of any output.
    rel_l2
        Largest relative L2 difference of any output (embeddings, each deep-stack level).
    """

    frames: int
    h: int
    w: int
    max_abs: float
    rel_l2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """Whether an encoder computes what the checkpoint's own vision module computes.

    Parameters
    ----------
    rows
        One a size of volume.
    tolerance
        Largest allowed ``rel_l2``.
    spec
        What was compared.
    """

    rows: tuple[ParityRow, ...]
    tolerance: float
    spec: EncoderSpec

    @property
    def is_good(self) -> bool:
        """Whether every row is within the tolerance (a NaN never is)."""
        return bool(self.rows) and all(row.rel_l2 <= self.tolerance for row in self.rows)

    def lines(self) -> tuple[str, ...]:
        """Return the report as lines of text."""
        fold = "folded (exact)" if self.spec.grey_fold else "not folded (channels are normalised differently)"
        return (
            f"precision {self.spec.precision}, grey input {fold}, tower {self.spec.tower_sha256[:12]}",
            "frames  grid     max abs   rel L2",
            *(f"{row.frames:6d}  {row.h:3d}x{row.w:<3d}  {row.max_abs:8.1e}  {row.rel_l2:8.1e}" for row in self.rows),
            f"{'good' if self.is_good else 'NOT GOOD'}: relative L2 allowed {self.tolerance:.0e}, "
            f"found at most {max((row.rel_l2 for row in self.rows), default=float('nan')):.1e}",
        )


class FrameTower(nn.Module):
    """The vision tower with frames on a batch axis; shares the module's parameters.

    Parameters
    ----------
    tower
        The Hugging Face module, in evaluation mode.
    grey_fold
        Sum the patch embedding over channels and time. Exact where these repeat one grey value.
    """

    def __init__(self, tower: Qwen3VLVisionModel, *, grey_fold: bool) -> None:
        super().__init__()
        self.tower = tower
        convolution = tower.patch_embed.proj
        self.patch_weight = nn.Buffer(patch_weight(tower, grey_fold=grey_fold).detach().contiguous())
        assert convolution.bias is not None
        self.patch_bias = nn.Buffer(convolution.bias.detach().clone())
        # The module's own; float32 whatever the tower's precision
        self.inv_freq = nn.Buffer(tower.rotary_pos_emb.inv_freq.detach().float().clone())

    def forward(
        self, patches: Tensor, interp_indices: Tensor, interp_weights: Tensor, position_ids: Tensor
    ) -> tuple[Tensor, ...]:
        """Return embeddings and deep-stack levels, each float32 (frames, tokens, width).

        Parameters
        ----------
        patches
            float32 (frames, patches, values).
        interp_indices, interp_weights, position_ids
            As in :class:`worker.engine.vision.GridInputs`.
        """
        hidden = linear(patches.to(self.patch_weight.dtype), self.patch_weight, self.patch_bias)
        return self.from_patches(hidden, interp_indices, interp_weights, position_ids)

    def from_patches(
        self, hidden: Tensor, interp_indices: Tensor, interp_weights: Tensor, position_ids: Tensor
    ) -> tuple[Tensor, ...]:
        """Go on from embedded patches, (frames, patches, hidden size): training embeds them with live weights."""
        tower = self.tower
        learned = (tower.pos_embed(interp_indices) * interp_weights[:, :, None]).sum(1)
        hidden = hidden + learned.to(hidden.dtype)
        angles = (position_ids[..., None].float() * self.inv_freq).flatten(1)
        angles = torch.cat([angles, angles], dim=-1)
        cos, sin = angles.cos(), angles.sin()
        levels = list(tower.deepstack_visual_indexes)
        deepstack = []
        for number, module in enumerate(tower.blocks):
            block = cast(Qwen3VLVisionBlock, module)
            hidden = hidden + _attend(block.attn, block.norm1(hidden), cos, sin)
            hidden = hidden + block.mlp(block.norm2(hidden))
            if number in levels:
                merger = cast(Qwen3VLVisionPatchMerger, tower.deepstack_merger_list[levels.index(number)])
                deepstack.append(_merge(merger, hidden))
        return _merge(tower.merger, hidden), *deepstack


def patch_weight(tower: Qwen3VLVisionModel, *, grey_fold: bool) -> Tensor:
    """Return the patch embedding as a matrix, (hidden size, values of a patch), with its gradient."""
    weight = tower.patch_embed.proj.weight
    if grey_fold:
        weight = weight.double().sum(dim=(1, 2)).to(weight.dtype)
    return weight.flatten(1)


def _attend(attention: Qwen3VLVisionAttention, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Attend within each frame: no mask and no lengths are needed."""
    frames, patches, width = hidden.shape
    qkv = attention.qkv(hidden).reshape(frames, patches, 3, attention.num_heads, -1)
    query, key, value = qkv.unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
    attended = scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    projected: Tensor = attention.proj(attended.transpose(1, 2).reshape(frames, patches, width))
    return projected


def _merge(merger: Qwen3VLVisionPatchMerger, hidden: Tensor) -> Tensor:
    frames = hidden.shape[0]
    merged = hidden.reshape(frames, -1, merger.hidden_size)
    normed = merger.norm(merged) if merger.use_postshuffle_norm else merger.norm(hidden).reshape(merged.shape)
    projected: Tensor = merger.linear_fc2(merger.act_fn(merger.linear_fc1(normed)))
    return projected.float()


def export_encoder(
    checkpoint: Path, out: Path, *, precision: str = "fp32", inline_limit_bytes: int = INLINE_LIMIT_BYTES
) -> ParityReport:
    """Write the vision tower of a checkpoint as an ONNX file with dynamic frames and grid.

    Parameters
    ----------
    checkpoint
        Local directory in the Hugging Face layout; only its vision tensors are read.
    out
        The file to write; replaced at once, or left as it was. Nothing is written where the report is not good.
    precision
        ``fp32`` or ``fp16``.
    inline_limit_bytes
        Weights above this go into a data file beside ``out``, named by content.

    Returns
    -------
    ParityReport
        Against the checkpoint's own module in float32, on the CPU, for the file as written.

    Raises
    ------
    ConfigError
        If the checkpoint is not a Qwen3-VL one, or is incomplete.
    """
    if precision not in TOLERANCES:
        raise ConfigError(f"expected a precision of {', '.join(TOLERANCES)}, found {precision!r}")
    tower, spec = load_tower(checkpoint, precision=precision)
    cast_tower: Qwen3VLVisionModel = tower if precision == "fp32" else nn.Module.half(deepcopy(tower))
    twin = FrameTower(cast_tower, grey_fold=spec.grey_fold)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        written = Path(scratch) / out.name
        _write(twin.eval(), spec, written, inline_limit_bytes)
        encoder = OnnxEncoder(written, provider="cpu", threads=torch.get_num_threads())
        report = check_parity(tower, encoder)
        encoder.close()
        if report.is_good:
            _publish(written, out)
        else:
            _LOG.error("the exported encoder does not compute what the checkpoint computes: nothing was written")
    return report


def check_parity(
    tower: Qwen3VLVisionModel, encoder: OnnxEncoder, cases: Sequence[tuple[int, int, int]] = PARITY_CASES
) -> ParityReport:
    """Compare an encoder with the Hugging Face module on noise.

    Parameters
    ----------
    tower
        The module in float32, on the CPU.
    encoder
        On any provider.
    cases
        (frames, merged rows, merged columns) to compare at.
    """
    spec = encoder.spec
    random = np.random.default_rng(0)
    rows = []
    for frames, merged_rows, merged_columns in cases:
        block = spec.patch * spec.merge
        pixels = random.integers(0, 256, (frames, merged_rows * block, merged_columns * block), dtype=np.uint8)
        patches = spec.preprocess(pixels)
        found = encoder.encode(patches.values, patches.grid)
        differences = list(_differences(found, module_features(tower, pixels, spec)))
        rows.append(
            ParityRow(
                frames=frames,
                h=patches.grid.rows,
                w=patches.grid.columns,
                max_abs=max(largest for largest, _ in differences),
                rel_l2=max(relative for _, relative in differences),
            )
        )
    return ParityReport(rows=tuple(rows), tolerance=TOLERANCES[spec.precision], spec=spec)


def module_features(tower: Qwen3VLVisionModel, pixels: NDArray[np.uint8], spec: EncoderSpec) -> Features:
    """Return what the Hugging Face module itself computes, on its own device and without any folding.

    Parameters
    ----------
    tower
        The module.
    pixels
        uint8 (frames, rows, columns), dividing into merged blocks.
    spec
        Patch sizes and normalisation.
    """
    cut = preprocess(pixels, patch=spec.patch, merge=spec.merge, mean=spec.mean, std=spec.std, temporal=spec.temporal)
    weight = tower.patch_embed.proj.weight
    values = torch.from_numpy(cut.values).flatten(0, 1).to(weight.device, weight.dtype)
    places = torch.tensor([[1, *cut.grid]] * len(pixels), device=weight.device)
    with torch.inference_mode():
        output = tower(values, grid_thw=places, return_dict=True)
    frames = len(pixels)
    embeds, *deepstack = (
        level.float().cpu().numpy().reshape(frames, -1, level.shape[-1])
        for level in (output.pooler_output, *output.deepstack_features)
    )
    return Features(embeds=embeds, deepstack=tuple(deepstack))


def tower_inputs(patches: NDArray[np.float32], places: GridInputs) -> tuple[Tensor, ...]:
    """Return the arguments of :class:`FrameTower`."""
    arrays = (patches, places.interp_indices, places.interp_weights, places.position_ids)
    return tuple(torch.tensor(array) for array in arrays)


def _differences(found: Features, expected: Features) -> Iterator[tuple[float, float]]:
    """Yield (largest absolute, relative L2) for each output."""
    pairs = zip((found.embeds, *found.deepstack), (expected.embeds, *expected.deepstack), strict=True)
    for ours, theirs in pairs:
        difference = (ours - theirs).astype(np.float64)
        norm = float(np.linalg.norm(theirs.astype(np.float64)))
        yield float(np.abs(difference).max()), float(np.linalg.norm(difference)) / norm


def _write(twin: FrameTower, spec: EncoderSpec, path: Path, inline_limit_bytes: int) -> None:
    places = grid_inputs(Grid(2 * spec.merge, 3 * spec.merge), side=spec.side, merge=spec.merge)
    patches = np.zeros((3, len(places.position_ids), spec.values_a_patch), dtype=np.float32)
    # A grid holds whole merged blocks
    patches_dim = spec.merge**2 * Dim("quads", min=1, max=4096)
    levels = len(twin.tower.deepstack_visual_indexes)
    with torch.inference_mode(), _quiet():
        program = torch.onnx.export(
            twin,
            tower_inputs(patches, places),
            dynamo=True,
            opset_version=OPSET,
            input_names=["patches", "interp_indices", "interp_weights", "position_ids"],
            output_names=["embeds", *(f"deepstack_{level}" for level in range(levels))],
            dynamic_shapes=({0: Dim("frames", min=1, max=512), 1: patches_dim}, *({0: patches_dim} for _ in range(3))),
            verbose=False,
        )
    assert program is not None
    model = program.model
    model.metadata_props.update(spec.to_metadata())
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    identity = hashlib.sha256(json.dumps([spec.to_metadata(), torch.__version__]).encode()).hexdigest()
    external = f"{path.stem}-{identity[:12]}.data" if size > inline_limit_bytes else None
    onnx_ir.save(model, path, external_data=external)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about itself: nothing of it can be acted upon here."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # "torchvision is not installed": nor is it wanted
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
            warnings.filterwarnings("ignore", message="`isinstance.treespec", category=FutureWarning)
            yield
    finally:
        registration.setLevel(level)


def _publish(written: Path, out: Path) -> None:
    """Move a finished file, and its data first: a reader sees the old encoder or the new one, always whole."""
    fresh = sorted(written.parent.glob("*.data"))
    for data in fresh:
        data.replace(out.parent / data.name)
    written.replace(out)
    kept = {data.name for data in fresh}
    for data in out.parent.glob(f"{out.stem}-{'[0-9a-f]' * 12}.data"):
        if data.name not in kept:
            data.unlink()  # the replaced encoder's
