"""Requests that other pages sent, headers of every answer, roles, rates and sizes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message

from conformance.phantom_headers import CANARIES
from dicom_io.spool import Spool
from dicom_io.stored import read_header
from plugin.dashboard.access import Role, bodies, gate
from sgmri.settings import parse
from tests.plugin.dashboard.access.small_dashboard import PASSWORD, Dashboard, log_in


def test_changes_need_the_token_of_our_own_form(dashboard: Dashboard, browser: TestClient) -> None:
    """As a field of either kind of form or as a header; never another one, none, or from another site's page."""
    token = log_in(browser, "operator")
    header = {"X-CSRF-Token": token}
    assert browser.post("/change", data={"csrf": token}).text == "changed"
    assert browser.post("/change", data={"csrf": token}, files={"file": b"x"}).text == "changed"
    assert browser.delete("/change", headers=header).text == "changed"
    for refused in (
        browser.post("/change"),
        browser.post("/change", data={"csrf": token[::-1]}),
        browser.post(f"/change?csrf={token}"),
        browser.post("/change", json={"csrf": token}),
        browser.post("/change", content=b"x", headers={"Content-Type": "multipart/form-data"}),
        browser.post("/change", headers={b"X-CSRF-Token": "é".encode()}),
        browser.post("/change", headers={**header, "Origin": "http://evil.example"}),
        browser.post("/change", headers={**header, "Origin": "http://127.0.0.1:9999"}),
        browser.post("/change", headers={**header, "Sec-Fetch-Site": "cross-site"}),
        browser.request("DELETE", "/change"),
        browser.request("PROPFIND", "/nowhere"),
    ):
        assert refused.status_code in (400, 403), refused.request
    assert "refuse failure operator  without the token of a form" in dashboard.said()
    assert browser.post("/change", headers={**header, "Origin": "http://127.0.0.1:8080"}).status_code == 200
    assert browser.get("/change", headers={**header, "X-HTTP-Method-Override": "DELETE"}).status_code == 405
    with dashboard.browser() as other:  # a token is worth nothing in another session
        log_in(other, "operator")
        assert other.post("/change", headers=header).status_code == 403


def test_a_form_reaches_its_page_whole(browser: TestClient) -> None:
    """A file of several pieces is the same after its form was looked into, and after it was not."""
    token = log_in(browser, "viewer")
    content = bytes(range(256)) * 8192
    for headers, fields in (({}, {"csrf": token}), ({"X-CSRF-Token": token}, {})):
        answer = browser.post("/upload", data={**fields, "rule": "a"}, files={"file": content}, headers=headers)
        assert answer.text == f"a {len(content)}"


def test_roles(dashboard: Dashboard, browser: TestClient) -> None:
    """A viewer changes nothing, and it is audited that they tried; what an operator may, an admin may."""
    token = log_in(browser, "viewer")
    refused = browser.post("/change", headers={"X-CSRF-Token": token})
    assert (refused.status_code, refused.text) == (403, "This needs the role operator; an admin can give it to you.")
    assert dashboard.said()[-1] == "refuse failure viewer  needs the role operator"
    browser.cookies.clear()
    assert browser.post("/change", headers={"X-CSRF-Token": log_in(browser, "admin")}).text == "changed"


def test_every_answer_carries_the_headers(dashboard: Dashboard, browser: TestClient) -> None:
    """Pages, refusals, paths that lead nowhere, other hosts and failures alike; a failure says nothing of a patient."""
    log_in(browser, "admin")
    answers = {
        200: browser.get("/"),
        404: browser.get("/nowhere"),
        405: browser.get("/change"),
        403: browser.post("/change"),
        400: browser.get("/", headers={"Host": "rebound.example"}),
        500: browser.get("/fail"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "Traceback" not in answer.text
        assert "CANARY" not in answer.text


def test_rates(tmp_path: Path) -> None:
    """Questions and changes of one user wait beyond their limits, and the answer says how long."""
    access = {"max_asks_per_minute": 2, "max_changes_per_minute": 4}
    made = Dashboard(parse({"storage": {"state_dir": str(tmp_path)}, "access": access}))
    made.users.add("anna", Role.OPERATOR, PASSWORD)
    with made.browser() as browser:
        header = {"X-CSRF-Token": log_in(browser, "anna")}
        answers = [browser.post(path, headers=header) for path in ("/ask", "/ask", "/ask", "/change", "/change")]
    assert [one.status_code for one in answers] == [200, 200, 429, 200, 429]
    assert [one.headers["retry-after"] for one in answers if one.status_code == 429] == ["60", "60"]
    assert [line for line in made.said() if "too many" in line] == [
        "refuse failure anna  too many questions a minute", "refuse failure anna  too many changes a minute",
    ]  # fmt: skip


def test_large_bodies_are_refused(tmp_path: Path, browser: TestClient) -> None:
    """Before log-in 64 KiB, afterwards what the settings allow; announced or not, and before it is all here."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert browser.post("/login", content=b"x" * 65537).status_code == 413
    assert browser.post("/login", content=iter([b"x" * 1000] * 70), headers=form).status_code == 413
    assert browser.post("/login", content=b"x", headers={"Content-Length": "+5"}).status_code == 413
    made = Dashboard(parse({"storage": {"state_dir": str(tmp_path)}, "access": {"max_body_bytes": 100_000}}))
    made.users.add("anna", Role.OPERATOR, PASSWORD)
    with made.browser() as inside:
        header = {"X-CSRF-Token": log_in(inside, "anna")}
        assert inside.post("/upload", content=b"x" * 100_001, headers=header).status_code == 413
        small = inside.post("/upload", data={"rule": "b"}, files={"file": b"x" * 90_000}, headers=header)
        assert small.text == "b 90000"
        multipart = {**header, "Content-Type": "multipart/form-data; boundary=b"}
        assert inside.post("/upload", content=iter([b"x" * 1000] * 101), headers=multipart).status_code == 413


def test_a_request_of_two_lengths_ends_its_connection(browser: TestClient) -> None:
    """Where a proxy may have seen another end than we do, nothing that follows is answered; nor an endless address."""
    both = {"Transfer-Encoding": "chunked", "Content-Length": "5"}
    answer = browser.post("/login", content=b"0\r\n\r\n", headers=both)
    assert (answer.status_code, answer.headers["connection"]) == (400, "close")
    assert browser.get(f"/login?next=/{'x' * 8000}").status_code == 414


def test_a_body_that_does_not_come_is_refused() -> None:
    """A request that stops in the middle of its body ends; waiting for the browser to go does not."""

    async def run() -> None:
        waiting: asyncio.Queue[Message] = asyncio.Queue()
        waiting.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
        receive = bodies.limited(waiting.get, max_bytes=10, timeout_s=0.01)
        await receive()
        with pytest.raises(HTTPException) as refused:
            await receive()
        assert refused.value.status_code == 408
        waiting.put_nowait({"type": "http.request", "body": b"x", "more_body": False})
        receive = bodies.limited(waiting.get, max_bytes=10, timeout_s=60.0)
        await receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)

    asyncio.run(run())


def test_live_updates_end_with_the_session(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that goes on for hours ends soon after its user was removed."""
    monkeypatch.setattr(gate, "_LOOK_AGAIN_S", 0.0)

    async def pieces() -> AsyncIterator[str]:
        yield "one "
        dashboard.users.remove("viewer")
        yield "two "
        yield "three "

    with dashboard.browser() as browser:
        app = browser.app
        assert isinstance(app, Starlette)
        app.router.routes.append(Route("/live", lambda request: StreamingResponse(pieces())))
        log_in(browser, "viewer")
        assert browser.get("/live").text == "one "


def test_another_host_or_plain_http_from_outside_is_refused(tmp_path: Path) -> None:
    """Behind a proxy only its TLS counts, and only what the named proxies say of the browser's address is believed."""
    access = {"public_url": "https://reading.example", "proxies": ["10.0.0.0/24"]}
    made = Dashboard(parse({"storage": {"state_dir": str(tmp_path)}, "access": access}))
    app = made.browser().app

    def status(client: str, **headers: str) -> int:
        with TestClient(app, base_url="http://reading.example", client=(client, 1)) as browser:
            return browser.get(
                "/login", headers={key.replace("_", "-"): text for key, text in headers.items()}
            ).status_code

    assert status("10.0.0.9", X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.1") == 200
    assert status("10.0.0.9", X_Forwarded_Proto="http", X_Forwarded_For="192.0.2.1") == 403
    assert status("192.0.2.1", X_Forwarded_Proto="https") == 403
    assert status("192.0.2.1", X_Forwarded_For="127.0.0.1") == 403
    assert status("10.0.0.9", Host="evil.example", X_Forwarded_Proto="https") == 400


def test_identity_is_shown_to_who_may_see_it(dashboard: Dashboard, browser: TestClient, phantom: bytes) -> None:
    """It is read from the spool when it is asked for, and each look is audited, without it; a viewer's look fails."""
    instance = read_header(phantom)
    spool_dir = Path(dashboard.settings.storage.state_dir) / "spool"
    Spool(spool_dir).store(instance, phantom)
    path = f"/identity/{instance.series_key}"
    header = {"X-CSRF-Token": log_in(browser, "viewer")}
    assert browser.post(path, headers=header).status_code == 403
    browser.cookies.clear()
    header = {"X-CSRF-Token": log_in(browser, "operator")}
    assert browser.post(path, headers=header).text == f"{CANARIES.patient_name} {CANARIES.patient_id}"
    short = instance.series_key[:8]
    assert [line for line in dashboard.said() if "reveal" in line] == [
        f"reveal-identity failure viewer {short} the role may not see identities",
        f"reveal-identity success operator {short} ",
    ]
    for other in ("a" * 16, "..", "%2e%2e%2f%2e%2e", "A" * 16, f"{instance.series_key}%00"):
        assert browser.post(f"/identity/{other}", headers=header).status_code in (404, 405)
    for file in (spool_dir / instance.series_key).iterdir():
        file.write_bytes(b"no DICOM")
    assert browser.post(path, headers=header).status_code == 404
