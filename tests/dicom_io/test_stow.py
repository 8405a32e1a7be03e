"""STOW-RS against an origin server whose answers are told, over real HTTP on loopback."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from conformance.statement.destinations import web_responses, web_services
from conformance.statement.document import Table
from dicom_io.scu import Sendable, sendable
from dicom_io.services import COMPREHENSIVE_3D_SR, SEGMENTATION
from dicom_io.statuses import Outcome
from dicom_io.stow import StowUserAgent
from sgmri.errors import ConfigError, PeerBusy, PeerUnavailable, StoreRefused
from sgmri.settings import Settings, parse
from tests.http_servers import serving
from worker.destinations import open_sender

Answer = tuple[int, object]


@dataclass
class Origin:
    """What the server answers, and what it was asked."""

    answer: Callable[[str], Answer] = lambda path: (200, {})
    wait_s: float = 0.0
    paths: list[str] = field(default_factory=list)
    authorisations: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    requests: list[tuple[str, ...]] = field(default_factory=list)
    """Method, path, Content-Type and Accept."""
    url: str = ""


@pytest.fixture
def origin() -> Iterator[Origin]:
    told = Origin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            told.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply()

        def _reply(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked did not wait for it
                self._answer()

        def _answer(self) -> None:
            told.paths.append(self.path)
            content_type = self.headers["Content-Type"] or ""
            told.requests.append((self.command, self.path, content_type, self.headers["Accept"]))
            told.authorisations.append(self.headers["Authorization"])
            time.sleep(told.wait_s)
            status, body = told.answer(self.path)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        told.url = f"{url}/dicom-web"
        yield told


@pytest.fixture
def instances(tmp_path: Path) -> list[Sendable]:
    paths = []
    for number, uid in enumerate((SEGMENTATION, COMPREHENSIVE_3D_SR), 1):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = uid, f"2.25.{number}", "2.25.9"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(tmp_path / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return [sendable(path) for path in paths]


def answered(*stored: str, **failed: int) -> dict[str, object]:
    """Return a Store Instances Response (PS3.18 10.5.3); failed UIDs are written as ``uid_1``."""
    document: dict[str, object] = {}
    if stored:
        document["00081199"] = {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in stored]}
    if failed:
        document["00081198"] = {
            "vr": "SQ",
            "Value": [
                {
                    "00081155": {"vr": "UI", "Value": [f"2.25.{name.removeprefix('uid_')}"]},
                    "00081197": {"vr": "US", "Value": [reason]},
                }
                for name, reason in failed.items()
            ],
        }
    return document


def outcomes(origin: Origin, instances: list[Sendable], timeout_s: float = 5.0) -> list[tuple[type | None, int | None]]:
    """Send; return for each instance what kind of refusal it met, and with which status."""
    with closing(StowUserAgent(origin.url, timeout_s=timeout_s)) as agent:
        return [
            (type(refusal) if refusal else None, getattr(refusal, "status", None))
            for _, refusal in agent.store(instances)
        ]


@pytest.mark.parametrize(
    ("status", "document", "expected"),
    [
        (200, answered("2.25.1", "2.25.2"), [(None, None), (None, None)]),
        (202, answered("2.25.2", uid_1=0xC122), [(StoreRefused, 0xC122), (None, None)]),
        (202, answered("2.25.2", uid_1=0x0111), [(None, None), (None, None)]),
        (202, answered("2.25.2", uid_1=0xA700), [(PeerBusy, None), (None, None)]),
        (202, answered("2.25.2", uid_1=0x0110), [(PeerBusy, None), (None, None)]),
        (200, answered("2.25.2"), [(PeerBusy, None), (None, None)]),
        (409, answered(uid_1=0x0122, uid_2=0xA900), [(StoreRefused, 0x0122), (StoreRefused, 0xA900)]),
        (409, answered(uid_1=0x0111, uid_2=0x0111), [(None, None), (None, None)]),
        (409, b"", [(StoreRefused, 0x0111)] * 2),
        (401, b"", [(StoreRefused, 0x0124)] * 2),
        (403, b"<html>", [(StoreRefused, 0x0124)] * 2),
        (413, b"", [(StoreRefused, 0xA700)] * 2),
        (415, b"", [(StoreRefused, 0x0122)] * 2),
        (404, b"", [(StoreRefused, 0xC000)] * 2),
    ],
)
def test_each_answer_says_what_became_of_each_object(
    origin: Origin,
    instances: list[Sendable],
    status: int,
    document: object,
    expected: list[tuple[type | None, int | None]],
) -> None:
    """Stored, duplicate, refused for good or for now: object by object where the server says so (PS3.18 I.2)."""
    origin.answer = lambda path: (status, document)
    assert outcomes(origin, instances) == expected
    assert len(origin.bodies) == 1
    assert origin.bodies[0].count(b"DICM") == 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_that_cannot_now_is_tried_again(origin: Origin, instances: list[Sendable], status: int) -> None:
    """Busy, and asked once: the journal knows when to try again."""
    origin.answer = lambda path: (status, b"")
    with pytest.raises(PeerBusy, match=str(status)):
        outcomes(origin, instances)
    assert len(origin.paths) == 1


def test_an_answer_that_is_no_dicom_is_no_success(origin: Origin, instances: list[Sendable]) -> None:
    """200 with something else in it does not count as stored."""
    origin.answer = lambda path: (200, b"<html>welcome</html>")
    with pytest.raises(PeerBusy, match="DICOM JSON"):
        outcomes(origin, instances)


def test_nothing_to_store_asks_nothing(origin: Origin) -> None:
    """What was stored in an earlier generation makes no request without a part."""
    assert outcomes(origin, []) == []
    assert origin.paths == []


def test_nobody_there_and_no_answer_are_transient(origin: Origin, instances: list[Sendable]) -> None:
    """A closed port and a server that is silent raise the transient error of the peer."""
    gone = Origin(url="http://127.0.0.1:1/dicom-web")
    for server in (gone, origin):
        origin.wait_s = 1.0
        with pytest.raises(PeerUnavailable) as caught:
            outcomes(server, instances, timeout_s=0.3)
        assert not isinstance(caught.value, PeerBusy)


def test_a_search_proves_what_is_there(origin: Origin) -> None:
    """QIDO-RS lists the instances of a series; a server that forbids it proves nothing, one that is broken is busy."""
    listed = [{"00080018": {"vr": "UI", "Value": ["2.25.1"]}}]
    origin.answer = lambda path: (200, listed)
    with closing(StowUserAgent(origin.url)) as agent:
        assert agent.held("2.25.9", "2.25.8") == {"2.25.1"}
        assert origin.paths[0].startswith("/dicom-web/studies/2.25.9/series/2.25.8/instances")
        agent.probe()
        for status, error in ((403, StoreRefused), (500, PeerBusy)):
            origin.answer = lambda path, status=status: (status, b"")  # type: ignore[misc]  # a default binds it
            with pytest.raises(error):
                agent.held("2.25.9", "2.25.8")
        with pytest.raises(PeerBusy):
            agent.probe()
        origin.answer = lambda path: (403, b"")
        agent.probe()


def test_secrets_come_from_file_or_environment(origin: Origin, tmp_path: Path) -> None:
    """Bearer and basic; the environment wins over the file, and a secret that is missing is named without its value."""
    origin.answer = lambda path: (200, [])
    secret = tmp_path / "secret"
    secret.write_text("user:pass word\n")
    secret.chmod(0o600)

    def header(authentication: str, environment: dict[str, str], **keys: str) -> str | None:
        table = {"name": "cloud-1", "kind": "stow", "url": origin.url, "commitment": "query"}
        settings = parse({"destination": [{**table, "authentication": authentication, **keys}]})
        with closing(open_sender(settings, settings.outlets[0], environment)) as sender:
            sender.probe()
        return origin.authorisations[-1]

    assert header("none", {"SGMRI_SECRET_CLOUD_1": "unused"}) is None
    assert header("basic", {}, secret_file=str(secret)) == "Basic dXNlcjpwYXNzIHdvcmQ="
    assert header("bearer", {"SGMRI_SECRET_CLOUD_1": "token"}, secret_file=str(secret)) == "Bearer token"
    with pytest.raises(ConfigError, match="SGMRI_SECRET_CLOUD_1"):
        header("bearer", {})
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        header("bearer", {}, secret_file=str(tmp_path / "none"))
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="found mode 644; chmod 600"):
        header("basic", {}, secret_file=str(secret))


@pytest.mark.parametrize("table", web_responses(), ids=lambda one: one.key)
def test_every_answer_is_judged_as_the_statement_says(origin: Origin, instances: list[Sendable], table: Table) -> None:
    """Both ends of each stated range of HTTP statuses, and of Failure Reasons of single objects."""
    kinds = {Outcome.STORED: None, Outcome.TRY_AGAIN: PeerBusy, Outcome.REFUSED: StoreRefused}
    is_http = table.key == "http-responses"
    for row in table.records():
        for status in sorted({int(end, 10 if is_http else 16) for end in row["Status"].split("-")}):
            stored = answered("2.25.1") if status < 300 else {}
            answer = (status, stored) if is_http else (409, answered(uid_1=status))
            origin.answer = partial(_always, answer)
            assert _kind_of(origin, instances[:1]) is kinds[Outcome(row["The object is"])], status


def _always(answer: Answer, path: str) -> Answer:
    return answer


def _kind_of(origin: Origin, instances: list[Sendable]) -> type | None:
    try:
        ((kind, _),) = outcomes(origin, instances)
    except PeerBusy as error:  # of the request as a whole
        return type(error)
    return kind


def test_what_is_asked_is_what_the_statement_says(origin: Origin, instances: list[Sendable]) -> None:
    """Method, resource and media types of each request to a destination, in the order of the table.

    What the sweep asks an archive is in tests/plugin/test_archive_sweep.py.
    """
    (table,) = (block for block in web_services(Settings()) if isinstance(block, Table))
    origin.answer = lambda path: (200, answered("2.25.1", "2.25.2") if path.endswith("studies") else [])
    with closing(StowUserAgent(origin.url)) as agent:
        list(agent.store(instances))
        agent.held("2.25.9", "2.25.8")
        agent.probe()
    found = [
        (method, path.removeprefix("/dicom-web"), content.partition("; boundary")[0], accept)
        for method, path, content, accept in origin.requests
    ]
    assert found == [
        (row["Request"], row["Resource"].format(study="2.25.9", series="2.25.8"), row["Content-Type"], row["Accept"])
        for row in table.records()
        if "sweep" not in row["When"]
    ]
