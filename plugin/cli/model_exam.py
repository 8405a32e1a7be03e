"""``sgmri model evaluate`` and ``sgmri model bench``: how right a model is, and how fast it is on this machine."""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from plugin.cli.model_bundle import phantom_frames
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError
from sgmri.interfaces import Engine, ReadingControl
from sgmri.settings import Worker
from worker.engines import create_engine

_STACK = "pip install 'sgmri[worker-cpu]'"


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Examine a model on volumes that it was never trained on; the classical engine beside it on the same ones."""
    try:
        from benchmark import evaluation, heldout  # torch: seconds, and only here
        from benchmark.training.examples import LABELS
    except ImportError as error:
        raise ConfigError(
            f"evaluate: expected the model stack, found no {error.name or 'part of it'}; {_STACK}"
        ) from None
    _require_real(arguments.real)
    engines: dict[str, Engine] = {}
    if arguments.engine != "classical":
        engines[arguments.engine] = _engine(arguments)
    engines["classical"] = create_engine("classical")
    say = _teller(arguments.volumes)
    cases = []
    for case in heldout.volumes(arguments.volumes, seed=arguments.seed):
        cases.append(case)
        say(f"painted {len(cases)} of {arguments.volumes} volumes")
    facts: dict[str, object] = {"seed": arguments.seed, "first_seed": heldout.FIRST_SEED, "volumes": arguments.volumes}
    reports = []
    for name, engine in engines.items():
        samples = evaluation.examine(engine, cases, LABELS, progress=lambda sample: say(f"read {sample.name}"))
        reports.append(evaluation.report(name, samples, LABELS))
        say("")
        print(evaluation.as_markdown(reports[-1]))
        if name != "classical":
            facts |= _strangers(engine, arguments) | _real(name, engine, arguments)
        engine.close()
    if arguments.json is not None:
        arguments.json.write_text(evaluation.as_json(reports, **facts), encoding="utf-8")
    print(f"Synthetic volumes say nothing about patients. {RESEARCH_USE_STATEMENT}")
    return 0


def _engine(arguments: argparse.Namespace) -> Engine:
    model = "" if arguments.bundle is None else str(arguments.bundle)
    return create_engine(arguments.engine, Worker(engine=arguments.engine, model=model, device=arguments.device))


def _teller(total: int) -> Callable[[str], None]:
    """Return what shows progress: one line that is written over, on a terminal only."""
    shown = sys.stderr.isatty() and total > 1

    def say(text: str) -> None:
        if shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    return say


def _strangers(engine: Engine, arguments: argparse.Namespace) -> dict[str, object]:
    """Show volumes that are no head and no knee; say on how many nothing was said."""
    from benchmark import evaluation, heldout

    facts: dict[str, object] = {}
    for held_out, kinds in ((False, "met in training"), (True, "never met")):
        cases = list(heldout.strangers(arguments.strangers, seed=arguments.seed, held_out=held_out))
        silent = sum(evaluation.abstains(engine, case.frames) for case in cases)
        facts[f"strangers {kinds}"] = [silent, len(cases)]
        if cases:
            print(f"Neither head nor knee, of kinds {kinds}: nothing said on {silent} of {len(cases)}")
    return facts


def _require_real(folder: Path | None) -> None:
    """Refuse a folder without real volumes before anything is painted or read."""
    if folder is None:
        return
    from benchmark import real

    if next(real.patients(folder), None) is None:
        raise ConfigError(f"--real: expected a folder with volumes/ms_ljubljana_long, found none in {folder}")


def _real(name: str, engine: Engine, arguments: argparse.Namespace) -> dict[str, object]:
    """Show real FLAIR where it is at hand."""
    if arguments.real is None:
        return {}
    from benchmark import real

    results = real.examine_real(engine, arguments.real)
    print()
    print(real.as_markdown(name, results))
    return {"real": [{key: getattr(one, key) for key in one.__slots__} for one in results]}


def run_bench(arguments: argparse.Namespace) -> int:
    """Read a phantom a few times; say how long each part takes, and the most memory that the process used."""
    begin = time.perf_counter()
    engine = create_engine(
        "grounded",
        Worker(model="" if arguments.bundle is None else str(arguments.bundle), device=arguments.device),
    )
    loaded_s = time.perf_counter() - begin
    rows: dict[str, list[float]] = {}
    for name in ("brain", "brain-normal"):
        frames = phantom_frames(name)
        for turn in range(arguments.rounds + 1):
            begin = time.perf_counter()
            engine.answer(frames, STANDARD[frames.anatomy], ReadingControl())
            if turn:  # the first is the warm-up
                rows.setdefault(f"{name}, {len(frames.pixels)} frames", []).append(time.perf_counter() - begin)
    engine.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = {name: statistics.median(values) for name, values in rows.items()}
    if arguments.json:
        print(json.dumps({"load_s": loaded_s, "read_s": seconds, "peak_mb": peak_mb}))
        return 0
    print(f"load, verify and golden cases  {loaded_s:6.2f} s")
    for name, value in seconds.items():
        print(f"read {name:25} {value:6.2f} s  (median of {arguments.rounds})")
    print(f"peak memory                    {peak_mb:6.0f} MB")
    return 0
