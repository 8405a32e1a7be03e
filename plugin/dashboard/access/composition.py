"""Access to the dashboard in one piece: what its application takes, and what must be so before it serves."""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from plugin.dashboard.access.gate import LOGIN, Gate
from plugin.dashboard.access.headers import SecureHeaders
from plugin.dashboard.access.keys import oidc_secret, session_key
from plugin.dashboard.access.login import Login
from plugin.dashboard.access.oidc import OidcLogin
from plugin.dashboard.access.passwords import Passwords
from plugin.dashboard.access.rates import Rates
from plugin.dashboard.access.sessions import Sessions
from plugin.dashboard.access.tables import open_tables
from plugin.dashboard.access.users import Users
from sgmri.audit import Auditor
from sgmri.errors import ConfigError
from sgmri.setting_keys import is_loopback
from sgmri.settings import Settings
from worker.audit import auditor as auditor_of

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
_OIDC_COOKIE_S = 600
_MAX_CONNECTIONS = 256
_KEEP_ALIVE_S = 10


class Access:
    """Who may use the dashboard.

    Parameters
    ----------
    settings
        The whole configuration.
    passwords
        How passwords are kept.
    auditor
        Who remembers; by default as the settings say.
    clock
        Seconds since the epoch, for sessions.

    Raises
    ------
    ConfigError
        If a secret or the database cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        passwords: Passwords | None = None,
        auditor: Auditor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings.access
        self._auditor = auditor or auditor_of(settings)
        engine = open_tables(settings)
        self._key = session_key(settings)
        self._users = Users(engine, passwords or Passwords())
        self._sessions = Sessions(engine, self._settings, clock)
        self._rates = Rates(self._settings)
        self._login = Login(self._settings, self._users, self._sessions)
        self._oidc = None
        if self._settings.oidc.issuer:
            self._oidc = OidcLogin(self._settings, oidc_secret(settings), self._login)

    def middleware(self) -> list[Middleware]:
        """Return what stands before the pages, the outermost first."""
        settings = self._settings
        public = urlsplit(settings.public_url).hostname
        hosts = [*_LOOPBACK, *settings.hosts, *([public] if public else [])]
        parts = [
            Middleware(SecureHeaders, has_tls=settings.has_tls),
            # Against pages of other names that resolve to this machine
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ]
        if settings.proxies:
            parts.append(Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.proxies)))
        if self._oidc:
            parts.append(
                Middleware(
                    SessionMiddleware,  # for the log-in that is under way: state, nonce and verifier, signed
                    secret_key=self._key,
                    session_cookie="sgmri-oidc",
                    max_age=_OIDC_COOKIE_S,
                    path=f"{LOGIN}/oidc",
                    https_only=settings.has_tls,
                )
            )
        parts.append(
            Middleware(
                Gate,
                settings=settings,
                sessions=self._sessions,
                rates=self._rates,
                auditor=self._auditor,
                key=self._key,
            )
        )
        return parts

    def routes(self) -> list[BaseRoute]:
        """Return the pages of logging in and out."""
        return [*self._login.routes(), *(self._oidc.routes() if self._oidc else ())]

    @property
    def has_users(self) -> bool:
        """Whether anybody may log in."""
        return self._oidc is not None or self._users.any()

    def check_start(self, host: str) -> None:
        """Refuse to serve others than this machine without TLS and without users.

        Parameters
        ----------
        host
            Address to listen on.

        Raises
        ------
        ConfigError
            Saying what is missing.
        """
        if is_loopback(host):
            return
        where = f"the dashboard on {host}, which other machines reach"
        if not self._settings.public_url or not self._settings.proxies:
            raise ConfigError(
                f"{where}: expected access.public_url (https://) and access.proxies of a proxy that terminates TLS, "
                "found none; set both, or listen on 127.0.0.1"
            )
        if not self.has_users:
            raise ConfigError(f"{where}: expected users, found none; sgmri users add NAME --role admin, or access.oidc")

    def serve(self, app: Starlette, *, host: str, port: int) -> None:
        """Serve an application that has our middleware, until SIGTERM or SIGINT.

        Raises
        ------
        ConfigError
            As :meth:`check_start`.
        """
        self.check_start(host)
        uvicorn.run(
            SecureHeaders(app, has_tls=self._settings.has_tls),  # some answers are given outside of any middleware
            host=host,
            port=port,
            http="h11",  # refuses what could be taken for two requests
            ws="none",
            log_config=None,
            access_log=False,  # addresses hold keys of series
            server_header=False,
            proxy_headers=False,  # our own middleware believes the proxies that are named
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=2,
        )
