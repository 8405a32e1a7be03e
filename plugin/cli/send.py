"""``sgmri send``: send DICOM files to a peer with C-STORE."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from dicom_io.network import Destination
from dicom_io.scu import Sendable, sendable, store
from sgmri.errors import ConfigError, MalformedInstance

_ADDRESS = re.compile(r"(?P<ae>[^@\\]{1,16})@(?P<host>[^@:\s]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("send", help="send a file, or every DICOM file of a folder, to a peer (C-STORE)")
    parser.add_argument("path", type=Path)
    parser.add_argument("--to", required=True, metavar="AET@HOST:PORT", help="whom to send to")
    parser.add_argument("--calling", default="SGMRI", metavar="AET", help="our AE title (default: SGMRI)")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="limit for each response")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Send; 2 if nothing can be sent."""
    destination = parse_address(arguments.to, arguments.calling, arguments.timeout)
    instances = _collect(arguments.path)
    sent = 0

    def stored(instance: Sendable) -> None:
        nonlocal sent
        sent += 1
        if sys.stderr.isatty():
            print(f"\r{sent} of {len(instances)} instances", end="", file=sys.stderr, flush=True)

    store(destination, instances, stored=stored)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"sent {sent} instances to {destination.ae_title}")
    return 0


def parse_address(text: str, calling: str, timeout_s: float, *, option: str = "--to") -> Destination:
    """Read ``AET@HOST:PORT``.

    Raises
    ------
    ConfigError
        If it is none.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ConfigError(f"{option}: expected AET@HOST:PORT such as PACS@192.0.2.7:104, found {text!r}")
    return Destination(
        ae_title=match["ae"],
        host=match["host"].strip("[]"),
        port=int(match["port"]),
        calling_ae_title=calling,
        timeout_s=timeout_s,
    )


def _collect(path: Path) -> list[Sendable]:
    if not path.exists():
        raise ConfigError(f"{path}: expected a file or folder, found nothing")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    instances = []
    for file in files:
        try:
            instances.append(sendable(file))
        except MalformedInstance as error:
            print(f"sgmri: {file}: left out: {error}", file=sys.stderr)
    if not instances:
        raise ConfigError(f"{path}: expected at least one DICOM file, found none")
    return instances
