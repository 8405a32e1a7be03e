"""Local users, their roles and passwords."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Delete, Engine, Update, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from plugin.dashboard.access.passwords import Passwords, check_password
from plugin.dashboard.access.roles import LOCAL_NAME, Role
from plugin.dashboard.access.tables import SESSIONS, USERS
from sgmri.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalUser:
    """A local user: name and role."""

    name: str
    role: Role


class Users:
    """The local users.

    Parameters
    ----------
    engine
        Of :func:`plugin.dashboard.access.tables.open_tables`.
    passwords
        How their passwords are kept.
    """

    def __init__(self, engine: Engine, passwords: Passwords) -> None:
        self._engine = engine
        self._passwords = passwords

    def add(self, name: str, role: Role, password: str) -> None:
        """Add a user.

        Raises
        ------
        ConfigError
            If the name or the password is refused, or the user is there already.
        """
        if not LOCAL_NAME.fullmatch(name):
            raise ConfigError("user: expected 1 to 64 of a-z, 0-9, '.', '_' and '-' (a letter or digit first)")
        check_password(password, name)
        digest = self._passwords.digest(password)
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(USERS).values(name=name, role=role, password_digest=digest))
        except IntegrityError:
            raise ConfigError(
                f"user {name}: expected a new name, found one that is there; see sgmri users password, or remove it"
            ) from None

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password; their sessions end.

        Raises
        ------
        ConfigError
            If the password is refused, or nobody is called that.
        """
        check_password(password, name)
        self._change(name, update(USERS).values(password_digest=self._passwords.digest(password)))

    def remove(self, name: str) -> None:
        """Remove a user; their sessions end.

        Raises
        ------
        ConfigError
            If nobody is called that.
        """
        self._change(name, delete(USERS))

    def _change(self, name: str, statement: Update | Delete) -> None:
        with self._engine.begin() as connection:
            if not connection.execute(statement.where(USERS.c.name == name)).rowcount:
                raise ConfigError("user: expected the name of a local user, found another; see sgmri users list")
            connection.execute(delete(SESSIONS).where(SESSIONS.c.name == name))

    def __iter__(self) -> Iterator[LocalUser]:
        with self._engine.connect() as connection:
            rows = connection.execute(select(USERS).order_by(USERS.c.name)).all()
        return iter([LocalUser(name=row.name, role=Role(row.role)) for row in rows])

    def any(self) -> bool:
        """Return whether there are users."""
        with self._engine.connect() as connection:
            return bool(connection.execute(select(func.count()).select_from(USERS)).scalar_one())

    def log_in(self, name: str, password: str) -> tuple[LocalUser | None, bool]:
        """Return the user whose name and password these are, and whether there is a user of that name.

        It takes as long for a name that nobody has as for a wrong password.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(USERS).where(USERS.c.name == name)).one_or_none()
        if not self._passwords.match(row.password_digest if row else None, password):
            return None, row is not None
        assert row is not None
        return LocalUser(name=row.name, role=Role(row.role)), True
