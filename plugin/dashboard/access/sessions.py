"""Sessions: who has logged in with which browser, kept here and not in the cookie, so that logging out ends them."""

import hashlib
import secrets
import time
from collections.abc import Callable

from sqlalchemy import Engine, delete, insert, or_, select, update

from plugin.dashboard.access.roles import Role
from plugin.dashboard.access.tables import SESSIONS
from sgmri.settings_access import AccessSettings

_NOTED_EVERY_S = 30.0
"""How often it is written down that a user is still there."""


class Sessions:
    """The sessions of a dashboard.

    Parameters
    ----------
    engine
        Of :func:`plugin.dashboard.access.tables.open_tables`.
    settings
        Say when a session ends by itself.
    clock
        Seconds since the epoch.
    """

    def __init__(self, engine: Engine, settings: AccessSettings, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._idle_s = settings.idle_timeout_s
        self._longest_s = settings.session_timeout_s
        self._clock = clock

    def begin(self, name: str, role: Role) -> str:
        """Begin a session and return its token, which has never been used before; those that are over are forgotten."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._engine.begin() as connection:
            over = or_(SESSIONS.c.seen_at <= now - self._idle_s, SESSIONS.c.begun_at <= now - self._longest_s)
            connection.execute(delete(SESSIONS).where(over))
            connection.execute(
                insert(SESSIONS).values(token_digest=_digest(token), name=name, role=role, begun_at=now, seen_at=now)
            )
        return token

    def find(self, token: str, *, acts: bool = True) -> tuple[str, Role] | None:
        """Return the name and role of a token's session; None where there is none or it is over.

        Parameters
        ----------
        token
            What the browser sent.
        acts
            Whether its user does something; a page that only refreshes itself keeps no session alive.
        """
        now, mine = self._clock(), SESSIONS.c.token_digest == _digest(token)
        with self._engine.connect().execution_options(reads_only=True) as connection:
            row = connection.execute(select(SESSIONS).where(mine)).one_or_none()
        if row is None or now - row.seen_at >= self._idle_s or now - row.begun_at >= self._longest_s:
            return None
        if acts and now - row.seen_at > min(_NOTED_EVERY_S, self._idle_s / 10):
            with self._engine.begin() as connection:
                connection.execute(update(SESSIONS).where(mine).values(seen_at=now))
        return row.name, Role(row.role)

    def end(self, token: str) -> None:
        """End a session; harmless a second time."""
        with self._engine.begin() as connection:
            connection.execute(delete(SESSIONS).where(SESSIONS.c.token_digest == _digest(token)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
