"""``sgmri ask``: one question about one series, answered as the words come, with frames, boxes and confidence."""

import argparse
import getpass
import json
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dicom_io.results import ResultObject
from dicom_io.selection import Choice, choose
from dicom_io.stored import series_key
from plugin.answers import answer_text
from plugin.celery import open_engine, open_workplace
from plugin.cli.read import one_study, time_of
from plugin.cli.series import one_series
from plugin.listener import spool_dir
from plugin.operations import require_files
from plugin.rules import load_rules
from plugin.settings import load
from sgmri import RESEARCH_USE_STATEMENT, readings
from sgmri.asking import Answered, AskEvent, BoxShown, FrameCited, Piece, confidence
from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError
from sgmri.findings import frames_as_text
from sgmri.questions import Unanswered
from sgmri.settings import DEVICES, Settings
from worker import asking
from worker.asking import Asked, Question
from worker.audit import auditor
from worker.engines import ENGINES
from worker.journal import SeriesRow
from worker.tasks import READING_FILE, Workplace

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("ask", help="ask one question about a series, in the catalogue's words or your own")
    parser.add_argument(
        "target",
        nargs="?",
        metavar="STUDY|PATH|KEY",
        help="a folder or file of DICOM; or, of the journal, a Study Instance UID or a series key of 'sgmri status'",
    )
    parser.add_argument("question", nargs="?", help="id or text of a catalogue question (see --list), or free text")
    parser.add_argument("--list", action="store_true", help="print the questions of the catalogue")
    parser.add_argument("--series", metavar="KEY", default="", help="of a study: which series, by its series key")
    parser.add_argument(
        "--frames", metavar="FIRST-LAST", default="", help="show the engine these frames only, counted from 1"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object at the end, nothing before it")
    parser.add_argument(
        "--write-sr", action="store_true", help="write a report with the answer, a revision of the series' report"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where --write-sr writes; not with --deliver")
    parser.add_argument(
        "--revises", type=Path, metavar="DIR", help="of a path: results of 'sgmri read' that the report revises"
    )
    parser.add_argument(
        "--deliver", action="store_true", help="with --write-sr, of the journal: send the report by the outbox"
    )
    parser.add_argument("--engine", choices=sorted(ENGINES), help="default: worker.engine of the configuration")
    parser.add_argument("--model", metavar="DIR", help="grounded: a model bundle; default: the configuration's")
    parser.add_argument("--device", choices=DEVICES, help="default: the configuration's")
    parser.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask; 0 with an answer, 1 without one, 2 where the question or the series is refused."""
    if arguments.list:
        for questions in STANDARD.values():
            print("\n".join(f"{question.question_id:32}{question.text}" for question in questions.questions))
        return 0
    if not arguments.target or not arguments.question:
        raise ConfigError("ask: expected a study, path or series key and a question; see sgmri ask --help")
    settings = _settings(arguments)
    path = Path(arguments.target)
    _check_writing(arguments, is_path=path.exists())
    if path.exists():
        return _of_path(path, arguments, settings)
    with closing((place := open_workplace(settings, load_rules(settings.selection.rules))).journal):
        return _of_journal(place, _row(place, arguments), arguments)


def _settings(arguments: argparse.Namespace) -> Settings:
    settings = load(arguments.config)
    chosen = {name: getattr(arguments, name) for name in ("engine", "model", "device") if getattr(arguments, name)}
    return replace(settings, worker=replace(settings.worker, **chosen))


def _check_writing(arguments: argparse.Namespace, *, is_path: bool) -> None:
    """Refuse what does not go together before anything is asked."""
    if not arguments.write_sr and (arguments.deliver or arguments.out or arguments.revises):
        raise ConfigError("ask: --deliver, --out and --revises need --write-sr")
    if is_path and arguments.deliver:
        raise ConfigError("ask: --deliver needs a series of the journal, found a path; send its report by: sgmri send")
    if not is_path and arguments.revises:
        raise ConfigError("ask: --revises is for a path; a series of the journal has its own report")
    if arguments.write_sr and arguments.deliver is bool(arguments.out):
        raise ConfigError("ask: --write-sr needs --out DIR, or --deliver, not both")
    if arguments.revises and arguments.out.resolve() == arguments.revises.resolve():
        raise ConfigError("ask: expected another directory for --out than for --revises, found one that holds a report")


def _of_path(path: Path, arguments: argparse.Namespace, settings: Settings) -> int:
    rules = load_rules(settings.selection.rules)
    taken: dict[str, tuple[list[Path], Choice]] = {}
    for facts in one_study(path).series:
        choice, key = choose(facts, rules=rules), series_key(facts.study_instance_uid, facts.series_instance_uid)
        mark = "can be asked about" if choice.taken else f"left out ({choice.reason})"
        print(f"{key[:8]}: series of {len(facts.instances)} instances: {mark}: {choice.explanation}", file=sys.stderr)
        if choice.taken and key.startswith(arguments.series):
            taken[key] = ([instance.path for instance in facts.instances], choice)
    if len(taken) != 1:
        raise ConfigError(
            f"{path}: expected one brain or knee MRI series that a question set covers, found {len(taken)}"
            + ("; choose one with --series" if taken else "")
        )
    (paths, choice) = next(iter(taken.values()))
    earlier = _earlier(arguments.revises)
    printer = _Printer(is_json=arguments.json)
    engine = open_engine(settings.worker)
    try:
        asked = asking.ask(choice, engine, _question(arguments), started_at=time_of(paths), tell=printer.tell)
    finally:
        engine.close()
    if asked.answered.answer.unanswered is None and arguments.write_sr:
        printer.written(asking.write_down(asked, earlier, paths, arguments.out))
    return printer.end(asked)


def _earlier(directory: Path | None) -> readings.Reading | None:
    if directory is None:
        return None
    try:
        return readings.from_json((directory / READING_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"--revises: expected a directory of 'sgmri read' with {READING_FILE}, found {error.strerror}"
        ) from None


def _row(place: Workplace, arguments: argparse.Namespace) -> SeriesRow:
    """Return the series of the journal that is meant."""
    if _UID.fullmatch(arguments.target) is None:
        return one_series(place.journal, arguments.target)
    rows = [
        row for row in asking.of_study(place.journal, arguments.target) if row.series_key.startswith(arguments.series)
    ]
    if len(rows) != 1:
        keys = ", ".join(row.series_key[:8] for row in rows)
        raise ConfigError(
            f"expected a study of the journal with one series that is read, found {len(rows)}"
            + (f" ({keys}); choose one with --series" if rows else "")
        )
    return rows[0]


def _of_journal(place: Workplace, row: SeriesRow, arguments: argparse.Namespace) -> int:
    require_files(place.journal, row, spool_dir(place.settings))
    who, audit = getpass.getuser(), auditor(place.settings)
    earlier = asking.standing(place, row) if arguments.write_sr else None
    printer = _Printer(is_json=arguments.json)
    engine = open_engine(place.settings.worker)
    try:
        asked = asking.ask_series(
            place,
            row,
            engine=engine,
            question=_question(arguments),
            tell=printer.tell,
            who=who,
            audit=audit,
        )
    finally:
        engine.close()
    if asked.answered.answer.unanswered is None and arguments.write_sr:
        if arguments.deliver:
            printer.queued(asking.record(place, row, asked, who=who, audit=audit))
        else:
            paths = asking.spooled(place, row)
            printer.written(asking.write_down(asked, earlier, paths, arguments.out, place.profile))
    return printer.end(asked)


def _question(arguments: argparse.Namespace) -> Question:
    return Question(text=arguments.question, frames=arguments.frames)


@dataclass(slots=True, kw_only=True)
class _Printer:
    """Prints what comes as it comes; or all of it as JSON at the end."""

    is_json: bool
    frame_numbers: set[int] = field(default_factory=set)
    boxes: list[BoxShown] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    report: str = ""
    is_open: bool = False

    def tell(self, event: AskEvent) -> None:
        match event:
            case Piece():
                self.is_open = True
                if not self.is_json:
                    print(event.text, end="", flush=True)
            case FrameCited():
                self.frame_numbers.add(event.frame_number)
            case BoxShown():
                self.boxes.append(event)
            case Answered() if not self.is_json:
                self._answer(event)
            case _:
                pass

    def _answer(self, answered: Answered) -> None:
        if self.is_open:
            print()
        answer = answered.answer
        if answer.unanswered is not None and self.is_open:
            print("What stands above does not count:")
        print(f"{answered.question.text} {answer_text(answer)}")
        if answer.unanswered is None and self.frame_numbers:
            print(f"frames: {frames_as_text([number - 1 for number in sorted(self.frame_numbers)])}")
        for box in self.boxes:
            x0, y0, x1, y1 = (f"{edge:g}" for edge in box.box.as_tuple())
            print(f"box on frame {box.frame_number}: {box.label}, ({x0}, {y0}) to ({x1}, {y1})")
        print(f"confidence: {confidence(answer)}")
        if answered.note:
            print(f"note: {answered.note}")

    def written(self, results: Sequence[ResultObject]) -> None:
        """Say which files were written."""
        self.files = [str(result.path) for result in results]
        self.report = "written: " + ", ".join(self.files)

    def queued(self, row: SeriesRow) -> None:
        """Say that the report is on its way."""
        self.report = f"{row.series_key[:8]}: reading {row.generation} is to be delivered; see sgmri status"

    def end(self, asked: Asked) -> int:
        """Print the rest, and return the exit code."""
        answer = asked.answered.answer
        if self.is_json:
            print(json.dumps(self._document(asked), indent=2, ensure_ascii=False))
        else:
            print("\n".join(filter(None, (self.report, RESEARCH_USE_STATEMENT))))
        if answer.unanswered is None:
            return 0
        return 2 if answer.unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE else 1

    def _document(self, asked: Asked) -> dict[str, Any]:
        answered, engine = asked.answered, asked.reading.engine
        answer = answered.answer
        return {
            "notice": RESEARCH_USE_STATEMENT,
            "question_id": answered.question.question_id,
            "question": answered.question.text,
            "kind": answer.kind.value,
            "presence": answer.presence,
            "count": answer.count,
            "chosen": list(answer.chosen),
            "text": answer.text,
            "reasoning": answer.reasoning,
            "unanswered": answer.unanswered,
            "frames": sorted(self.frame_numbers) if answer.unanswered is None else [],
            "boxes": [
                {"frame_number": box.frame_number, "label": box.label, "box": list(box.box.as_tuple())}
                for box in self.boxes
            ],
            "certainty": answer.certainty,
            "confidence": confidence(answer),
            "note": answered.note,
            "engine": {"name": engine.name, "version": engine.version, "digest": engine.digest},
            "report": self.report,
            "files": self.files,
        }
