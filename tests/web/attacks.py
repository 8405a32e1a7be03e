"""The known attacks on a web application, each tried on every route; a check returns what it found."""

import http.client
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from plugin.dashboard.access.gate import OPEN
from tests.web.target import BODY_TIMEOUT_S, MAX_BODY_BYTES, Answer, Place, Target, session_of

Check = Callable[[Target], Iterator[str]]

_EVIL = "evil.example"
_TAG = "<script>alert(3)</script>"
_CODED = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "%252e%252e%252f", "..%c0%af", "....//", "/%2e%2e//"]
_SECRETS = re.compile(r"root:.*:0:0:|\b[0-9a-f]{64}\b(?=\s*$)|SQLite format 3")


def _everywhere(target: Target) -> Iterator[tuple[str, Answer]]:
    """Answers of every kind: pages in and out, refusals, paths that lead nowhere, static files, other hosts."""
    for place in target.places:
        for who in ("", "admin"):
            yield f"GET {place.template} as {who or 'nobody'}", target.ask("GET", place.path, who=who)
        yield f"PUT {place.template}", target.ask("PUT", place.path, who="admin")
        yield f"HEAD {place.template}", target.ask("HEAD", place.path, who="admin")
    yield "404", target.ask("GET", "/nowhere", who="admin")
    yield "404 static", target.ask("GET", "/static/nowhere", who="admin")
    yield "413", target.ask("POST", "/login", {"Content-Length": "9999999"})
    yield "400 host", target.ask("GET", "/", {"Host": _EVIL})


def headers(target: Target) -> Iterator[str]:
    """Every answer carries the headers that restrict what a browser does with it."""
    wanted = {
        "content-security-policy": "frame-ancestors 'none'",
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    for what, answer in _everywhere(target):
        for name, value in wanted.items():
            if value not in answer.header(name):
                yield f"{what}: {name} is {answer.header(name)!r}"
        scripts = answer.header("content-security-policy").partition("script-src")[2].partition(";")[0]
        if "unsafe" in scripts or "*" in scripts:
            yield f"{what}: scripts from anywhere"
        if "static" not in what and "no-store" not in answer.header("cache-control"):
            yield f"{what}: may be kept"
        if answer.header("server") or answer.header("x-powered-by"):
            yield f"{what}: says what serves it"


def needs_log_in(target: Target) -> Iterator[str]:
    """Whoever has not logged in gets the log-in page's address or 401, on every route."""
    for place in target.places:
        if place.path in OPEN or place.template.startswith("/static"):
            continue
        for method in sorted(place.methods):
            answer = target.ask(method, place.path)
            if answer.status not in (401, 403) and not answer.header("location").startswith("/login"):
                yield f"{method} {place.template}: {answer.status}"


def csrf(target: Target) -> Iterator[str]:
    """What may change something needs the token of this session's own form, sent from our own page."""
    good = target.tokens["admin"]
    tries = {
        "no token": {},
        "a wrong token": {"X-CSRF-Token": "0" * 64},
        "another user's token": {"X-CSRF-Token": target.tokens["viewer"]},
        "another origin": {"X-CSRF-Token": good, "Origin": f"https://{_EVIL}"},
        "a cross-site page": {"X-CSRF-Token": good, "Sec-Fetch-Site": "cross-site"},
        "a same-site page": {"X-CSRF-Token": good, "Sec-Fetch-Site": "same-site"},
    }
    if not good:
        yield "no page holds a token"
    for method, place in target.unsafe():
        for what, sent in tries.items():
            if (status := target.ask(method, place.path, sent, who="admin").status) != 403:
                yield f"{method} {place.template} with {what}: {status}"


def session_fixation(target: Target) -> Iterator[str]:
    """Log-in gives a token that nobody chose or saw; log-out ends it wherever it is kept."""
    planted = "A" * 43
    before, _ = target.begin(planted)
    session = session_of(target.log_in("operator", cookie=planted))
    if not session or session in (planted, before):
        yield "the planted session is taken"
    if target.ask("GET", "/", {"Cookie": f"sgmri={planted}"}).status == 200:
        yield "the planted session is logged in"
    again = session_of(target.log_in("operator"))
    if again == session:
        yield "two log-ins share a session"
    page = target.ask("GET", "/", {"Cookie": f"sgmri={again}"}).text
    token = re.search(r"[0-9a-f]{64}", page)
    target.form("/logout", {"csrf": token[0] if token else ""}, Cookie=f"sgmri={again}")
    if target.ask("GET", "/", {"Cookie": f"sgmri={again}"}).status == 200:
        yield "the session lives on after log-out"


def cookie_flags(target: Target) -> Iterator[str]:
    """The session's cookie is HttpOnly and SameSite, and lasts no longer than the browser."""
    for what, answer in (("log-in page", target.ask("GET", "/login")), ("log-in", target.log_in("viewer"))):
        cookie = answer.header("set-cookie").lower()
        for flag in ("httponly", "samesite=(lax|strict)", "path=/"):
            if not re.search(flag, cookie):
                yield f"{what}: not {flag}"
        if "max-age" in cookie or "expires" in cookie or "domain" in cookie:
            yield f"{what}: {cookie.partition(';')[2]}"


def path_traversal(target: Target) -> Iterator[str]:
    """No path and no parameter leads to a file, however its dots and slashes are written."""
    files = ["etc/passwd", "session.key", "access.sqlite"]
    below = ["/static/"]
    below += [place.template.partition("{")[0] for place in target.places if "{" in place.template]
    for start in dict.fromkeys(below):
        for up in _CODED:
            for file in files:
                for depth in (1, 3, 12):
                    answer = target.ask("GET", f"{start}{up * depth}{file}", who="admin")
                    if _SECRETS.search(answer.text):
                        yield f"GET {start}{up}...{file}"
        for path in ("/etc/passwd", "%2fetc%2fpasswd", "etc/passwd", f"{target.state_dir}/session.key"):
            if _SECRETS.search(target.ask("GET", start + path, who="admin").text):
                yield f"GET {start}{path}"


def reflected_scripts(target: Target) -> Iterator[str]:
    """What a request holds never comes back as markup."""
    for place in target.places:
        for what, path, sent in (
            ("query", f"{place.path}?q={quote(_TAG)}&next={quote(_TAG)}", {}),
            ("parameter", _with_parameters(place, quote(_TAG, safe="")), {}),
            ("path", f"{place.path}/{quote(_TAG)}", {}),
            ("header", place.path, {"User-Agent": _TAG, "Referer": _TAG, "X-Forwarded-Host": _TAG, "HX-Target": _TAG}),
        ):
            answer = target.ask("GET", path, sent, who="admin")
            if _TAG in answer.text and "html" in answer.header("content-type"):
                yield f"GET {place.template}, {what}"
    answer = target.log_in(_TAG, _TAG, next=_TAG)
    if _TAG in answer.text:
        yield "POST /login"


def stored_scripts(target: Target) -> Iterator[str]:
    """What DICOM headers hold is shown as text: no page holds the planted scripts as markup."""
    shown = 0
    for method, place in [("GET", place) for place in target.places] + list(target.unsafe()):
        if method not in ("GET", "POST") or place.template == "/logout":
            continue
        sent = {"X-CSRF-Token": target.tokens["admin"]} if method == "POST" else {}
        answer = target.ask(method, place.path, sent, who="admin")
        if "html" in answer.header("content-type") and ("<script>alert" in answer.text or "<img src=x" in answer.text):
            yield f"{method} {place.template}"
        shown += "CANARY&lt;script&gt;" in answer.text
    if not shown:
        yield "no page showed the planted headers at all: nothing is proven"


def identity_hidden(target: Target) -> Iterator[str]:
    """No page shows who a patient is before it is asked for, and never to a viewer."""
    for place in target.places:
        for who in ("viewer", "admin"):
            if "CANARY" in target.ask("GET", place.path, who=who).text:
                yield f"GET {place.template} as {who}"
    for method, place in target.unsafe():
        if method == "POST" and place.template != "/logout":
            answer = target.ask(method, place.path, {"X-CSRF-Token": target.tokens["viewer"]}, who="viewer")
            if "CANARY" in answer.text:
                yield f"POST {place.template} as viewer"


def method_override(target: Target) -> Iterator[str]:
    """A header or field that names another method changes nothing."""
    for place in target.places:
        plain = target.ask("GET", place.path, who="admin").status
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            if target.ask("GET", f"{place.path}?_method=DELETE", {name: "DELETE"}, who="admin").status != plain:
                yield f"{place.template}: {name}"
        for method in ("TRACE", "TRACK", "CONNECT"):
            if target.ask(method, place.path, who="admin").status < 400:
                yield f"{method} {place.template}"


def cross_origin(target: Target) -> Iterator[str]:
    """No other origin may read an answer, or is told that it may send."""
    for place in target.places:
        for origin in (f"https://{_EVIL}", "null", f"http://127.0.0.1.{_EVIL}"):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            for method in ("GET", "OPTIONS"):
                if target.ask(method, place.path, asked, who="admin").header("access-control-allow-origin"):
                    yield f"{method} {place.template} from {origin}"


def host_header(target: Target) -> Iterator[str]:
    """Another host is refused, and none that a request names comes back in an answer."""
    own = f"127.0.0.1:{target.port}"
    for host in (_EVIL, f"127.0.0.1.{_EVIL}", f"127.0.0.1@{_EVIL}", f"{_EVIL}:{target.port}", "", f"127.0.0.1/{_EVIL}"):
        if (status := target.ask("GET", "/login", {"Host": host}).status) != 400:
            yield f"Host: {host!r} is answered with {status}"
    for lines in ("", f"Host: {own}\r\nHost: {_EVIL}\r\n"):
        said = target.raw(f"GET /login HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
        if not said.startswith("HTTP/1.1 400"):
            yield f"{lines.count('Host')} hosts: {said[:20]!r}"
    for name in ("X-Forwarded-Host", "X-Host", "Forwarded", "X-Original-URL", "X-Rewrite-URL"):
        answer = target.ask("GET", "/login", {name: f"host={_EVIL}" if name == "Forwarded" else _EVIL})
        if _EVIL in answer.text + str(answer.headers):
            yield name


def request_smuggling(target: Target) -> Iterator[str]:
    """A request whose end can be read in two ways is refused, or is the last on its connection."""
    start = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
    second = f"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nConnection: close\r\n\r\n"
    chunked = "0\r\n\r\n" + second
    for what, lines, body in (
        ("both lengths", f"Content-Length: {len(chunked)}\r\nTransfer-Encoding: chunked\r\n", chunked),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n", second),
        ("a signed length", "Content-Length: +0\r\n", second),
        ("a list of lengths", "Content-Length: 0, 5\r\n", second),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n", chunked),
        ("two codings", "Transfer-Encoding: chunked, identity\r\n", chunked),
        ("a space before the colon", f"Content-Length : {len(chunked)}\r\nTransfer-Encoding: chunked\r\n", chunked),
        ("a folded coding", f"Transfer-Encoding:\r\n chunked\r\nContent-Length: {len(chunked)}\r\n", chunked),
        ("a chunk of no size", "Transfer-Encoding: chunked\r\n", "\r\n" + chunked),
        ("a negative chunk", "Transfer-Encoding: chunked\r\n", "-1\r\n" + chunked),
    ):
        said = target.raw(f"{start}{lines}\r\n{body}".encode())
        if said.count("HTTP/1.1 ") > 1:
            yield f"{what}: two answers"


def open_redirect(target: Target) -> Iterator[str]:
    """No answer leads to another server."""
    for goal in (f"//{_EVIL}", f"https://{_EVIL}", f"/\\{_EVIL}", f"/\t/{_EVIL}", f"\\\\{_EVIL}", f"https:{_EVIL}"):
        for answer in (
            target.log_in("viewer", next=goal),
            *(target.ask("GET", f"{place.path}?next={quote(goal)}", who="admin") for place in target.places),
            target.ask("GET", f"{goal.replace(chr(9), '%09')}/..", {"Accept": "text/html"}, who="admin"),
        ):
            if re.match(r"(?!/)|/[/\\\s]", answer.header("location") or "/"):
                yield f"{goal!r} to {answer.header('location')!r}"


def large_bodies(target: Target) -> Iterator[str]:
    """A body beyond the limit is refused, whether it says so or not."""
    token = {"X-CSRF-Token": target.tokens["admin"]}
    form = {**token, "Content-Type": "application/x-www-form-urlencoded"}
    for method, place in target.unsafe():
        if place.template == "/logout":
            continue
        said = {**form, "Content-Length": str(MAX_BODY_BYTES + 1)}
        if (status := target.ask(method, place.path, said, who="admin").status) != 413:
            yield f"{method} {place.template}: {status}"
    if (status := target.ask("POST", "/login", form, b"x" * 70_000).status) != 413:
        yield f"POST /login before log-in: {status}"
    piece = f"{1000:x}\r\n{'x' * 1000}\r\n"
    start = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nTransfer-Encoding: chunked\r\n"
    start += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    said_back = target.raw(f"{start}{piece * 70}".encode())
    if not said_back.startswith("HTTP/1.1 413"):
        yield f"POST /login in pieces: {said_back[:20]!r}"
    long = target.raw(f"GET /{'x' * 100_000} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n\r\n".encode())
    if not re.match(r"HTTP/1.1 (400|413|414|431)|$", long):
        yield f"a path of 100 kB: {long[:20]!r}"


def slow_bodies(target: Target) -> Iterator[str]:
    """A body that does not come is not waited for."""
    start = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nContent-Length: 100\r\n"
    start += "Content-Type: application/x-www-form-urlencoded\r\n\r\nname=a"
    said = target.raw(start.encode(), wait_s=BODY_TIMEOUT_S + 20.0)
    if not said.startswith("HTTP/1.1 408"):
        yield f"after {BODY_TIMEOUT_S} s: {said[:20]!r}"


def rates(target: Target) -> Iterator[str]:
    """Failed log-ins wait after a few, whatever address a header claims; so do changes."""
    statuses = []
    for number in range(25):
        cookie, token = target.begin()
        fields = {"csrf": token, "name": f"user{number % 3}", "password": "wrong"}
        claimed = f"192.0.2.{number}"
        sent = {"Cookie": f"sgmri={cookie}", "X-Forwarded-For": claimed, "X-Real-IP": claimed}
        statuses.append(target.form("/login", fields, **sent).status)
    if 429 not in statuses:
        yield f"log-ins: {sorted(set(statuses))}"
    token = target.tokens["operator"]
    answers = [target.ask("POST", "/nowhere", {"X-CSRF-Token": token}, who="operator").status for _ in range(130)]
    if 429 not in answers:
        yield f"changes: {sorted(set(answers))}"
    for place in target.places:
        if place.template.rstrip("/").endswith("/ask"):
            asked = [target.ask("POST", place.path, {"X-CSRF-Token": target.tokens["viewer"]}, who="viewer").status
                     for _ in range(15)]  # fmt: skip
            if 429 not in asked:
                yield f"questions: {sorted(set(asked))}"


def error_pages(target: Target) -> Iterator[str]:
    """Whatever a request holds, nothing fails, and no answer shows code, paths or versions."""
    odd = [
        "%00",
        "%ff%fe",
        "9" * 400,
        "-1",
        "%0d%0aX-Injected:%201",
        "{{7*7}}",
        "${7*7}",
        "'%20OR%20'1'='1",
        "%F0%9F%A7%A0",
    ]
    for place in target.places:
        for value in odd:
            for path in (_with_parameters(place, value), f"{place.path}?q={value}&page={value}&frame={value}"):
                answer = target.ask("GET", path, who="admin")
                if answer.status >= 500:
                    yield f"GET {place.template} with {value[:20]}: {answer.status}"
                if re.search(
                    r"Traceback|\.py\b|site-packages|sqlalchemy|" + re.escape(str(target.state_dir)), answer.text
                ):
                    yield f"GET {place.template} with {value[:20]}: shows code or paths"
                if answer.header("x-injected"):
                    yield f"GET {place.template}: a header was injected"
    said = target.raw(b"\x16\x03\x01 no HTTP\r\n\r\n")
    if not re.match(r"HTTP/1.1 400|$", said) or "Traceback" in said:
        yield f"no HTTP: {said[:40]!r}"


def _with_parameters(place: Place, value: str) -> str:
    return re.sub(r"\{[^}]*\}", lambda _: value, place.template)


CHECKS: tuple[Check, ...] = (
    *(headers, needs_log_in, csrf, session_fixation, cookie_flags, path_traversal, reflected_scripts, stored_scripts),
    *(identity_hidden, method_override, cross_origin, host_header, request_smuggling, open_redirect, large_bodies),
    *(slow_bodies, error_pages, rates),  # the rates last: afterwards nobody can log in for a minute
)


def found_by(check: Check, target: Target) -> list[str]:
    """Return what a check finds; an answer that breaks off is a finding."""
    try:
        return list(check(target))
    except (http.client.HTTPException, OSError) as error:
        return [f"broke off with {type(error).__name__}: {error}"]
