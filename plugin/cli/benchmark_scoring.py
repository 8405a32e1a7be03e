"""``sgmri benchmark run``, ``score``, ``baselines`` and ``table``: from items to answers, scores and a leaderboard."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import ConfigError
from sgmri.settings import DEVICES, Worker
from worker.engines import ENGINES, create_engine

if TYPE_CHECKING:
    from benchmark.items import Item
    from benchmark.running.card import Benchmark, RunCard
    from benchmark.running.ledger import Ledger
    from benchmark.running.run import Progress
    from benchmark.scoring.judge import Judge
    from sgmri.interfaces import Frames

_LEVELS = ("image", "volume")
_TASKS = ("detection", "localization", "counting", "classification", "diagnosis", "captioning")
_PROFILES = ("published-minimal", "published-json", "sgmri", "qwen3-vl")
_LOCAL_ENGINES = tuple(name for name in sorted(ENGINES) if name != "served")
_NEEDED = ("pyarrow", "nltk", "rouge_score", "sacrebleu", "matplotlib", "httpx", "tqdm")


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the four parts."""
    _add_run(commands)
    score = commands.add_parser("score", help="score runs, as published and strictly")
    score.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    score.add_argument("--benchmark", type=Path, required=True, metavar="DIR", help="the items that they were asked")
    score.add_argument("--judge", metavar="URL", help="OpenAI-compatible server of a judge, up to /v1")
    score.add_argument("--judge-model", default="", metavar="NAME", help="its key: environment SGMRI_SERVED_KEY")
    score.add_argument("--bert-score", action="store_true", help="BERTScore in AR, where bert-score is installed")
    score.set_defaults(run=run_score)
    baselines = commands.add_parser("baselines", help="how far guessing gets, and how far anybody could get")
    baselines.add_argument("--annotations", type=Path, metavar="DIR", help="the CSV files of fastMRI+: no image needed")
    baselines.add_argument("--benchmark", type=Path, metavar="DIR", help="a built benchmark: answers and scores")
    baselines.add_argument("--out", type=Path, metavar="DIR", help="with --benchmark: gets a run for each baseline")
    baselines.set_defaults(run=run_baselines)
    table = commands.add_parser("table", help="a leaderboard of published rows, runs, baselines and ceilings")
    table.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="folders of scored runs")
    table.add_argument("--benchmark", type=Path, metavar="DIR", help="whose ceilings are shown")
    table.add_argument("--html", type=Path, metavar="FILE", help="write a page too")
    table.add_argument("--out", type=Path, metavar="FILE", help="where the Markdown goes; default: print it")
    table.set_defaults(run=run_table)


def _add_run(commands: "argparse._SubParsersAction[Any]") -> None:
    run = commands.add_parser("run", help="put questions to an engine or a model server; can be taken up again")
    run.add_argument("--benchmark", type=Path, required=True, metavar="DIR", help="a built benchmark")
    run.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's folder; an old one goes on")
    run.add_argument(
        "--model", required=True, metavar="ENGINE|URL", help=f"{', '.join(_LOCAL_ENGINES)}, or a server up to /v1"
    )
    run.add_argument("--model-name", default="", metavar="NAME", help="what the server calls the model")
    run.add_argument("--profile", choices=_PROFILES, default=_PROFILES[0], help="how a server is asked")
    run.add_argument("--frames", default="published", metavar="NAME", help="rendering that a server is shown")
    run.add_argument("--blank", action="store_true", help="show black frames: what is said then is said blindly")
    run.add_argument("--split", choices=("train", "test", "all"), default="test")
    run.add_argument("--level", choices=_LEVELS, nargs="+", default=_LEVELS)
    run.add_argument("--task", choices=_TASKS, nargs="+", default=_TASKS)
    run.add_argument("--limit", type=int, metavar="N", help="at most N questions, the same for every model")
    run.add_argument("--at-a-time", type=int, default=4, metavar="N", help="requests under way together")
    run.add_argument("--max-tokens", type=int, default=2048, metavar="N", help="longest answer of a server")
    run.add_argument(
        "--prices", type=float, nargs=2, metavar=("PROMPT", "ANSWER"), help="USD for a million tokens of each"
    )
    run.add_argument("--bundle", default="", metavar="DIR", help="grounded: a model bundle; default: the embedded one")
    run.add_argument("--device", choices=DEVICES, default="auto")
    run.set_defaults(run=run_run)


def run_run(arguments: argparse.Namespace) -> int:
    """Put the open questions; what was answered stays, whatever happens."""
    _check_libraries()
    from tqdm import tqdm

    from benchmark.running.card import ANSWERS_FILE, Benchmark
    from benchmark.running.ledger import Ledger
    from benchmark.running.run import open_items

    if arguments.limit is not None and arguments.limit < 1:
        raise ConfigError(f"--limit: expected 1 or more, found {arguments.limit}")
    benchmark = Benchmark.load(arguments.benchmark)
    card = _card(arguments, benchmark)
    asked = benchmark.asked(card)
    if not asked:
        raise ConfigError("run: expected questions of this split, level and task in the benchmark, found none")
    card.write(arguments.out)
    with Ledger(arguments.out / ANSWERS_FILE) as ledger:
        wanted = open_items(asked, ledger)
        # disable=None: a bar on a terminal only
        with tqdm(total=len(asked), initial=len(asked) - len(wanted), disable=None, unit="question") as bar:
            ask = _ask_server if _is_url(arguments.model) else _ask_engine

            def progress(count: int) -> None:
                bar.update(count)

            ask(arguments, wanted, ledger, progress)
        print(f"{len(ledger.answers)} of {len(asked)} questions answered: {arguments.out / ANSWERS_FILE}")
    print(f"next: sgmri benchmark score {arguments.out} --benchmark {arguments.benchmark}. {RESEARCH_USE_STATEMENT}")
    return 0


def _card(arguments: argparse.Namespace, benchmark: "Benchmark") -> "RunCard":
    from benchmark.items import Level, Split, Task
    from benchmark.running.card import Origin, RunCard, Selection

    is_url = _is_url(arguments.model)
    if is_url and not arguments.model_name:
        raise ConfigError("run: expected --model-name with a server's URL, found none")
    if not is_url and arguments.model not in _LOCAL_ENGINES:
        raise ConfigError(
            f"--model: expected {', '.join(_LOCAL_ENGINES)} or http(s)://host:port/v1, found {arguments.model!r}"
        )
    return RunCard(
        name=arguments.model_name if is_url else arguments.model,
        origin=Origin.MODEL,
        profile=arguments.profile if is_url else _PROFILES[0],  # engines' answers are put into the published form
        items_sha256=benchmark.sha256,
        selection=Selection(
            split=None if arguments.split == "all" else Split(arguments.split),
            levels=tuple(Level(level) for level in arguments.level),
            tasks=tuple(Task(task) for task in arguments.task),
            limit=arguments.limit,
        ),
        is_blank=arguments.blank,
    )


def _is_url(model: str) -> bool:
    return model.startswith(("http://", "https://"))


def _ask_server(arguments: argparse.Namespace, items: "list[Item]", ledger: "Ledger", progress: "Progress") -> None:
    from benchmark.running.chat import ChatModel, Prices
    from benchmark.running.pictures import Pictures, blank
    from benchmark.running.profiles import profile_named
    from benchmark.running.run import ask_model
    from worker.engine.served import Server

    shown = blank if arguments.blank else Pictures(arguments.benchmark, arguments.frames).of
    server = Server(
        url=arguments.model,
        model=arguments.model_name,
        key=os.environ.get("SGMRI_SERVED_KEY", ""),
        at_a_time=arguments.at_a_time,
    )
    prices = None
    if arguments.prices is not None:
        prices = Prices(prompt_usd=arguments.prices[0], completion_usd=arguments.prices[1])
    model = ChatModel(server, profile_named(arguments.profile), prices=prices, max_tokens=arguments.max_tokens)
    try:
        model.check()
        ask_model(items, model, shown, ledger, at_a_time=arguments.at_a_time, progress=progress)
    finally:
        model.close()


def _ask_engine(arguments: argparse.Namespace, items: "list[Item]", ledger: "Ledger", progress: "Progress") -> None:
    from benchmark.running.pictures import blackened, dicom_frames
    from benchmark.running.run import ask_engine

    def shown(item: "Item") -> "Frames":
        frames = dicom_frames(arguments.benchmark, item)
        return blackened(frames) if arguments.blank else frames

    engine = create_engine(arguments.model, Worker(model=arguments.bundle, device=arguments.device))
    try:
        ask_engine(items, engine, shown, ledger, progress=progress)
    finally:
        engine.close()


def run_score(arguments: argparse.Namespace) -> int:
    """Score runs; print what they got."""
    _check_libraries()
    from benchmark.running.card import Benchmark
    from benchmark.scoring.answers import TextOptions
    from benchmark.scoring.score import score_run
    from benchmark.scoring.table import as_markdown, leaderboard

    benchmark = Benchmark.load(arguments.benchmark)
    options = TextOptions(judge=_judge(arguments), bert=arguments.bert_score)
    scores = [score_run(folder, benchmark, options) for folder in arguments.runs]
    print(as_markdown(leaderboard(scores, [], published=False), "Scores"))
    return 0


def _judge(arguments: argparse.Namespace) -> "Judge | None":
    if arguments.judge is None:
        return None
    from benchmark.scoring.judge import Judge
    from worker.engine.served import Server

    key = os.environ.get("SGMRI_SERVED_KEY", "")
    return Judge(Server(url=arguments.judge, model=arguments.judge_model, key=key))


def run_baselines(arguments: argparse.Namespace) -> int:
    """Print what guesses are worth on annotations; answer and score a benchmark by them."""
    if (arguments.benchmark is None) != (arguments.out is None):
        raise ConfigError("baselines: expected --benchmark and --out together, found one of them")
    if arguments.annotations is None and arguments.benchmark is None:
        raise ConfigError("baselines: expected --annotations, --benchmark with --out, or both; found neither")
    _check_libraries()
    from benchmark.baselines.answers import write_baselines
    from benchmark.baselines.summary import on_annotations
    from benchmark.running.card import Benchmark
    from benchmark.scoring.answers import TextOptions
    from benchmark.scoring.score import score_run
    from benchmark.scoring.table import as_markdown, leaderboard

    if arguments.annotations is not None:
        print(as_markdown(on_annotations(arguments.annotations), "What needs no image and no model"))
    if arguments.benchmark is not None:
        benchmark = Benchmark.load(arguments.benchmark)
        folders = write_baselines(benchmark, arguments.out)
        scores = [score_run(folder, benchmark, TextOptions()) for folder in folders]
        print(as_markdown(leaderboard(scores, [], published=False), "Scores"))
    return 0


def run_table(arguments: argparse.Namespace) -> int:
    """Write the leaderboard."""
    _check_libraries()
    from benchmark.baselines.volumes import from_items
    from benchmark.running.card import Benchmark
    from benchmark.scoring.report import RunScores
    from benchmark.scoring.table import as_html, as_markdown, leaderboard

    volumes = [] if arguments.benchmark is None else from_items(Benchmark.load(arguments.benchmark).items)
    tables = leaderboard([RunScores.read(folder) for folder in arguments.runs], volumes)
    if arguments.html is not None:
        arguments.html.write_text(as_html(tables), encoding="utf-8")
        print(f"written: {arguments.html}", file=sys.stderr)
    if arguments.out is None:
        print(as_markdown(tables), end="")
    else:
        arguments.out.write_text(as_markdown(tables), encoding="utf-8")
        print(f"written: {arguments.out}", file=sys.stderr)
    return 0


def _check_libraries() -> None:
    """Say what to install: not everybody has the benchmark's libraries."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"benchmark: expected the libraries for scoring, found no {', '.join(missing)}; "
            "pip install 'sgmri[benchmark,scoring]'"
        )
