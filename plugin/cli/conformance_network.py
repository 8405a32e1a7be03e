"""``sgmri conformance network``: test what a peer does on the network, from outside.

Exit codes: 0 no check failed, 1 some did, 2 the peer could not be tested.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from conformance.network.run import ROLES
from conformance.network.run import run as run_checks
from conformance.network.session import Setup, Tls
from conformance.report import WRITERS, Entry, console
from plugin.cli.output import write_output
from plugin.cli.send import parse_address
from sgmri.errors import ConfigError, PeerUnavailable


def add_parser(parts: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = parts.add_parser("network", help="test what a PACS or any other peer does on the network")
    add = parser.add_argument
    add("--peer", required=True, metavar="AET@HOST:PORT", help="whom to test")
    add("--role", action="append", choices=ROLES, help="what it is tested as, repeated for several (default: storage)")
    add("--calling", default="SGMRI", metavar="AET", help="our AE title, which the peer must know (default: SGMRI)")
    add("--listen", metavar="HOST:PORT", help="where the peer finds us: for C-MOVE, and for commitment results")
    add("--timeout", type=float, default=10.0, metavar="SECONDS", help="limit for each answer (default: 10)")
    add("--patience", type=float, default=75.0, metavar="SECONDS",
        help="limit for closing stuck connections, and for commitment results (default: 75)")  # fmt: skip
    add("--only", metavar="TEXT", default="", help="run the checks whose id begins with this, such as storage.")
    add("--seed", type=int, help="send the same again; what was sent then is still there (default: never the same)")
    add("--big", type=int, default=16, metavar="MIB", help="size of the largest instance (default: 16)")
    add("--tls-ca", type=Path, metavar="FILE", help="authority of the peer's certificate: all connections are secure")
    add("--tls-cert", type=Path, metavar="FILE", help="our certificate")
    add("--tls-key", type=Path, metavar="FILE", help="its key")
    add("--tls-bad", type=Path, nargs=2, action="append", default=[], metavar=("CERT", "KEY"),
        help="a certificate that the peer must refuse: expired, or signed by somebody else")  # fmt: skip
    add("--destructive", action="store_true", help="send what may fill, slow down or break the peer, too")
    add("--i-own-this-system", action="store_true", help="say that --destructive is meant")
    for name in WRITERS:
        add(f"--{name}", type=Path, metavar="FILE", help=f"write the report to a file, as {name}")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Test; 0, 1 or 2."""
    setup = _setup(arguments)
    try:
        report = run_checks(
            setup, only=lambda name: name.startswith(arguments.only), seed=arguments.seed, told=_progress
        )
    except PeerUnavailable as error:
        print(f"sgmri: {error}", file=sys.stderr)
        return 2
    for name, write in WRITERS.items():
        path: Path | None = getattr(arguments, name)
        if path is not None:
            write_output(path, write(report).encode())
    print(console(report), end="")
    return 1 if report.failed else 0


def _progress(entry: Entry) -> None:
    if sys.stderr.isatty():
        print(f"\r{entry.id:40}", end="", file=sys.stderr, flush=True)


def _setup(arguments: argparse.Namespace) -> Setup:
    if arguments.destructive and not arguments.i_own_this_system:
        raise ConfigError(
            "--destructive may fill, slow down or break the peer: expected --i-own-this-system beside it, found none; "
            "nothing was sent"
        )
    tls = None
    if arguments.tls_ca is not None:
        pairs = tuple((certificate, key) for certificate, key in arguments.tls_bad)
        tls = Tls(ca=arguments.tls_ca, certificate=arguments.tls_cert, key=arguments.tls_key, refused=pairs)
    return Setup(
        destination=parse_address(arguments.peer, arguments.calling, arguments.timeout, option="--peer"),
        roles=frozenset(arguments.role or ("storage",)),
        patience_s=arguments.patience,
        listen=_listen(arguments.listen),
        tls=tls,
        destructive=arguments.destructive,
        big_bytes=arguments.big << 20,
    )


def _listen(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"--listen: expected HOST:PORT such as 0.0.0.0:11113, found {text!r}")
    return host.strip("[]"), int(port)
