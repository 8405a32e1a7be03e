"""``sgmri conformance objects``: hold SR, SEG and other result objects of any product against the standard."""

import argparse
from pathlib import Path
from typing import Any

from conformance.objects import validators
from conformance.objects.findings import Severity
from sgmri.errors import ConfigError


def add_parser(parts: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = parts.add_parser("objects", help="check SR, SEG, presentation states and other results of any product")
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="objects, or folders of them")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check; 1 where an object has an error."""
    validator = validators.program("dciodvfy")
    if validator is None:
        print(validators.missing(validators.IOD, require=False).text)
        return 1
    failed = False
    for path in arguments.paths:
        if not path.exists():
            raise ConfigError(f"{path}: expected a file or folder, found nothing")
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            for finding in validators.check_iod(validator, file) if file.is_file() else ():
                print(f"{file}: {finding.severity}: {finding.text} [{finding.check}]")
                failed |= finding.severity is Severity.ERROR
    return 1 if failed else 0
