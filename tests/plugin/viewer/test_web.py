"""The viewer's web application, over real HTTP to a PACS's DICOMweb that notes what it is asked."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from plugin.viewer.web import create_app, deep_link
from tests.http_servers import serving


class DicomWeb(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Accept"], self.headers["Host"]))
        self.send_response(206 if "frames" in self.path else 200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Server", "the PACS")
        self.end_headers()
        self.wfile.write(b"[1, 2]")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A build of three files, with something beside it that must not be had."""
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("the page", encoding="utf-8")
    (dist / "assets" / "logo.svg").write_text("<svg/>", encoding="utf-8")
    (dist / "app-config.js").write_text("of the build", encoding="utf-8")
    return dist


@pytest.fixture
def client(dist: Path) -> Iterator[TestClient]:
    """A browser in front of the application."""
    DicomWeb.asked.clear()
    with (
        serving(DicomWeb) as url,
        TestClient(create_app(dist, f"{url}/root"), base_url="http://127.0.0.1:3000") as client,
    ):
        yield client


@pytest.mark.parametrize("resource", ["studies", "studies/1.2/series/1.3/instances/1.4/frames/1,2", "studies/1/bulk/7"])
def test_dicomweb_is_read_through(client: TestClient, resource: str) -> None:
    """Path, query, Accept and the browser's host reach the PACS; its answer comes back with status and type."""
    answer = client.get(f"/dicom-web/{resource}?PatientID=a%2Ab&limit=2", headers={"Accept": "multipart/related"})
    assert DicomWeb.asked == [(f"/root/{resource}?PatientID=a%2Ab&limit=2", "multipart/related", "127.0.0.1:3000")]
    assert answer.status_code == (206 if "frames" in resource else 200)
    assert answer.json() == [1, 2]
    assert answer.headers["content-type"] == "application/dicom+json"
    assert answer.headers.get("server") != "the PACS"


@pytest.mark.parametrize(
    "resource",
    ["", "servers", "servers/x/get", "studies/%2e%2e/servers", "studies/..%2fservers", "studies//1", "studies/1%3fx",
     "studies%00", "studiesx", "studies/%0a"],
)  # fmt: skip
def test_nothing_but_studies_is_reached(client: TestClient, resource: str) -> None:
    """Other services of the PACS, and paths that lead upwards, are not there, and the PACS is not even asked."""
    assert client.get(f"/dicom-web/{resource}").status_code == 404
    assert DicomWeb.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_is_changed(client: TestClient, method: str) -> None:
    """Whatever would store or delete is refused here."""
    assert client.request(method, "/dicom-web/studies/1.2").status_code == 405
    assert DicomWeb.asked == []


def test_the_page_is_served_at_every_route(client: TestClient) -> None:
    """The viewer's own routes give its page, files are files, and the configuration is ours."""
    for route in ("/", "/viewer?StudyInstanceUIDs=1.2", "/segmentation"):
        assert client.get(route).text == "the page"
    assert client.get("/assets/logo.svg").text == "<svg/>"
    assert client.get("/missing.js").status_code == 404
    config = client.get("/app-config.js").text
    start, _, _ = config.removeprefix("window.config = ").partition(";\n")
    assert json.loads(start)["dataSources"][0]["configuration"]["wadoRoot"] == "/dicom-web"


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt"])
def test_no_file_beside_the_build_is_served(client: TestClient, path: str) -> None:
    """A path that leads out of the build finds nothing."""
    assert client.get(path).status_code == 404


def test_a_page_talks_to_this_server_alone(client: TestClient) -> None:
    """Pages, PACS answers and refusals are isolated from other origins, and another host name is refused."""
    for path in ("/viewer", "/dicom-web/studies", "/dicom-web/servers"):
        headers = client.get(path).headers
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert "default-src 'self'" in headers["content-security-policy"]
    assert client.get("/viewer", headers={"Host": "rebound.example"}).status_code == 400


def test_a_pacs_that_is_gone_is_named(dist: Path) -> None:
    """Nobody answers: 502 with words, not a stack trace."""
    with TestClient(create_app(dist, "http://127.0.0.1:9"), base_url="http://localhost") as client:
        answer = client.get("/dicom-web/studies")
    assert answer.status_code == 502
    assert "expected the PACS's DICOMweb to answer, found ConnectError" in answer.text


def test_a_link_names_study_and_series() -> None:
    """The deep link is what OHIF documents for opening one series at once."""
    link = urlsplit(deep_link("http://127.0.0.1:3000", "1.2", "1.3"))
    assert (link.netloc, link.path) == ("127.0.0.1:3000", "/viewer")
    assert parse_qs(link.query) == {"StudyInstanceUIDs": ["1.2"], "initialSeriesInstanceUID": ["1.3"]}
