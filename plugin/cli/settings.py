"""``sgmri settings``: print every configuration key with its default and meaning."""

import argparse
from typing import Any

from plugin.settings import as_markdown, as_toml


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("settings", help="print the default configuration file, each key documented")
    parser.add_argument("--markdown", action="store_true", help="print a table instead")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    print(as_markdown() if arguments.markdown else as_toml(), end="")
    return 0
