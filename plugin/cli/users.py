"""``sgmri users``: the local users of the dashboard."""

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from plugin.settings import load
from sgmri.audit import Action, AuditEvent
from sgmri.errors import ConfigError
from sgmri.settings_access import ROLES
from worker.audit import auditor
from worker.secret_files import read_secret


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("users", help="add, list and remove users of the dashboard")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="add a user; the password is asked for, or read from standard input")
    change = actions.add_parser("password", help="give a user another password; their sessions end")
    remove = actions.add_parser("remove", help="remove a user; their sessions end")
    listing = actions.add_parser("list", help="print names and roles")
    add.add_argument("--role", choices=ROLES, required=True)
    for one in (add, change, remove):
        one.add_argument("name", metavar="NAME")
    for one in (add, change):
        one.add_argument("--password-file", type=Path, metavar="FILE", help="holds it alone; others cannot read it")
    for one in (add, change, remove, listing):
        one.add_argument("--config", type=Path, help="TOML configuration file (default: the defaults)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and write it into the audit log."""
    try:
        from plugin.dashboard.access.passwords import Passwords  # an extra of its own, like those below
        from plugin.dashboard.access.roles import Role
        from plugin.dashboard.access.tables import open_tables
        from plugin.dashboard.access.users import Users
    except ModuleNotFoundError as error:
        raise ConfigError(f"expected {error.name} for users, found none; pip install 'sgmri[dashboard]'") from None
    settings = load(arguments.config)
    users = Users(open_tables(settings), Passwords())
    if arguments.action == "list":
        for one in users:
            print(f"{one.name}  {one.role}")
        return 0
    name = arguments.name
    if arguments.action == "add":
        users.add(name, Role(arguments.role), _password(arguments))
        done = f"user added: {name}, {arguments.role}"
    elif arguments.action == "password":
        users.set_password(name, _password(arguments))
        done = f"password changed: {name}"
    else:
        users.remove(name)
        done = f"user removed: {name}"
    auditor(settings)(AuditEvent(action=Action.CONFIGURE, who=getpass.getuser(), detail=done))
    print(done)
    return 0


def _password(arguments: argparse.Namespace) -> str:
    """Return the password: never from the command line, which others can see."""
    if arguments.password_file:
        return read_secret(arguments.password_file)
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise ConfigError("password: expected the same twice, found two; try again")
    return password
