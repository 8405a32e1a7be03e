"""Logging in, sessions and logging out, as a browser sees them."""

import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from plugin.dashboard.access import Role
from sgmri.settings import parse
from tests.plugin.dashboard.access.small_dashboard import PASSWORD, Dashboard, form_token, log_in


def test_nothing_is_seen_before_log_in(browser: TestClient) -> None:
    """Pages lead to the form and back to where one wanted to go; scripts get 401, also for paths that lead nowhere."""
    html = {"Accept": "text/html"}
    answer = browser.get("/studies/x?lane=stat&q=%2F", headers=html)
    assert (answer.status_code, answer.headers["location"]) == (
        303, "/login?next=%2Fstudies%2Fx%3Flane%3Dstat%26q%3D%252F",
    )  # fmt: skip
    assert 'name="next" value="/studies/x?lane=stat&amp;q=%2F"' in browser.get(answer.headers["location"]).text
    for path in ("/", "/nowhere", "/login%3F/../", "/login%23", "/LOGIN", "/login/", "/login/oidc/x", "//login"):
        assert browser.get(path).status_code == 401, path
    assert browser.get("/", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login"
    assert browser.post("/change").status_code == 401


def test_log_in_and_out(dashboard: Dashboard, browser: TestClient) -> None:
    """A session has a token that nobody saw before; after log-out the old cookie is worth nothing; all is audited."""
    before = form_token(browser) and browser.cookies["sgmri"]
    token = log_in(browser, "operator", next="/x?y=1")
    session = browser.cookies["sgmri"]
    assert session != before
    assert browser.get("/").text == f"operator operator True {token}"
    assert browser.get("/login?next=/y").headers["location"] == "/y"
    assert browser.post("/logout").status_code == 403  # another site's page cannot log anybody out
    assert browser.post("/logout", data={"csrf": token}).headers["location"] == "/login"
    browser.cookies.set("sgmri", session, domain="127.0.0.1", path="/")
    assert browser.get("/").status_code == 401
    assert [line for line in dashboard.said() if "log-" in line] == [
        "log-in success operator  as operator",
        "log-out success operator  ",
    ]


def test_a_session_of_the_attackers_choice_is_not_taken(dashboard: Dashboard, browser: TestClient) -> None:
    """Fixation: who plants a token in a browser does not share its session, nor one that was logged in before."""
    planted = "A" * 43
    browser.cookies.set("sgmri", planted, domain="127.0.0.1", path="/")
    log_in(browser, "admin")
    with dashboard.browser(base_url="http://localhost") as other:
        other.cookies.set("sgmri", planted)
        assert other.get("/").status_code == 401
    first = browser.cookies["sgmri"]
    browser.cookies.clear()
    log_in(browser, "viewer")
    assert browser.cookies["sgmri"] not in (first, planted)


@pytest.mark.parametrize("has_tls", [False, True])
def test_the_cookie_is_kept_from_scripts_and_other_sites(tmp_path: Path, has_tls: bool) -> None:
    """HttpOnly, SameSite and no life beyond the browser; over TLS Secure and bound to this host."""
    access = {"public_url": "https://reading.example"} if has_tls else {}
    made = Dashboard(parse({"storage": {"state_dir": str(tmp_path)}, "access": access}))
    made.users.add("anna", Role.VIEWER, PASSWORD)
    with made.browser(base_url="https://reading.example" if has_tls else "http://localhost") as browser:
        form = {"csrf": form_token(browser), "name": "anna", "password": PASSWORD}
        answer = browser.post("/login", data=form)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-sgmri=" if has_tls else "sgmri=")
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(re.split(r";\s*", cookie))
        assert ("Secure" in cookie) == has_tls == ("strict-transport-security" in answer.headers)
        assert not re.search("(?i)max-age|expires|domain", cookie)
        assert browser.get("/").status_code == 200


def test_a_name_that_nobody_has_looks_like_a_wrong_password(dashboard: Dashboard, browser: TestClient) -> None:
    """The same page and the same work; what was typed stands neither in the page nor in the audit log."""
    pages = []
    for name in ("viewer", "no-such-user", "<script>My Password 1</script>"):
        answer = browser.post("/login", data={"csrf": form_token(browser), "name": name, "password": "wrong"})
        pages.append(re.sub('value="[0-9a-f]{64}"', "", answer.text))
        assert answer.status_code == 403
    assert len(set(pages)) == 1
    assert "Name or password is wrong." in pages[0]
    refused = "name or password is wrong"
    assert dashboard.said() == [f"log-in failure {who}  {refused}" for who in ("viewer", "nobody", "nobody")]


def test_guessing_waits_and_locks_nobody_out(dashboard: Dashboard) -> None:
    """After five failures a minute the right password waits too, from that address alone; names do not matter."""
    app = dashboard.browser().app
    with TestClient(app, base_url="http://localhost", follow_redirects=False, client=("192.0.2.7", 1)) as guesser:
        token = form_token(guesser)

        def attempt(name: str, password: str) -> int:
            form = {"csrf": token, "name": name, "password": password}
            return guesser.post("/login", data=form, headers={"X-Forwarded-For": password}).status_code

        assert [attempt("viewer", f"wrong{n}") for n in range(6)] == [403] * 5 + [429]
        assert attempt("viewer", PASSWORD) == 429
        assert [attempt(f"name{n}", "wrong") for n in range(16)] == [403] * 15 + [429]
        assert dashboard.said()[-1] == "log-in failure nobody  too many log-ins failed"
    with TestClient(app, base_url="http://localhost", follow_redirects=False, client=("192.0.2.8", 1)) as owner:
        log_in(owner, "viewer")


def test_sessions_end(dashboard: Dashboard, browser: TestClient) -> None:
    """After a time without anything done, after the longest time whatever is done, and with the user's removal."""
    settings = dashboard.settings.access
    log_in(browser, "viewer")
    dashboard.now += settings.idle_timeout_s - 1
    assert browser.get("/").status_code == 200
    dashboard.now += settings.idle_timeout_s - 1
    assert browser.get("/", headers={"Accept": "text/event-stream"}).status_code == 200
    dashboard.now += 2  # what refreshes itself did not count
    assert browser.get("/").status_code == 401

    log_in(browser, "viewer")
    steps = int(settings.session_timeout_s // 600)
    codes = []
    for _ in range(steps):
        dashboard.now += 600
        codes.append(browser.get("/").status_code)
    assert codes == [200] * (steps - 1) + [401]

    log_in(browser, "viewer")
    dashboard.users.remove("viewer")
    assert browser.get("/").status_code == 401
    log_in(browser, "admin")
    dashboard.users.set_password("admin", f"{PASSWORD}-2")
    assert browser.get("/").status_code == 401


def test_log_in_leads_to_our_own_pages_alone(browser: TestClient) -> None:
    """Another server, or what a browser takes for one, is not followed after log-in, nor when one is in already."""
    for target in (
        "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "",
        "evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1", "///evil.example", " /x", "/é",
    ):  # fmt: skip
        browser.cookies.clear()
        form = {"csrf": form_token(browser), "name": "viewer", "password": PASSWORD, "next": target}
        assert browser.post("/login", data=form).headers["location"] == "/"
        assert browser.get(f"/login?next={quote(target)}").headers["location"] == "/"


def test_the_tables_hold_nothing_to_log_in_with(dashboard: Dashboard, browser: TestClient) -> None:
    """Neither a password nor a session's token lies on the disk, and others cannot read the files."""
    log_in(browser, "viewer")
    state = Path(dashboard.settings.storage.state_dir)
    with sqlite3.connect(state / "access.sqlite") as connection:
        content = "".join(connection.iterdump())
    connection.close()
    assert "$argon2id$" in content
    assert PASSWORD not in content
    assert browser.cookies["sgmri"] not in content
    for name in ("access.sqlite", "session.key"):
        assert (state / name).stat().st_mode & 0o777 == 0o600


def test_the_page_says_how_to_make_the_first_user(tmp_path: Path) -> None:
    """Without users there is no form, but the command."""
    with Dashboard(parse({"storage": {"state_dir": str(tmp_path / "new")}})).browser() as browser:
        assert "sgmri users add NAME --role admin" in browser.get("/login").text
        assert browser.get("/login/style.css").headers["content-type"].startswith("text/css")
