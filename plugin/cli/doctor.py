"""``sgmri doctor``: look whether this machine can run what it is meant to run."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plugin.doctor.check import Verdict
from plugin.doctor.examination import examine


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("doctor", help="check this machine, and with --config the services it is to use")
    parser.add_argument("--config", type=Path, help="TOML configuration file; also checks what it names")
    parser.add_argument("--json", action="store_true", help="a list of checks with name, verdict and text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line a check; 1 if one fails."""
    checks = []
    for check in examine(arguments.config):
        checks.append(check)
        if not arguments.json:
            print(f"[{check.verdict:4}] {check.name}: {check.text}", flush=True)
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    return int(any(check.verdict is Verdict.FAIL for check in checks))
