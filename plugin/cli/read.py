"""``sgmri read``: read a folder of DICOM without a network; SR, SEG, ``reading.json`` and contact sheet come out."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_io.results import write_results
from dicom_io.selection import Choice, choose
from dicom_io.series import Folder, SeriesFacts, scan_folder
from dicom_io.stored import series_key
from plugin.answers import answer_lines
from plugin.rules import load_rules
from sgmri import RESEARCH_USE_STATEMENT, readings
from sgmri.errors import ConfigError
from sgmri.interfaces import Engine, ReadingControl
from sgmri.settings import DEVICES, Worker
from worker.contact_sheet import draw
from worker.engines import DEFAULT_ENGINE, ENGINES, create_engine
from worker.pipeline import read_series


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("read", help="read a folder of DICOM: SR, SEG, reading.json and a contact sheet")
    parser.add_argument("path", type=Path, help="a DICOM file or a folder that holds one study")
    parser.add_argument("--out", type=Path, required=True, help="directory for the results")
    parser.add_argument("--engine", choices=sorted(ENGINES), default=DEFAULT_ENGINE)
    parser.add_argument(
        "--model", default="", metavar="DIR", help="grounded: a model bundle; default: the embedded one"
    )
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--rules", type=Path, metavar="FILE", help="a rule file of the site (TOML)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read; 2 where the input is refused, with the reason of every series."""
    rules = load_rules(arguments.rules)
    folder = one_study(arguments.path)
    chosen = [(facts, choose(facts, rules=rules)) for facts in folder.series]
    for facts, choice in chosen:
        mark = "read" if choice.taken else f"left out ({choice.reason})"
        print(f"series of {len(facts.instances)} instances: {mark}: {choice.explanation}")
    taken = [(facts, choice) for facts, choice in chosen if choice.taken]
    if not taken:
        print(
            "sgmri: nothing to read: no series is a brain or knee MRI volume that a question set covers",
            file=sys.stderr,
        )
        return 2
    engine = create_engine(arguments.engine, Worker(model=arguments.model, device=arguments.device))
    try:
        for facts, choice in taken:
            _read(facts, choice, engine, _out(arguments.out, facts, alone=len(taken) == 1))
    finally:
        engine.close()
    print(RESEARCH_USE_STATEMENT)
    return 0


def one_study(path: Path) -> Folder:
    """Return the series of the one study of a path; ConfigError where there is none, or several."""
    if not path.exists():
        raise ConfigError(f"{path}: expected a DICOM file or a folder, found nothing")
    folder = scan_folder(path)
    for file, reason, _ in folder.refused:
        print(f"sgmri: {file}: left out ({reason})", file=sys.stderr)
    if not folder.series:
        raise ConfigError(f"{path}: expected DICOM instances of one study, found none")
    studies = {facts.study_instance_uid for facts in folder.series}
    if len(studies) > 1:
        raise ConfigError(f"{path}: expected instances of one study, found {len(studies)}; read them one by one")
    return folder


def _out(out: Path, facts: SeriesFacts, *, alone: bool) -> Path:
    return out if alone else out / series_key(facts.study_instance_uid, facts.series_instance_uid)


def _read(facts: SeriesFacts, choice: Choice, engine: Engine, out: Path) -> None:
    paths = [instance.path for instance in facts.instances]

    def progress(done: int, known: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {known} questions", end="\n" if done == known else "", file=sys.stderr, flush=True)

    product = read_series(choice, engine, started_at=time_of(paths), control=ReadingControl(progress=progress))
    out.mkdir(parents=True, exist_ok=True)
    results = write_results(product.reading, paths, out)
    (out / "reading.json").write_text(readings.to_json(product.reading), encoding="utf-8")
    draw(product.frames, product.reading, out / "contact-sheet.png")
    for line in answer_lines(product.reading):
        print(f"  {line}")
    print(
        "written: "
        + ", ".join(
            str(path)
            for path in [*(result.path for result in results), out / "reading.json", out / "contact-sheet.png"]
        )
    )


def time_of(paths: list[Path]) -> datetime:
    """Return when the newest instance came to lie here: reading the same files again writes the same objects."""
    newest = max(int(path.stat().st_mtime) for path in paths)
    return datetime.fromtimestamp(newest, UTC).astimezone()
