"""Speed of the ONNX encoder against the Hugging Face module and its frame-batched twin.

    python -m benchmarks.encoder [--checkpoint DIR] [--provider cuda] [--threads N] [--rounds N]

One checkpoint, the same frames for everybody, contenders alternated within each round, best round counts. Without a
checkpoint: a tiny one of random weights (about a minute, most of it the two exports). Ratios are times of the
Hugging Face module in float32 divided by the contender's: above 1 is faster.
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

from tests.worker.engine.tiny_model import save_tiny_model
from worker.engine.export import FrameTower, export_encoder, module_features, tower_inputs
from worker.engine.tower import load_tower
from worker.engine.vision import EncoderSpec, OnnxEncoder, grid_inputs

CASES = tuple((frames, side) for side in (128, 320) for frames in (8, 24, 40))
"""(frames, pixels along a side)."""
PEER = "HF fp32"
Contender = Callable[[np.ndarray], object]


def twin_of(tower: Qwen3VLVisionModel, spec: EncoderSpec, device: str) -> Contender:
    """Return the frame-batched twin in torch, with the preprocessing and both copies in its time."""
    twin = FrameTower(tower, grey_fold=spec.grey_fold).eval()

    def run(pixels: np.ndarray) -> object:
        patches = spec.preprocess(pixels)
        places = grid_inputs(patches.grid, side=spec.side, merge=spec.merge)
        with torch.inference_mode():
            outputs = twin(*(tensor.to(device) for tensor in tower_inputs(patches.values, places)))
            return [output.cpu() for output in outputs]

    return run


def onnx_of(checkpoint: Path, path: Path, precision: str, arguments: argparse.Namespace) -> Contender:
    """Export, and return the product's own way to features."""
    report = export_encoder(checkpoint, path, precision=precision)
    assert report.is_good, "\n".join(report.lines())
    print(f"exported {path.name}: {report.lines()[-1]}", flush=True)
    encoder = OnnxEncoder(path, provider=arguments.provider, threads=arguments.threads)

    def run(pixels: np.ndarray) -> object:
        patches = encoder.spec.preprocess(pixels)
        return encoder.encode(patches.values, patches.grid)

    return run


def contenders(checkpoint: Path, scratch: Path, arguments: argparse.Namespace) -> dict[str, Contender]:
    """Return everybody by name; half precision in torch only where the device has it in hardware."""
    tower, spec = load_tower(checkpoint)
    device = arguments.provider
    precisions = {"fp32": nn.Module.to(tower, device)}
    if device == "cuda":
        precisions["fp16"] = nn.Module.half(deepcopy(tower))
    found: dict[str, Contender] = {}
    for name, module in precisions.items():
        found[f"HF {name}"] = partial(module_features, module, spec=spec)
        found[f"twin {name}"] = twin_of(module, spec, device)
    for name in ("fp32", "fp16"):
        found[f"ORT {name}"] = onnx_of(checkpoint, scratch / f"{name}.onnx", name, arguments)
    return found


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
    parser.add_argument("--checkpoint", type=Path, help="a Qwen3-VL checkpoint; default: a tiny one")
    parser.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch and onnxruntime on the CPU")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = arguments.checkpoint or save_tiny_model(Path(scratch) / "checkpoint")
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


if __name__ == "__main__":
    main()
