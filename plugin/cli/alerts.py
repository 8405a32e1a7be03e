"""``sgmri alerts``: see whether alerts arrive."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from plugin.alert_channels import channels
from plugin.alerts import Alert, Kind, Turn, compose
from plugin.settings import load
from sgmri.errors import AlertUndelivered, ConfigError


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("alerts", help="send a test alert by every channel of the settings")
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    testing = what.add_parser("test", help="send a test alert by every channel of the settings")
    testing.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    testing.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Send it; 1 if a channel did not take it."""
    settings = load(arguments.config).alerts
    ways = list(channels(settings))
    if not ways:
        raise ConfigError("expected a channel in alerts.email.host or alerts.webhook.url, found none; set one of them")
    now = time.time()
    message = compose(settings.site, now, [Alert(kind=Kind.TEST, turn=Turn.HAPPENED, at=now)])
    failed = False
    for way in ways:
        try:
            way.send(message)
        except AlertUndelivered as error:
            failed = True
            print(f"sgmri: {way.name}: {error}", file=sys.stderr)
        else:
            print(f"{way.name}: sent")
    return 1 if failed else 0
