"""Speed of the ONNX encoder against the Hugging Face module and its frame-batched twin.

    python -m benchmarks.encoder [--checkpoint DIR] [--provider cuda] [--threads N] [--rounds N] [--no-compile]

One checkpoint, the same frames for everybody, contenders alternated within each round, best round counts. Without a
checkpoint: the embedded model's. Ratios are times of the Hugging Face module in float32 divided by the contender's:
above 1 is faster. "twin" is the module with frames as a batch, "compiled" the same through torch.compile, "int8" the
ONNX file with its matrices quantised (onnxruntime's dynamic quantisation): only a contender, no bundle has it. The last
line is each one's relative error (L2) against the module in float32 on the same frames.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from worker.engine.export import FrameTower, export_encoder, module_features, tower_inputs
from worker.engine.places import embedded_bundle
from worker.engine.tower import load_tower
from worker.engine.vision import EncoderSpec, Features, OnnxEncoder, grid_inputs

CASES = tuple((frames, side) for side in (128, 256) for frames in (8, 24, 40))
"""(frames, pixels along a side)."""
PEER = "HF fp32"
Contender = Callable[[np.ndarray], object]


def twin_of(tower: Qwen3VLVisionModel, spec: EncoderSpec, device: str, *, compiled: bool = False) -> Contender:
    """Return the frame-batched twin in torch, with the preprocessing and both copies in its time."""
    plain = FrameTower(tower, grey_fold=spec.grey_fold).eval()
    twin = torch.compile(plain, dynamic=False) if compiled else plain

    def run(pixels: np.ndarray) -> object:
        patches = spec.preprocess(pixels)
        places = grid_inputs(patches.grid, side=spec.side, merge=spec.merge)
        with torch.inference_mode():
            outputs = twin(*(tensor.to(device) for tensor in tower_inputs(patches.values, places)))
            return [output.cpu() for output in outputs]

    return run


def int8_of(path: Path, arguments: argparse.Namespace) -> Contender:
    """Quantise the matrices of an exported encoder, and return the way to its features."""
    # Not at the top: worker.engine.runtime, imported later, is what keeps it from calling home
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantised = path.with_name("int8.onnx")
    quantize_dynamic(path, quantised, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
    encoder = OnnxEncoder(quantised, provider=arguments.provider, threads=arguments.threads)
    return partial(features_of, encoder)


def features_of(encoder: OnnxEncoder, pixels: np.ndarray) -> object:
    """Return what an ONNX encoder makes of frames."""
    patches = encoder.spec.preprocess(pixels)
    return encoder.encode(patches.values, patches.grid)


def onnx_of(checkpoint: Path, path: Path, precision: str, arguments: argparse.Namespace) -> Contender:
    """Export, and return the product's own way to features."""
    report = export_encoder(checkpoint, path, precision=precision)
    assert report.is_good, "\n".join(report.lines())
    print(f"exported {path.name}: {report.lines()[-1]}", flush=True)
    encoder = OnnxEncoder(path, provider=arguments.provider, threads=arguments.threads)
    return partial(features_of, encoder)


def contenders(checkpoint: Path, scratch: Path, arguments: argparse.Namespace) -> dict[str, Contender]:
    """Return everybody by name; half precision in torch on a GPU, bfloat16 everywhere."""
    tower, spec = load_tower(checkpoint)
    device = arguments.provider
    precisions = {"fp32": nn.Module.to(tower, device), "bf16": nn.Module.bfloat16(deepcopy(tower))}
    if device == "cuda":
        precisions["fp16"] = nn.Module.half(deepcopy(tower))
    found: dict[str, Contender] = {}
    for name, module in precisions.items():
        found[f"HF {name}"] = partial(module_features, module, spec=spec)
        found[f"twin {name}"] = twin_of(module, spec, device)
    if not arguments.no_compile:
        found["compiled"] = twin_of(precisions["fp32"], spec, device, compiled=True)
    for name in ("fp32", "fp16"):
        found[f"ORT {name}"] = onnx_of(checkpoint, scratch / f"{name}.onnx", name, arguments)
    if device == "cpu":
        found["ORT int8"] = int8_of(scratch / "fp32.onnx", arguments)
    return found


def errors(pixels: np.ndarray, everybody: dict[str, Contender]) -> dict[str, float]:
    """Return each one's relative L2 error against the peer, over embeddings and deep-stack levels."""

    def flat(name: str) -> np.ndarray:
        return np.concatenate([level.ravel() for level in _levels(everybody[name](pixels))])

    peer = flat(PEER)
    return {name: float(np.linalg.norm(flat(name) - peer) / np.linalg.norm(peer)) for name in everybody}


def _levels(features: object) -> list[np.ndarray]:
    """Return what a contender gave as arrays."""
    levels = [features.embeds, *features.deepstack] if isinstance(features, Features) else features
    assert isinstance(levels, list)
    return [level.float().cpu().numpy() if isinstance(level, torch.Tensor) else level for level in levels]


def best_times_s(pixels: np.ndarray, everybody: dict[str, Contender], rounds: int) -> dict[str, float]:
    """Return each one's best round, in seconds; the order turns from round to round."""
    names = list(everybody)
    best = dict.fromkeys(names, float("inf"))
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            everybody[name](pixels)
            if turn:  # the first is the warm-up
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a Qwen3-VL checkpoint; default: the embedded model")
    parser.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch and onnxruntime on the CPU")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which takes minutes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # The peer in float32 is the measure: its patch embedding is a convolution, which cuDNN rounds to TF32 unasked
    torch.backends.cudnn.allow_tf32 = False
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = arguments.checkpoint or embedded_bundle()
        everybody = contenders(checkpoint, Path(scratch), arguments)
        random = np.random.default_rng(0)
        others = [name for name in everybody if name != PEER]
        print(f"{arguments.provider}, {arguments.threads} thread(s), best of {arguments.rounds}; ms, then x {PEER}")
        print(f"{'frames':>14}{PEER:>12}" + "".join(f"{name:>18}" for name in others))
        for frames, side in CASES:
            pixels = random.integers(0, 256, (frames, side, side), dtype=np.uint8)
            best = best_times_s(pixels, everybody, arguments.rounds)
            cells = "".join(f"{best[name] * 1e3:10.1f} x{best[PEER] / best[name]:5.2f} " for name in others)
            print(f"{frames:4d} x {side:3d}²  {best[PEER] * 1e3:12.1f}{cells}", flush=True)
        off = errors(pixels, everybody)
        print(f"{'error':>14}{'':>12}" + "".join(f"{off[name]:18.1e}" for name in others))


if __name__ == "__main__":
    main()
