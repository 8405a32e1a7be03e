"""Preprocessing and positions against transformers' own; the encoder's refusals."""

import importlib.metadata
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Qwen2VLImageProcessorPil
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from sgmri.errors import ConfigError, InvalidGeometry
from worker.engine.runtime import check_runtime
from worker.engine.vision import EncoderSpec, Grid, OnnxEncoder, grid_inputs, pad_to_blocks, preprocess

SPEC = EncoderSpec(
    patch=16,
    merge=2,
    temporal=2,
    side=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    grey_fold=True,
    precision="fp32",
    tower_sha256="0" * 64,
)


def noise(frames: int, rows: int, columns: int) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(7).integers(0, 256, (frames, rows, columns), dtype=np.uint8)
    pixels.reshape(-1)[:256] = np.arange(256)  # every grey value occurs
    return pixels


def of_processor(pixels: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    processor = Qwen2VLImageProcessorPil(
        patch_size=16,
        merge_size=2,
        temporal_patch_size=2,
        image_mean=list(mean),
        image_std=list(std),
        size={"shortest_edge": 32 * 32, "longest_edge": 4096 * 4096},
    )
    images = [np.repeat(frame[:, :, None], 3, axis=2) for frame in pixels]
    values: NDArray[np.float32] = processor(images, return_tensors="np")["pixel_values"]
    return values.reshape(len(pixels), -1, values.shape[-1])


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.5,) * 3, (0.5,) * 3), ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))],
)
@pytest.mark.parametrize("size", [(32, 32), (96, 64), (64, 160)])
def test_preprocessing_is_that_of_transformers(
    size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Patches are bit for bit those of the image processor of transformers for grey frames repeated as RGB."""
    pixels = noise(3, *size)
    ours = preprocess(pixels, patch=16, merge=2, mean=mean, std=std, temporal=2)
    theirs = of_processor(pixels, mean, std)
    assert ours.values.dtype == theirs.dtype == np.float32
    assert ours.grid == (size[0] // 16, size[1] // 16)
    assert np.array_equal(ours.values, theirs)


def test_folded_patches_are_one_channel_of_the_full_ones() -> None:
    """What a folded encoder is given is repeated in every channel and time of the full patches."""
    pixels = noise(2, 64, 96)
    folded = SPEC.preprocess(pixels).values
    full = replace(SPEC, grey_fold=False).preprocess(pixels).values
    assert folded.shape[-1] == SPEC.values_a_patch == 256
    assert np.array_equal(np.tile(folded, 6), full)


@pytest.mark.parametrize("grid", [(2, 2), (8, 8), (6, 10), (14, 4), (20, 20), (16, 40), (50, 50)])
@pytest.mark.parametrize("side", [16, 48])
def test_positions_are_those_of_transformers(grid: tuple[int, int], side: int) -> None:
    """Learned and rotary positions equal those that the Hugging Face tower computes, to the last bit."""
    ours = grid_inputs(Grid(*grid), side=side, merge=2)
    places = torch.tensor([[1, *grid]])
    indices, weights = get_vision_interpolation_indices_and_weights(
        places, num_grid_per_side=side, mode="bilinear", align_corners=True, spatial_merge_size=2
    )
    assert np.array_equal(ours.interp_indices, indices.numpy())
    assert np.array_equal(ours.interp_weights, weights.numpy())
    assert np.array_equal(ours.position_ids, get_vision_position_ids(places, 2).numpy())


@pytest.mark.parametrize("shape", [(2, 30, 32), (2, 32, 48), (0, 32, 32), (32, 32)])
def test_frames_that_do_not_divide_are_refused(shape: tuple[int, ...]) -> None:
    """Nothing is padded or cropped silently, since that would move or lose pixels."""
    with pytest.raises(InvalidGeometry):
        preprocess(np.zeros(shape, dtype=np.uint8), patch=16, merge=2)


def test_padding_keeps_coordinates() -> None:
    """Padding adds black below and to the right only, and nothing where nothing is missing."""
    pixels = noise(2, 40, 64)
    padded = pad_to_blocks(pixels, patch=16, merge=2)
    assert padded.shape == (2, 64, 64)
    assert np.array_equal(padded[:, :40], pixels)
    assert not padded[:, 40:].any()
    assert pad_to_blocks(padded, patch=16, merge=2) is padded


def test_specification_survives_the_file() -> None:
    """What the export writes into the metadata is what the encoder reads."""
    assert EncoderSpec.from_metadata(SPEC.to_metadata()) == SPEC


@pytest.mark.parametrize("change", [{"format": "other/1"}, {"side": "not JSON"}, {"mean": "3"}])
def test_foreign_metadata_is_refused(change: dict[str, str]) -> None:
    """A file that our export did not make is not guessed at."""
    with pytest.raises(ConfigError, match="sgmri model export"):
        EncoderSpec.from_metadata({**SPEC.to_metadata(), **change})


def test_both_runtimes_are_an_error_with_its_remedy(tmp_path: Path) -> None:
    """Two onnxruntime packages in one environment are refused before the file is looked at, with the command to run."""

    def both(name: str) -> str:
        return "1.0"

    with pytest.raises(ConfigError, match="pip uninstall --yes onnxruntime onnxruntime-gpu"):
        OnnxEncoder(tmp_path / "none.onnx", installed=both)


def test_onnxruntime_reports_nothing(tmp_path: Path) -> None:
    """Where no environment variable keeps it quiet, opening a session writes no identifier and starts no telemetry."""
    quiet = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in quiet} | {"TMPDIR": str(tmp_path)}
    code = (
        "from worker.engine.places import embedded_bundle; from worker.engine.runtime import open_session; "
        "open_session(embedded_bundle() / 'encoder.onnx', 'cpu', 1)"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
def test_one_runtime_is_enough(name: str) -> None:
    """Either package alone is fine."""

    def version(asked: str) -> str:
        if asked != name:
            raise importlib.metadata.PackageNotFoundError(asked)
        return "1.0"

    check_runtime(version)


def test_no_runtime_is_an_error_with_its_remedy() -> None:
    """Without a runtime the message says what to install."""

    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    with pytest.raises(ConfigError, match="pip install"):
        check_runtime(none)


def test_unreadable_files_are_configuration_errors(tmp_path: Path) -> None:
    """A missing and a damaged file, and an unknown provider, stop the process with a remedy."""
    with pytest.raises(ConfigError, match="cannot be opened"):
        OnnxEncoder(tmp_path / "missing.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no protobuf at all")
    with pytest.raises(ConfigError, match="cannot be opened"):
        OnnxEncoder(damaged)
    with pytest.raises(ConfigError, match="cpu, cuda"):
        OnnxEncoder(damaged, provider="tpu")
