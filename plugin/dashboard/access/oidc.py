"""Logging in by an OpenID provider: code flow with PKCE, state and nonce, by authlib.

References
----------
OpenID Connect Core 1.0, 3.1; RFC 7636 (PKCE); RFC 9700 (best practice)
"""

import logging
import re
from collections.abc import Sequence
from typing import Any, Final

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from plugin.dashboard.access.gate import LOGIN
from plugin.dashboard.access.login import Login, local_path
from plugin.dashboard.access.roles import Role
from plugin.dashboard.access.visits import visit_of
from sgmri.audit import Action
from sgmri.settings_access import AccessSettings

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_TIMEOUT_S: Final = 10.0
_LEEWAY_S: Final = 60
_FAILED: Final = "Your organisation's log-in did not work; try again, or ask those who run it."


class OidcLogin:
    """The two steps of a log-in by the provider: there, and back.

    Parameters
    ----------
    settings
        Name the provider.
    secret
        By which it knows us; None for a public client.
    login
        Begins the session.
    """

    def __init__(self, settings: AccessSettings, secret: str | None, login: Login) -> None:
        self._settings = settings
        self._login = login
        issuer = settings.oidc.issuer
        self._provider = OAuth().register(
            "provider",
            client_id=settings.oidc.client_id,
            client_secret=secret,
            server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256", "timeout": _TIMEOUT_S},
        )

    def routes(self) -> Sequence[BaseRoute]:
        """Return the two routes."""
        return [Route(f"{LOGIN}/oidc", self.leave), Route(f"{LOGIN}/oidc/callback", self.come_back)]

    async def leave(self, request: Request) -> Response:
        """Send the browser to the provider."""
        base = self._settings.public_url or f"http://{request.headers['host']}"
        request.session["next"] = target = local_path(request.query_params.get("next", ""))
        try:
            answer: Response = await self._provider.authorize_redirect(request, f"{base}{LOGIN}/oidc/callback")
        except (httpx2.HTTPError, ValueError, RuntimeError) as error:  # unreachable; no JSON; no endpoint in it
            _log.error("the OpenID provider does not answer as it should: %s", type(error).__name__)
            return await self._login.page(request, target, _FAILED, 502)
        return answer

    async def come_back(self, request: Request) -> Response:
        """Take the provider's word for who this is, if it is its word, meant for us and for this browser, and new."""
        target = local_path(request.session.pop("next", ""))
        oidc = self._settings.oidc
        try:
            token = await self._provider.authorize_access_token(
                request,
                leeway=_LEEWAY_S,
                claims_options={
                    "iss": {"essential": True, "value": oidc.issuer},
                    "aud": {"essential": True, "value": oidc.client_id},
                    "sub": {"essential": True},
                    "nonce": {"essential": True},
                },
            )
            claims: dict[str, Any] = token["userinfo"]
        except (AuthlibBaseError, JoseError, httpx2.HTTPError, ValueError, KeyError, RuntimeError) as error:
            _log.warning("a log-in by the OpenID provider failed with %s", type(error).__name__)
            return await self._refuse(request, target, f"OpenID log-in failed: {type(error).__name__}")
        name, role = claims.get(oidc.name_claim), self._role(claims)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return await self._refuse(request, target, "OpenID name missing or of other characters")
        if role is None:
            return await self._refuse(request, target, "in no OpenID group that has a role")
        return await self._login.begin(request, f"oidc:{name}", role, target)

    def _role(self, claims: dict[str, Any]) -> Role | None:
        oidc = self._settings.oidc
        found = claims.get(oidc.groups_claim, [])
        groups = {group for group in found if isinstance(group, str)} if isinstance(found, list) else set()
        for role, named in ((Role.ADMIN, oidc.admins), (Role.OPERATOR, oidc.operators), (Role.VIEWER, oidc.viewers)):
            if groups.intersection(named):
                return role
        return None

    async def _refuse(self, request: Request, target: str, why: str) -> Response:
        await visit_of(request).audit(Action.LOG_IN, refused=why)
        return await self._login.page(request, target, _FAILED, 403)
