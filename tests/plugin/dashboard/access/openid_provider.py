"""A small OpenID provider: code flow with PKCE, signed ID tokens (OpenID Connect Core 1.0; RFC 7636)."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.http_servers import serving

CLIENT_ID, CLIENT_SECRET = "sgmri-dashboard", "the secret of the client"


@dataclass
class Provider:
    """What the provider says, and may say wrongly."""

    claims: dict[str, Any] = field(default_factory=dict)
    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    signing_key: RSAKey | None = None
    asked: dict[str, str] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, query: dict[str, str]) -> str:
        """Return where the browser goes back to, once its user is known."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        assert {"state", "nonce", "code_challenge"} <= query.keys()
        self.asked = query
        code = secrets.token_hex(8)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Return the tokens of a code, which is good once; None where the client or its verifier is wrong."""
        query = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        client = f"{CLIENT_ID}:{CLIENT_SECRET}".encode()
        if (
            query is None
            or challenge.decode().rstrip("=") != query["code_challenge"]
            or authorization != f"Basic {base64.b64encode(client).decode()}"
            or form["redirect_uri"] != query["redirect_uri"]
        ):
            return None
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "7",
            "iat": now,
            "exp": now + 60,
            "nonce": query["nonce"],
            "preferred_username": "anna",
            "groups": ["mr-readers"],
            **self.claims,
        }
        known = {name: value for name, value in claims.items() if value is not None}
        id_token = jwt.encode({"alg": "RS256", "kid": "one"}, known, self.signing_key or self.key)
        return {"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": id_token}


@contextmanager
def running() -> Iterator[Provider]:
    """Run a provider on a port of loopback."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                self._answer(302, None, provider.authorize(query))
            elif url.path == "/jwks":
                self._answer(200, {"keys": [provider.key.as_dict(private=False)]})
            else:
                root = provider.issuer
                metadata = {name: f"{root}/{path}" for name, path in (
                    ("authorization_endpoint", "authorize"), ("token_endpoint", "token"), ("jwks_uri", "jwks"),
                )}  # fmt: skip
                self._answer(200, {"issuer": root, "id_token_signing_alg_values_supported": ["RS256"], **metadata})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            tokens = provider.token(form, self.headers.get("Authorization", ""))
            self._answer(200 if tokens else 400, tokens or {"error": "invalid_grant"})

        def _answer(self, status: int, content: object, location: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with serving(Handler) as provider.issuer:
        yield provider
