"""``sgmri conformance objects``: hold SR, SEG and other result objects of any product against the standard."""

import argparse
import sys
from pathlib import Path
from typing import Any

from conformance.objects.checking import CHECKS, Options, check
from conformance.objects.findings import Group, Severity
from conformance.objects.page import as_html
from conformance.objects.reports import as_json, as_junit, lines
from dicom_io.parallel import permitted_cores
from dicom_io.viewer_rules import RULES
from plugin.cli.output import write_output
from sgmri.errors import ConfigError

_GROUPS = ", ".join(Group)


def add_parser(parts: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = parts.add_parser(
        "objects", help="check SR, SEG, presentation states and other results of any product",
        description="Check result objects against the standard, each other and the images they were made of. "
        "Images among the paths, or in --source, are what objects are held against.",
    )  # fmt: skip
    parser.add_argument("paths", type=Path, nargs="*", metavar="PATH", help="objects and images, or folders of them")
    parser.add_argument("--source", type=Path, action="append", default=[], metavar="DIR", help="where images lie")
    parser.add_argument("--checks", type=_groups, metavar="GROUPS", help=f"only these groups, by commas: {_GROUPS}")
    parser.add_argument("--without", type=_groups, metavar="GROUPS", help="all groups but these")
    parser.add_argument(
        "--viewer", choices=sorted(RULES), action="append", default=[], metavar="VIEWER",
        help=f"hold the objects against a viewer's rules, too: {', '.join(RULES)}",
    )  # fmt: skip
    parser.add_argument(
        "--require-validators", action="store_true", help="fail where dciodvfy or dcentvfy is not installed"
    )
    parser.add_argument(
        "--fail-on", choices=("error", "warning"), default="error", help="what ends with 1 (default: error)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings as JSON")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write all findings as JUnit XML")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with all findings and marked frames")
    parser.add_argument("--list", action="store_true", help="print every check, with what demands it, and end")
    parser.add_argument("--workers", type=int, default=permitted_cores(), metavar="N", help="processes")
    parser.set_defaults(run=run)


def _groups(value: str) -> frozenset[Group]:
    try:
        return frozenset(Group(name.strip()) for name in value.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected names among {_GROUPS}, found {value!r}") from None


def run(arguments: argparse.Namespace) -> int:
    """Check; 1 where an object has an error, or with ``--fail-on warning`` a warning."""
    if arguments.list:
        for one in CHECKS:
            print(f"{one.name:32} {one.severity:7} expects {one.says} [{one.source}]")
        return 0
    if not arguments.paths:
        raise ConfigError("expected objects or folders of them, found none; name at least one path")
    asked = arguments.checks or frozenset()
    report = check(
        arguments.paths,
        arguments.source,
        Options(
            groups=(asked or frozenset(Group)) - (arguments.without or frozenset()),
            asked=asked,
            viewers=tuple(arguments.viewer),
            require_validators=arguments.require_validators,
            workers=max(1, arguments.workers),
        ),
    )
    for path, render in ((arguments.json, as_json), (arguments.junit, as_junit), (arguments.html, as_html)):
        if path is not None:
            write_output(path, render(report).encode("utf-8", "replace"))
    for line in lines(report):
        print(line.encode(sys.stdout.encoding or "utf-8", "replace").decode(sys.stdout.encoding or "utf-8"))
    is_bad = report.count(Severity.ERROR) or (arguments.fail_on == "warning" and report.count(Severity.WARNING))
    return 1 if is_bad else 0
