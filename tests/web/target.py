"""A running dashboard process, a series whose headers hold scripts, and a client that sends what no browser does."""

import http.client
import importlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from conformance.phantoms import make_non_mr
from dicom_io.spool import Spool
from dicom_io.stored import read_header
from plugin.dashboard.access import Role
from plugin.dashboard.access.passwords import Passwords
from plugin.dashboard.access.tables import open_tables
from plugin.dashboard.access.users import Users
from plugin.indexer import received
from plugin.listener import open_journal, spool_dir
from plugin.parts import free_port
from plugin.settings import load

SCRIPT = "CANARY<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
"""What headers of the planted series hold: a page must show it as text, and only to who asks for an identity."""
PASSWORD = "plum-vector-teapot-91"
MAX_BODY_BYTES, BODY_TIMEOUT_S = 200_000, 2
_READY_S, _ANSWER_S = 60.0, 30.0
_HELD = ("PatientName", "PatientID", "AccessionNumber", "StudyDescription", "SeriesDescription", "ProtocolName")


@dataclass(frozen=True)
class Answer:
    """An answer: status, headers (several of a name may be there), and text."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name)


@dataclass(frozen=True)
class Place:
    """A route of the application: a path that leads there, and the methods that it takes."""

    path: str
    template: str
    methods: frozenset[str]


@dataclass
class Target:
    """The process and what is known of it."""

    port: int
    state_dir: Path
    series_key: str
    places: list[Place]
    has_access: bool
    requests: int = 0
    cookies: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | str = b"", who: str = ""
    ) -> Answer:
        """Send one request, with the path as it is; ``who`` has logged in."""
        self.requests += 1
        sent = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
        if who:
            sent["Cookie"] = f"sgmri={self.cookies[who]}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            content = body.encode() if isinstance(body, str) else body
            if "Content-Length" not in sent and (content or method not in ("GET", "HEAD", "OPTIONS")):
                connection.putheader("Content-Length", str(len(content)))
            connection.endheaders(content)
            answer = connection.getresponse()
            live = "event-stream" in (answer.getheader("content-type") or "")  # it would never end
            text = "" if live else answer.read().decode("utf-8", "replace")
            return Answer(answer.status, answer.getheaders(), text)
        finally:
            connection.close()

    def raw(self, content: bytes, *, wait_s: float = 3.0) -> str:
        """Send bytes, and return whatever comes back until the other side closes or is silent."""
        self.requests += 1
        with socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_S) as connection:
            connection.sendall(content)
            connection.settimeout(wait_s)
            said = b""
            try:
                while piece := connection.recv(65536):
                    said += piece
            except (TimeoutError, ConnectionResetError):
                pass
        return said.decode("utf-8", "replace")

    def form(self, path: str, fields: Mapping[str, str], who: str = "", **headers: str) -> Answer:
        """Send a form."""
        named = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.ask("POST", path, named, urlencode(fields), who=who)

    def begin(self, cookie: str = "") -> tuple[str, str]:
        """Open the log-in page; return the cookie and the token of its form."""
        page = self.ask("GET", "/login", {"Cookie": f"sgmri={cookie}"} if cookie else {})
        token = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        return session_of(page) or cookie, token

    def log_in(self, name: str, password: str = PASSWORD, cookie: str = "", **fields: str) -> Answer:
        """Log in as somebody; the answer holds the session."""
        cookie, token = self.begin(cookie)
        return self.form(
            "/login", {"csrf": token, "name": name, "password": password, **fields}, Cookie=f"sgmri={cookie}"
        )

    def enter(self) -> None:
        """Log one user of each role in, and find the tokens of their forms."""
        for role in Role:
            self.cookies[role] = session_of(self.log_in(role))
            for place in self.places:
                if "GET" in place.methods and not self.tokens.get(role):
                    page = self.ask("GET", place.path, who=role).text
                    found = re.search(
                        r'csrf[^>]*?(?:value|content)="?([0-9a-f]{64})|"X-CSRF-Token": ?"([0-9a-f]{64})', page
                    )
                    self.tokens[role] = (found[1] or found[2]) if found else ""

    def unsafe(self) -> Iterator[tuple[str, Place]]:
        """Return every method of a route that may change something, the log-in's own aside."""
        for place in self.places:
            for method in sorted(place.methods - {"GET", "HEAD", "OPTIONS"}):
                if place.template != "/login":
                    yield method, place


def session_of(answer: Answer) -> str:
    """Return the cookie that an answer sets."""
    return answer.header("set-cookie").partition("sgmri=")[2].partition(";")[0]


def _places(routes: list[BaseRoute], series_key: str, prefix: str = "") -> Iterator[Place]:
    for route in routes:
        if isinstance(route, Mount):
            if route.routes:
                yield from _places(list(route.routes), series_key, prefix + route.path)
            else:
                yield Place(f"{prefix}{route.path}/login.css", f"{prefix}{route.path}", frozenset({"GET"}))
        elif isinstance(route, Route):
            path = route.path
            for name in route.param_convertors:
                path = re.sub(rf"\{{{name}[^}}]*\}}", series_key if "key" in name else "1", path)
            yield Place(prefix + path, prefix + route.path, frozenset(route.methods or {"GET"}))


def application(factory: str, config: Path) -> Starlette:
    """Make the application that ``MODULE:FUNCTION`` returns for the settings of a file."""
    module, _, function = factory.partition(":")
    app = getattr(importlib.import_module(module), function)(load(config))
    assert isinstance(app, Starlette)
    return app


@contextmanager
def running(factory: str, directory: Path) -> Iterator[Target]:
    """Run an application in a process of its own, with users and the planted series."""
    state_dir, config, port = directory / "state", directory / "sgmri.toml", free_port()
    access = f"max_body_bytes = {MAX_BODY_BYTES}\nbody_timeout_s = {BODY_TIMEOUT_S}"
    config.write_text(f"[storage]\nstate_dir = {json.dumps(str(state_dir))}\n[access]\n{access}\n", encoding="utf-8")
    settings = load(config)
    users = Users(open_tables(settings), Passwords())
    for role in Role:
        users.add(role, role, PASSWORD)
    dataset = make_non_mr()
    for keyword in _HELD:
        setattr(dataset, keyword, SCRIPT.partition(">")[0] if keyword == "AccessionNumber" else SCRIPT)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    stored = Spool(spool_dir(settings)).store(read_header(stream.getvalue()), stream.getvalue())
    journal = open_journal(settings)
    journal.receive(received(stored))
    journal.close()
    app = application(factory, config)
    has_access = any("Gate" in repr(part) for part in app.user_middleware)
    places = list(_places(list(app.routes), stored.series_key))
    with (directory / "log").open("wb") as log:
        command = [sys.executable, "-m", "tests.web.serve", factory, str(config), str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(process, port, directory / "log")
            target = Target(port, state_dir, stored.series_key, places, has_access)
            target.enter()
            yield target
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the dashboard does not answer: {log.read_text(encoding='utf-8')[-2000:]}")
