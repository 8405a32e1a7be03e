"""What one GPU makes of an 8B-shaped model: every stage of a reading against two floors, with random weights.

    python -m benchmarks.gpu [--seconds N] [--shape 8b|tiny] [--out FILE]

No weights are needed for speed: sizes are those of Qwen3-VL-8B, values are random, so answers mean nothing. Floors are
the arithmetic over the matrix rate and the bytes over the memory bandwidth that this card gave in the same run; the
larger wins. Sections are taken in order while time is left; what was left out is said. Runs on the CPU with
``--shape tiny``, where only the code is proven.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from sgmri.interfaces import ReadingControl
from worker.engine.export import FrameTower, module_features, tower_inputs
from worker.engine.language import LanguageModel
from worker.engine.packing import PrefixSession
from worker.engine.vision import EncoderSpec, grid_inputs

SHAPES = {
    "8b": (
        {
            "num_hidden_layers": 36,
            "hidden_size": 4096,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 12288,
            "vocab_size": 151_936,
            "max_position_embeddings": 65_536,
        },
        {
            "depth": 27,
            "hidden_size": 1152,
            "num_heads": 16,
            "intermediate_size": 4304,
            "out_hidden_size": 4096,
            "deepstack_visual_indexes": [8, 16, 24],
            "num_position_embeddings": 2304,
        },
        [24, 20, 20],
    ),
    "tiny": (
        {
            "num_hidden_layers": 3,
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 128,
            "vocab_size": 152_064,
            "max_position_embeddings": 65_536,
        },
        {
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 64,
        },
        [4, 2, 2],
    ),
}
FRAMES = 24
QUESTION_TOKENS, ANSWER_TOKENS, QUESTIONS = 60, 32, 20
IMAGE, START = 151_655, 151_652


@dataclass(slots=True)
class Bench:
    """The table so far, the card's own rates, and the clock."""

    device: str
    seconds: float
    begun: float = field(default_factory=time.monotonic)
    rows: list[tuple[str, float, float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    flops: float = 1e12
    bandwidth: float = 1e11

    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.begun)

    def sync(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def time(self, work: Callable[[], object], *, repeats: int = 5, warm: int = 2) -> float:
        for _ in range(warm):
            work()
        seconds = []
        for _ in range(repeats):
            self.sync()
            start = time.perf_counter()
            work()
            self.sync()
            seconds.append(time.perf_counter() - start)
        return sorted(seconds)[len(seconds) // 2]

    def row(self, name: str, seconds: float, *, flops: float = 0.0, bytes_: float = 0.0) -> None:
        floor = max(flops / self.flops, bytes_ / self.bandwidth)
        self.rows.append((name, seconds * 1e3, floor * 1e3, seconds / floor if floor else float("nan")))
        times = f"{seconds / floor:6.2f} x floor" if floor else ""
        print(f"{name:58s} {seconds * 1e3:10.2f} ms  floor {floor * 1e3:9.2f} ms {times}", flush=True)


@contextmanager
def section(bench: Bench, name: str, needs_s: float) -> Iterator[bool]:
    """Say whether there is time; a section that fails costs only itself."""
    if bench.left() < needs_s:
        bench.notes.append(f"{name}: left out, no time")
        yield False
        return
    try:
        yield True
    except Exception as error:  # noqa: BLE001 - a benchmark's border: the other sections are worth having
        bench.notes.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        print(bench.notes[-1], flush=True)


def ceilings(bench: Bench) -> None:
    side = 8192 if bench.device == "cuda" else 512
    a, b = (torch.randn(side, side, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = bench.time(lambda: a @ b)
    bench.flops = 2 * side**3 / seconds
    source = torch.empty((1 << 30) if bench.device == "cuda" else (1 << 22), device=bench.device)
    target = torch.empty_like(source)
    bench.bandwidth = 2 * source.nbytes / bench.time(lambda: target.copy_(source))
    print(f"ceilings: {bench.flops / 1e12:.0f} TFLOP/s bf16, {bench.bandwidth / 1e12:.2f} TB/s copy", flush=True)


def build(shape: str, device: str) -> Qwen3VLForConditionalGeneration:
    text, vision, sections = SHAPES[shape]
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": sections, "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=IMAGE + 1,
        vision_start_token_id=START,
        vision_end_token_id=START + 1,
    )
    with torch.device(device):
        model = Qwen3VLForConditionalGeneration._from_config(
            config, dtype=torch.bfloat16 if device == "cuda" else torch.float32, attn_implementation="sdpa"
        )
    model.generation_config.eos_token_id = None
    return nn.Module.eval(model)


def spec_of(model: Qwen3VLForConditionalGeneration) -> EncoderSpec:
    tower = model.model.visual
    return EncoderSpec(
        patch=16,
        merge=2,
        temporal=2,
        side=tower.num_grid_per_side,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        grey_fold=True,
        precision="fp16",
        tower_sha256="0" * 64,
    )


def tower_flops(model: Qwen3VLForConditionalGeneration, patches: int) -> float:
    blocks = sum(p.numel() for p in model.model.visual.blocks.parameters())
    mergers = sum(p.numel() for name, p in model.model.visual.named_parameters() if "merger" in name)
    config = model.config.vision_config
    return 2.0 * patches * blocks + 2.0 * patches / 4 * mergers + 4.0 * patches**2 * config.hidden_size * config.depth


def towers(bench: Bench, model: Qwen3VLForConditionalGeneration, sides: tuple[int, ...]) -> None:
    spec = spec_of(model)
    for side in sides:
        pixels = np.random.default_rng(0).integers(0, 256, (FRAMES, side, side), dtype=np.uint8)
        patches = spec.preprocess(pixels)
        places = grid_inputs(patches.grid, side=spec.side, merge=spec.merge)
        count = patches.values.shape[1]
        flops = FRAMES * tower_flops(model, count)
        size = sum(p.nbytes for p in model.model.visual.parameters())
        twin = FrameTower(model.model.visual, grey_fold=True)
        inputs = [tensor.to(bench.device) for tensor in tower_inputs(patches.values, places)]
        with torch.inference_mode():
            seconds = bench.time(lambda t=twin, i=inputs: t(*i), repeats=3, warm=1)
            bench.row(f"tower, frame-batched, {FRAMES} x {side}²", seconds, flops=flops, bytes_=size)
            seconds = bench.time(lambda p=pixels: module_features(model.model.visual, p, spec), repeats=2, warm=1)
            bench.row(f"tower, transformers' own, {FRAMES} x {side}²", seconds, flops=flops, bytes_=size)


def opened(language: LanguageModel, tokens_a_frame: int) -> Callable[[], PrefixSession]:
    decoder = language.decoder
    side = int(tokens_a_frame**0.5)
    block = [START, *([IMAGE] * side * side), START + 1]
    ids = np.array([*range(1000, 1110), *(block * FRAMES)], np.int64)
    generator = torch.Generator(device=decoder.weight.device).manual_seed(0)
    width = decoder.weight.shape[1]
    shape = (FRAMES, side * side, width)
    embeds, *levels = (
        torch.randn(shape, generator=generator, device=decoder.weight.device) for _ in range(1 + DEEPSTACK)
    )
    return lambda: language.open(ids, embeds=embeds, deepstack=levels, grids=[(2 * side, 2 * side)] * FRAMES)


DEEPSTACK = 1


def language_flops(language: LanguageModel, tokens: int) -> float:
    layers = sum(p.numel() for p in language.decoder.inner.layers.parameters())
    config = language.decoder.inner.config
    attention = 2.0 * tokens**2 * config.num_attention_heads * config.head_dim * config.num_hidden_layers
    return 2.0 * tokens * layers + attention


def weights_bytes(language: LanguageModel) -> float:
    inner = language.decoder.inner
    return float(sum(p.nbytes for p in inner.layers.parameters()) + inner.embed_tokens.weight.nbytes)


def questions(count: int) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(1000, 100_000, QUESTION_TOKENS).tolist() for _ in range(count)]


def decoding(bench: Bench, language: LanguageModel, session: PrefixSession, tokens: int) -> None:
    """Time the steps of twenty packed answers: eager, of a fixed shape, and as a replayed graph."""
    for name, static in (("eager", False), ("CUDA graph" if bench.device == "cuda" else "fixed shape", True)):
        language._static = static
        for count in (1, QUESTIONS):
            asked = questions(count)

            def steps(new: int, asked: list[list[int]] = asked) -> float:
                bench.sync()
                start = time.perf_counter()
                language.run(session, asked, max_new_tokens=new)
                bench.sync()
                return time.perf_counter() - start

            # Both lengths once before: a graph is captured for each
            for new in (8, 8 + ANSWER_TOKENS):
                steps(new)
            short, long = steps(8), steps(8 + ANSWER_TOKENS)
            kv = (tokens + count * (QUESTION_TOKENS + ANSWER_TOKENS / 2)) * language.decoder.token_bytes
            bench.row(
                f"decode step, {count} packed behind {tokens} tokens, {name}",
                (long - short) / ANSWER_TOKENS,
                flops=2.0 * count * weights_bytes(language) / 2,
                bytes_=weights_bytes(language) + kv,
            )


def study(bench: Bench, model: Qwen3VLForConditionalGeneration, language: LanguageModel, side: int) -> None:
    """Time one study from pixels to twenty answers, and the same with everything done anew for each question."""
    spec = spec_of(model)
    pixels = np.random.default_rng(0).integers(0, 256, (FRAMES, side, side), dtype=np.uint8)
    patches = spec.preprocess(pixels)
    places = grid_inputs(patches.grid, side=spec.side, merge=spec.merge)
    twin = FrameTower(model.model.visual, grey_fold=True)
    inputs = [tensor.to(bench.device) for tensor in tower_inputs(patches.values, places)]
    tokens = patches.values.shape[1] // 4
    block = [START, *([IMAGE] * tokens), START + 1]
    ids = np.array([*range(1000, 1110), *(block * FRAMES)], np.int64)

    def reading(asked: list[list[int]]) -> None:
        with torch.inference_mode():
            embeds, *levels = twin(*inputs)
        session = language.open(ids, embeds=embeds, deepstack=levels, grids=[tuple(patches.grid)] * FRAMES)
        language.score(session, asked, [100, 101])
        language.run(session, asked, max_new_tokens=ANSWER_TOKENS, control=ReadingControl())

    language._static = bench.device == "cuda"
    whole = bench.time(lambda: reading(questions(QUESTIONS)), repeats=2, warm=1)
    one = bench.time(lambda: reading(questions(1)), repeats=2, warm=0)
    language._static = False
    naive = bench.time(lambda: reading(questions(1)), repeats=2, warm=0)
    bench.row(f"study, {FRAMES} x {side}², {QUESTIONS} answers of {ANSWER_TOKENS} tokens, packed, graphs", whole)
    bench.row("study, the same with 1 question, graphs", one)
    bench.row(f"study, naive: {QUESTIONS} times everything, eager (1 timed)", naive * QUESTIONS)
    print(
        f"20 questions cost {whole / one:.2f} x one; naive costs {naive * QUESTIONS / whole:.1f} x packed", flush=True
    )
    bench.notes.append(
        f"20 questions cost {whole / one:.2f} x one; naive costs {naive * QUESTIONS / whole:.1f} x packed"
    )


def main() -> None:
    global DEEPSTACK
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=540.0, help="sections are left out when they would not end")
    parser.add_argument("--shape", choices=tuple(SHAPES), default="8b")
    parser.add_argument("--out", type=Path, help="write the table as JSON too")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and arguments.shape == "8b":
        parser.error("no CUDA device: the 8B shape needs one; --shape tiny proves the code on the CPU")
    bench = Bench(device=device, seconds=arguments.seconds)
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{card}, {versions}, shape {arguments.shape}, random weights", flush=True)
    ceilings(bench)
    model = build(arguments.shape, device)
    DEEPSTACK = len(model.config.vision_config.deepstack_visual_indexes)
    print(
        f"built after {time.monotonic() - bench.begun:.0f} s: {sum(p.numel() for p in model.parameters()):,}",
        flush=True,
    )
    language = LanguageModel(model)
    small, large = (320, 800) if arguments.shape == "8b" else (64, 128)
    frame_tokens = (small // 32) ** 2
    session: PrefixSession | None = None
    with section(bench, "tower", 5) as go:
        if go:
            towers(bench, model, (small,))
    with section(bench, "prefill", 5) as go:
        if go:
            begin = opened(language, frame_tokens)
            session = begin()
            flops = language_flops(language, session.length)
            seconds = bench.time(begin, repeats=3, warm=1)
            bench.row(f"prefill, {session.length} tokens", seconds, flops=flops, bytes_=weights_bytes(language))
    with section(bench, "decode", 10) as go:
        if go and session is not None:
            decoding(bench, language, session, session.length)
    with section(bench, "study", 10) as go:
        if go:
            study(bench, model, language, small)
    with section(bench, "reference budget", 15) as go:
        if go:
            towers(bench, model, (large,))
            begin = opened(language, (large // 32) ** 2)
            session = begin()
            flops = language_flops(language, session.length)
            seconds = bench.time(begin, repeats=2, warm=1)
            bench.row(f"prefill, {session.length} tokens", seconds, flops=flops, bytes_=weights_bytes(language))
            decoding(bench, language, session, session.length)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else float("nan")
    print(f"peak {peak:.1f} GB; {time.monotonic() - bench.begun:.0f} s; notes: {bench.notes}", flush=True)
    if arguments.out is not None:
        table = {"device": card, "versions": versions, "peak_gb": peak, "rows": bench.rows, "notes": bench.notes}
        arguments.out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
