"""``sgmri audit``: examine the audit log, or print what it says."""

import argparse
import heapq
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from plugin.settings import load
from sgmri.audit_chain import AuditLine
from sgmri.errors import ConfigError, SgmriError
from worker.auditing import verification
from worker.auditing.files import audit_dir, events_of
from worker.auditing.verification import ChainReport


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("audit", help="examine the audit log, or print it")
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    verifying = what.add_parser("verify", help="find lines that were changed, deleted, inserted, moved or cut off")
    showing = what.add_parser("show", help="print who did what, of all hosts, in the order of time")
    showing.add_argument("--series", default="", metavar="KEY", help="only of this series, or those that begin so")
    showing.add_argument(
        "--since", type=_time, metavar="TIME", help="only from then on, such as 2026-11-27 or ...T18:00"
    )
    for one in (verifying, showing):
        one.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
        one.add_argument("--json", action="store_true", help="print JSON; show: one object a line")
    verifying.set_defaults(run=run_verify)
    showing.set_defaults(run=run_show)


def _time(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-11-27T18:00, found {text!r}") from None


def run_verify(arguments: argparse.Namespace) -> int:
    """Examine; 1 if anything is wrong, with every fault named by its line."""
    settings = load(arguments.config)
    try:
        reports = list(verification.reports(settings))
    except OSError as error:
        raise ConfigError(f"expected an audit log that can be read, found {error.strerror}; who are you?") from None
    except SQLAlchemyError as error:
        raise SgmriError(
            f"expected the journal, which knows where the audit log ends, found {type(error).__name__}; start it first"
        ) from None
    good = not any(report.faults for report in reports)
    if arguments.json:
        print(json.dumps({"good": good, "hosts": [_mapping(report) for report in reports]}, indent=2))
    else:
        for report in reports:
            verdict = "good" if not report.faults else f"{len(report.faults)} faults"
            print(f"{report.host}: {report.lines} lines, {report.known} known in the journal: {verdict}")
            for fault in report.faults:
                print(f"  {fault}")
        if not reports:
            print("no audit log")
    return 0 if good else 1


def _mapping(report: ChainReport) -> dict[str, Any]:
    return {**asdict(report), "faults": [{**asdict(fault), "text": str(fault)} for fault in report.faults]}


def run_show(arguments: argparse.Namespace) -> int:
    """Print the lines that can be read; whether they are genuine is the other command's matter."""
    root = audit_dir(load(arguments.config))
    hosts = sorted(path for path in root.iterdir() if path.is_dir()) if root.exists() else []
    try:
        for line in heapq.merge(*(events_of(host) for host in hosts), key=lambda line: line.at):
            if line.event.series_key.startswith(arguments.series) and line.at >= (arguments.since or ""):
                print(json.dumps(_shown(line)) if arguments.json else _text(line))
    except OSError as error:
        print(f"sgmri: expected an audit log that can be read, found {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _shown(line: AuditLine) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(line.encode())
    return shown


def _text(line: AuditLine) -> str:
    return "  ".join(_words(line))


def _words(line: AuditLine) -> Iterator[str]:
    event = line.event
    yield f"{line.at[:19]}Z"
    yield f"{line.host} {line.process} {line.seq}"
    yield f"{event.action} {event.outcome} by {event.who}"
    if event.series_key:
        yield f"series {event.series_key[:8]}"
    if event.count:
        yield f"({event.count})"
    if event.detail:
        yield event.detail
