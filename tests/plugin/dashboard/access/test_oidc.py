"""Logging in by a real OpenID provider, and what is refused of what one says."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc.jwk import RSAKey
from starlette.testclient import TestClient

from plugin.dashboard.access.keys import OIDC_SECRET
from sgmri.settings import parse
from tests.plugin.dashboard.access.openid_provider import CLIENT_ID, CLIENT_SECRET, Provider, running
from tests.plugin.dashboard.access.small_dashboard import Dashboard


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with running() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: Provider) -> Iterator[Provider]:
    """A provider that tells the truth."""
    yield running_provider
    running_provider.claims, running_provider.signing_key = {}, None


@pytest.fixture
def openid(tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Dashboard:
    """A dashboard that asks it, without local users."""
    monkeypatch.setenv(OIDC_SECRET, CLIENT_SECRET)
    groups = {"viewers": ["mr-readers"], "operators": ["mr-staff"], "admins": ["it"]}
    oidc = {"issuer": provider.issuer, "client_id": CLIENT_ID, **groups}
    return Dashboard(parse({"storage": {"state_dir": str(tmp_path)}, "access": {"oidc": oidc}}))


@pytest.fixture
def browser(openid: Dashboard) -> Iterator[TestClient]:
    with openid.browser() as client:
        yield client


def at_the_provider(browser: TestClient, target: str = "/") -> str:
    """Go to the provider, and return the path and query that it sends the browser back to."""
    leaving = browser.get("/login/oidc", params={"next": target})
    assert leaving.status_code == 302, leaving.text
    back = urlsplit(httpx2.get(leaving.headers["location"]).headers["location"])
    assert back.netloc == "127.0.0.1:8080"
    return f"{back.path}?{back.query}"


def test_log_in(openid: Dashboard, browser: TestClient, provider: Provider) -> None:
    """Who is in a group that has a role is in, under a name that no local user can have; the code is good once."""
    assert 'href="/login/oidc?next=/x"' in browser.get("/login?next=/x").text
    back = at_the_provider(browser, "/x?y=1")
    answer = browser.get(back)
    assert (answer.status_code, answer.headers["location"]) == (303, "/x?y=1")
    assert browser.get("/").text.startswith("oidc:anna viewer False ")
    assert provider.asked["scope"] == "openid profile email"
    assert openid.said() == ["log-in success oidc:anna  as viewer"]
    browser.cookies.clear()
    assert browser.get(back).status_code == 403
    provider.claims = {"groups": ["others", "it", "mr-readers"]}
    assert browser.get(at_the_provider(browser, "//evil.example")).headers["location"] == "/"
    assert browser.get("/").text.startswith("oidc:anna admin True ")


def test_what_is_not_meant_for_us_is_refused(openid: Dashboard, browser: TestClient, provider: Provider) -> None:
    """A token of another issuer, for another client or log-in, an old one, no group of ours, or no usable name."""
    refused: list[dict[str, object]] = [
        {"iss": "http://127.0.0.1:1"}, {"aud": "another client"}, {"nonce": "another"}, {"nonce": None}, {"exp": 1},
        {"exp": None}, {"sub": None}, {"groups": []}, {"groups": "it"}, {"groups": [["it"]]}, {"groups": None},
        {"preferred_username": None}, {"preferred_username": "<b>"}, {"preferred_username": "a\nb"},
        {"preferred_username": 7},
    ]  # fmt: skip
    for claims in refused:
        provider.claims = claims
        assert browser.get(at_the_provider(browser)).status_code == 403, claims
        assert browser.get("/").status_code == 401
    assert [line.partition("  ")[0] for line in openid.said()] == ["log-in failure nobody"] * len(refused)


def test_another_browsers_log_in_is_not_taken(openid: Dashboard, browser: TestClient, provider: Provider) -> None:
    """Neither an answer that an attacker got, nor another state or code, the provider's no, or a forged key."""
    with openid.browser() as attacker:
        theirs = at_the_provider(attacker)
    assert browser.get(theirs).status_code == 403
    state = parse_qs(urlsplit(at_the_provider(browser)).query)["state"][0]
    for query in (f"code=wrong&state={state}", "code=x&state=y", "", "error=access_denied&error_description=<b>"):
        assert browser.get(f"/login/oidc/callback?{query}").status_code == 403
    provider.signing_key = RSAKey.generate_key(2048, {"kid": "one"})
    assert browser.get(at_the_provider(browser)).status_code == 403
    assert browser.get("/").status_code == 401


def test_a_provider_that_is_gone_is_named(tmp_path: Path) -> None:
    """The browser gets a page that says so, with the form of local users where there are any."""
    oidc = {"issuer": "http://127.0.0.1:9", "client_id": CLIENT_ID, "viewers": ["x"]}
    made = Dashboard(parse({"storage": {"state_dir": str(tmp_path)}, "access": {"oidc": oidc}}))
    with made.browser() as browser:
        answer = browser.get("/login/oidc")
    assert answer.status_code == 502
    assert "did not work" in answer.text
