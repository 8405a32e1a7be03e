"""Fetching the viewer, from a registry on loopback."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from plugin.cli.main import main
from plugin.viewer import ohif
from sgmri.errors import ConfigError, PeerUnavailable
from tests.http_servers import serving

FILES = {
    "package/LICENSE": b"MIT",
    "package/package.json": b"{}",
    "package/dist/index.html": b"<html>",
    "package/dist/assets/logo.svg": b"<svg>",
    "package/dist/app.js.map": b"source map",
    "package/dist/ort/model.wasm": b"large",
    "package/dist/dicom-microscopy-viewer/x.js": b"large",
}


def tarball() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


TARBALL = tarball()
PACKAGE = ohif.Package(
    path="@ohif/app/-/app.tgz", integrity=f"sha512-{base64.b64encode(hashlib.sha512(TARBALL).digest()).decode()}"
)


class Registry(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        found = self.path == "/npm/@ohif/app/-/app.tgz"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(TARBALL if found else b"")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry that has the package, set as npm's; the cache is empty."""
    Registry.asked.clear()
    with serving(Registry) as root:
        url = f"{root}/npm"
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", url)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        yield url


def test_the_viewer_is_fetched_once(registry: str) -> None:
    """The parts that are served lie in the cache, with the licence; the second time nobody is asked."""
    said: list[str] = []
    dist = ohif.fetch(said.append, package=PACKAGE)
    assert ohif.fetch(said.append, package=PACKAGE) == dist == ohif.place() / "dist"
    there = {path.relative_to(ohif.place()).as_posix() for path in ohif.place().rglob("*") if path.is_file()}
    assert there == {"LICENSE", "dist/index.html", "dist/assets/logo.svg"}
    assert len(Registry.asked) == len(said) == 1
    assert registry in said[0]


@pytest.mark.usefixtures("registry")
def test_other_bytes_are_refused(tmp_path: Path) -> None:
    """A package that is not the pinned one is not unpacked, and leaves nothing behind."""
    with pytest.raises(ConfigError, match="integrity sha512-AAAA"):
        ohif.fetch(lambda line: None, package=ohif.Package(path=PACKAGE.path, integrity="sha512-AAAA"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("registry")
def test_a_registry_without_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 404 and nobody at all: the message says where it was looked for and what to set."""
    with pytest.raises(PeerUnavailable, match=r"other\.tgz, found HTTP status 404; .* NPM_CONFIG_REGISTRY"):
        ohif.fetch(lambda line: None, package=ohif.Package(path="other.tgz", integrity=PACKAGE.integrity))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(PeerUnavailable, match=r"127\.0\.0\.1:9/@ohif.* found ConnectError"):
        ohif.fetch(lambda line: None, package=PACKAGE)


@pytest.mark.usefixtures("registry")
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the folder should be: the message says which place and how to name another."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"file/sgmri/ohif-.* XDG_CACHE_HOME"):
        ohif.fetch(lambda line: None, package=PACKAGE)


@pytest.mark.usefixtures("registry")
def test_the_command_fetches_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """``--fetch-only`` says where the files are; an address that is none is wrong usage."""
    (ohif.place() / "dist").mkdir(parents=True)
    assert main(["viewer", "--fetch-only"]) == 0
    assert f"OHIF {ohif.VERSION}: {ohif.place() / 'dist'}" in capsys.readouterr().out
    assert main(["viewer", "--dicomweb", "localhost:8042"]) == 2
    assert "--dicomweb: expected http(s)://" in capsys.readouterr().err
