"""Record in the audit log what an operator does on the command line, and who that is."""

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.errors import SgmriError
from sgmri.settings import Settings
from worker.audit import auditor

_LOGIN_UID = Path("/proc/self/loginuid")
_NO_LOGIN = 0xFFFF_FFFF  # of a process that nobody logged in for


@contextmanager
def operating(settings: Settings, what: str, series_key: str = "") -> Iterator[Callable[[], None]]:
    """Record a command before it is carried out; yields whom to tell that it could not be. An error says so, too.

    Parameters
    ----------
    settings
        The configuration.
    what
        The command, in words.
    series_key
        Which series it is about; empty for none.

    Raises
    ------
    AuditUnavailable
        If it cannot be recorded, and must be.
    """
    audit = auditor(settings, "command")
    event = AuditEvent(action=Action.OPERATE, who=operator(), series_key=series_key, detail=what)
    audit(event)

    def not_done() -> None:
        audit(replace(event, outcome=Outcome.FAILURE, detail=f"{what}: not done"))

    try:
        yield not_done
    except SgmriError:
        not_done()
        raise


def operator() -> str:
    """Return the operating system's user; where that is another than who logged in (sudo), both."""
    user = _name(os.getuid())
    try:
        login = int(_LOGIN_UID.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return user
    return user if login in (_NO_LOGIN, os.getuid()) else f"{user} (logged in as {_name(login)})"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user, which has no name
        return f"uid {uid}"
