"""The exported encoder against the Hugging Face module, and what an export refuses."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from sgmri.errors import ConfigError, EngineError, EngineUnavailable, InvalidGeometry
from tests.worker.engine.tiny_model import save_tiny_model, tiny_model
from worker.engine.export import (
    PARITY_CASES,
    FrameTower,
    ParityReport,
    check_parity,
    export_encoder,
    module_features,
    tower_inputs,
)
from worker.engine.tower import load_tower
from worker.engine.vision import Grid, OnnxEncoder, grid_inputs

# onnxruntime-gpu lists CUDA on machines without any device, too
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers() and Path("/dev/nvidiactl").exists()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Several shards, as the large ones have
    return save_tiny_model(tmp_path_factory.mktemp("checkpoint"), shard_size="2MB")


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ParityReport]:
    path = tmp_path_factory.mktemp("fp32") / "encoder.onnx"
    return path, export_encoder(checkpoint, path)


@pytest.fixture(scope="module")
def encoder_path(exported: tuple[Path, ParityReport]) -> Path:
    return exported[0]


def copy_of(checkpoint: Path, directory: Path) -> Path:
    shutil.copytree(checkpoint, directory, dirs_exist_ok=True)
    return directory


def test_the_encoder_is_the_module(exported: tuple[Path, ParityReport]) -> None:
    """At least nine sizes of volume, one dynamic file: every output is the module's own to 1e-4."""
    path, report = exported
    assert path.is_file()
    assert len({(row.frames, row.h, row.w) for row in report.rows}) == len(PARITY_CASES) >= 9
    assert report.tolerance == 1e-4
    assert all(0 <= row.rel_l2 <= 1e-4 for row in report.rows)
    assert report.is_good
    assert "good" in report.lines()[-1]


def test_the_encoder_is_the_whole_model_s_vision(encoder_path: Path) -> None:
    """Loading the tower alone loses nothing: features equal those that the complete saved model computes."""
    model = tiny_model()
    encoder = OnnxEncoder(encoder_path, threads=1)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 96), dtype=np.uint8)
    patches = encoder.spec.preprocess(pixels)
    ours = encoder.encode(patches.values, patches.grid)
    theirs = module_features(model.model.visual, pixels, encoder.spec)
    assert ours.embeds.shape == (3, 6, 96)
    assert len(ours.deepstack) == len(theirs.deepstack) == 2
    for mine, other in zip((ours.embeds, *ours.deepstack), (theirs.embeds, *theirs.deepstack), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


def test_other_weights_are_noticed(encoder_path: Path, tmp_path: Path) -> None:
    """The parity report can fail: against a tower of other weights it does."""
    tower, _ = load_tower(save_tiny_model(tmp_path, seed=1))
    report = check_parity(tower, OnnxEncoder(encoder_path, threads=1), cases=((2, 2, 2),))
    assert not report.is_good
    assert report.lines()[-1].startswith("NOT GOOD")


def test_half_precision_is_close(checkpoint: Path, tmp_path: Path) -> None:
    """An fp16 file is half as large, runs on the CPU provider, and stays within 2e-3 of the float32 module."""
    path = tmp_path / "encoder.onnx"
    report = export_encoder(checkpoint, path, precision="fp16")
    assert report.is_good, "\n".join(report.lines())
    assert report.tolerance == 2e-3
    assert max(row.rel_l2 for row in report.rows) > 1e-5  # it really computes in half
    weights = onnx.load(path).graph.initializer
    assert {onnx.TensorProto.FLOAT16} == {weight.data_type for weight in weights if np.prod(weight.dims) > 1000}


def test_unequal_channels_are_not_folded(checkpoint: Path, tmp_path: Path) -> None:
    """Channels normalised differently cannot be summed: the file says so and takes full patches.

    Large weights lie beside it; they replace those of an earlier export, and nothing else is left behind.
    """
    source = copy_of(checkpoint, tmp_path / "checkpoint")
    processor = json.loads((source / "preprocessor_config.json").read_text())
    processor["image_mean"] = [0.48, 0.46, 0.41]
    (source / "preprocessor_config.json").write_text(json.dumps(processor))
    out = tmp_path / "out" / "encoder.onnx"
    out.parent.mkdir()
    (out.parent / "encoder-0123456789ab.data").write_bytes(b"of an earlier export")
    report = export_encoder(source, out, inline_limit_bytes=0)
    assert report.is_good, "\n".join(report.lines())
    assert not report.spec.grey_fold
    assert "not folded" in report.lines()[0]
    encoder = OnnxEncoder(out, threads=1)
    assert encoder.spec == report.spec
    assert encoder.spec.values_a_patch == 3 * 2 * 16 * 16
    (data,) = out.parent.glob("*.data")
    assert {path.name for path in out.parent.iterdir()} == {"encoder.onnx", data.name}
    assert out.stat().st_size < data.stat().st_size
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be opened"):
        OnnxEncoder(out)


def test_the_file_says_what_it_is(checkpoint: Path, encoder_path: Path) -> None:
    """Opset, dynamic axes, patch sizes, folding and the tower's digest are in the file."""
    model = onnx.load(encoder_path)
    onnx.checker.check_model(model)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] >= 20
    frames, patches, values = model.graph.input[0].type.tensor_type.shape.dim
    assert (frames.dim_param, values.dim_value) == ("frames", 256)
    assert patches.dim_param
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["grey_fold"] == "true"
    assert (metadata["patch"], metadata["merge"], metadata["temporal"]) == ("16", "2", "2")
    assert json.loads(metadata["tower_sha256"]) == load_tower(checkpoint)[1].tower_sha256


def test_the_digest_is_the_tower_s_alone(checkpoint: Path, tmp_path: Path) -> None:
    """A tune of the language model keeps the digest; one changed vision weight changes it."""
    digest = load_tower(checkpoint)[1].tower_sha256
    tuned = copy_of(checkpoint, tmp_path)

    def change(name: str) -> str:
        index = json.loads((tuned / "model.safetensors.index.json").read_text())["weight_map"]
        shard = tuned / index[name]
        tensors = load_file(shard)
        tensors[name].view(-1)[0] += 1
        save_file(tensors, shard)
        return load_tower(tuned)[1].tower_sha256

    assert change("model.language_model.norm.weight") == digest
    assert change("model.visual.merger.norm.weight") != digest


def test_frames_are_independent(encoder_path: Path) -> None:
    """A volume too large for one run is encoded in parts, with the same features as frame by frame."""
    encoder = OnnxEncoder(encoder_path, threads=1)
    pixels = np.random.default_rng(2).integers(0, 256, (9, 704, 704), dtype=np.uint8)  # 17424 patches
    patches = encoder.spec.preprocess(pixels)
    together = encoder.encode(patches.values, patches.grid)
    last = encoder.encode(patches.values[8:], patches.grid)
    assert together.embeds.shape == (9, 22 * 22, 96)
    np.testing.assert_allclose(together.embeds[8:], last.embeds, atol=1e-4)
    np.testing.assert_allclose(together.deepstack[1][8:], last.deepstack[1], atol=1e-4)


def test_the_unfolded_twin_is_the_folded_one(checkpoint: Path) -> None:
    """Folding is exact: the twin with and without it give the same features for the same grey frames."""
    tower, spec = load_tower(checkpoint)
    places = grid_inputs(Grid(4, 6), side=spec.side, merge=spec.merge)
    folded = spec.preprocess(np.random.default_rng(3).integers(0, 256, (2, 64, 96), dtype=np.uint8)).values
    with torch.inference_mode():
        ours = FrameTower(tower, grey_fold=True)(*tower_inputs(folded, places))
        full = FrameTower(tower, grey_fold=False)(*tower_inputs(np.tile(folded, 6), places))
    for mine, other in zip(ours, full, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-5)


@pytest.mark.skipif(HAS_CUDA, reason="CUDA works here")
def test_a_silent_fallback_is_an_error(encoder_path: Path) -> None:
    """CUDA that became the CPU is refused with its remedy, unless it is allowed; then the encoder says so."""
    with pytest.raises(EngineUnavailable, match="install onnxruntime-gpu"):
        OnnxEncoder(encoder_path, provider="cuda")
    assert OnnxEncoder(encoder_path, provider="cuda", allow_cpu_fallback=True).provider == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu and a CUDA device")
def test_the_encoder_is_the_module_on_cuda(checkpoint: Path, encoder_path: Path) -> None:
    """On the CUDA provider too, every output is the module's own (TF32 aside: 2e-3)."""
    encoder = OnnxEncoder(encoder_path, provider="cuda")
    assert encoder.provider == "cuda"
    assert max(row.rel_l2 for row in check_parity(load_tower(checkpoint)[0], encoder).rows) < 2e-3


def test_what_does_not_fit_is_refused(encoder_path: Path) -> None:
    """Wrong grid, wrong patches, no frames, numbers that are none, and a closed encoder are errors, never features."""
    encoder = OnnxEncoder(encoder_path, threads=1)
    good = np.zeros((1, 16, 256), dtype=np.float32)
    for patches, grid in [
        (good, Grid(4, 6)),
        (good, Grid(16, 1)),
        (good[:0], Grid(4, 4)),
        (np.zeros((1, 16, 1536), dtype=np.float32), Grid(4, 4)),
    ]:
        with pytest.raises(InvalidGeometry):
            encoder.encode(patches, grid)
    with pytest.raises(EngineError, match="NaN"):
        encoder.encode(np.full_like(good, np.nan), Grid(4, 4))
    encoder.close()
    encoder.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        encoder.encode(good, Grid(4, 4))


@pytest.mark.parametrize("key", ["model_type", "vision_config"])
def test_other_models_are_refused(checkpoint: Path, tmp_path: Path, key: str) -> None:
    """A checkpoint of another family is no vision tower of ours, and nothing is written."""
    source = copy_of(checkpoint, tmp_path / "checkpoint")
    config = json.loads((source / "config.json").read_text())
    config[key] = "llama"
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="qwen3_vl"):
        export_encoder(source, tmp_path / "out" / "encoder.onnx")
    assert not (tmp_path / "out").exists()


def test_mixtures_of_experts_have_the_same_tower(checkpoint: Path, tmp_path: Path) -> None:
    """The tower of a qwen3_vl_moe checkpoint is read like any other; so are bfloat16 weights."""
    source = copy_of(checkpoint, tmp_path)
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": "qwen3_vl_moe"}
    config["vision_config"]["model_type"] = "qwen3_vl_moe"
    (source / "config.json").write_text(json.dumps(config))
    for shard in source.glob("*.safetensors"):
        save_file({name: tensor.bfloat16() for name, tensor in load_file(shard).items()}, shard)
    tower, spec = load_tower(source)
    assert tower.patch_embed.proj.weight.dtype == torch.float32
    assert spec.side == 16


@pytest.mark.parametrize("missing", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
def test_incomplete_checkpoints_are_refused(checkpoint: Path, tmp_path: Path, missing: str) -> None:
    """A file that is missing is a configuration error, not a guess at what it would have said."""
    source = copy_of(checkpoint, tmp_path)
    (source / missing).unlink()
    with pytest.raises(ConfigError):
        load_tower(source)


def test_missing_tensors_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    """A tower with one tensor missing is not filled with random numbers."""
    source = copy_of(checkpoint, tmp_path)
    index = json.loads((source / "model.safetensors.index.json").read_text())
    shard = source / index["weight_map"]["model.visual.merger.norm.weight"]
    tensors = load_file(shard)
    del tensors["model.visual.merger.norm.weight"]
    save_file(tensors, shard)
    with pytest.raises(ConfigError, match="do not fit"):
        load_tower(source)


def test_unknown_precision_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """A precision that one of the providers cannot run is refused."""
    with pytest.raises(ConfigError, match="fp32, fp16"):
        export_encoder(checkpoint, tmp_path / "encoder.onnx", precision="bf16")


def test_a_bad_export_is_not_written(checkpoint: Path, tmp_path: Path) -> None:
    """Weights beyond half precision make a bad fp16 report or an error, and the earlier file stays as it was."""
    source = copy_of(checkpoint, tmp_path / "checkpoint")
    index = json.loads((source / "model.safetensors.index.json").read_text())
    name = "model.visual.blocks.0.mlp.linear_fc2.weight"
    shard = source / index["weight_map"][name]
    tensors = load_file(shard)
    tensors[name] *= 1e6
    save_file(tensors, shard)
    out = tmp_path / "encoder.onnx"
    out.write_bytes(b"earlier")
    with pytest.raises(EngineError, match="fp32"):
        export_encoder(source, out, precision="fp16")
    assert out.read_bytes() == b"earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "encoder.onnx"}
