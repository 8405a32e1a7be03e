"""Alerts: what is found, how it is gathered, and that it arrives by a real mail server and a real web server."""

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from dicom_io.spool import Spool
from plugin.alert_channels import WebhookChannel, channels
from plugin.alert_watch import Alerting, Watch
from plugin.alerts import Desk, Kind, Message, Turn
from plugin.cli.main import main
from plugin.parts import free_port
from plugin.retention import Retention
from sgmri.audit import Action, AuditEvent
from sgmri.errors import AlertUndelivered, ConfigError
from sgmri.lifecycle import Reason, State
from sgmri.settings import parse
from tests.http_servers import serving
from tests.worker.place import Clock
from tests.worker.test_worklist import queue
from worker.audit import auditor
from worker.auditing.files import audit_dir, this_host
from worker.database import sqlite_url
from worker.delivery import breakers
from worker.journal import Journal

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@dataclass
class Memory:
    """A channel that keeps what it is given, or refuses it."""

    name: str = "memory"
    sent: list[Message] = field(default_factory=list)
    refuses: bool = False

    def send(self, message: Message) -> None:
        if self.refuses:
            raise AlertUndelivered("expected somebody, found nobody")
        self.sent.append(message)


@dataclass
class Ward:
    """What is watched; disk, clock and channel are the test's own."""

    directory: Path
    free_bytes: int = 10 << 30
    clock: Clock = field(default_factory=Clock)
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.journal = Journal(sqlite_url(self.directory), clock=self.clock)
        self.settings = parse(
            {
                "storage": {"state_dir": str(self.directory)},
                "queue": {"stalled_after_s": 600.0},
                "destination": [{"name": "pacs", "ae_title": "PACS", "commitment": "none"}],
            }
        )
        self.restart()

    def restart(self) -> None:
        retention = Retention(
            settings=self.settings,
            journal=self.journal,
            spool=Spool(self.directory / "spool"),
            outbox_dir=self.directory / "outbox",
            disk=lambda _: (20 << 30, self.free_bytes),
        )
        watch = Watch(settings=self.settings, journal=self.journal, retention=retention)
        desk = Desk(channel=self.memory, settings=self.settings.alerts)
        self.alerting = Alerting(watch=watch, desks=[desk], monotonic=self.clock)

    def fail(self, key: str, reason: Reason = Reason.ENGINE_FAILED) -> None:
        self.journal.move(queue(self.journal, key), State.FAILED, reason=reason)

    def pass_by(self, seconds: float, looks: int = 3) -> list[tuple[Kind, Turn, str, int]]:
        """Let time pass, and look now and then; return what was said meanwhile."""
        before = len(self.memory.sent)
        for _ in range(looks):
            self.clock.now += seconds / looks
            self.alerting.step()
        return [
            (line.kind, line.turn, line.subject, line.count)
            for message in self.memory.sent[before:]
            for line in message.lines
        ]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.journal.close()


def test_failures_are_gathered_and_the_rate_is_limited(ward: Ward) -> None:
    """A minute's failures are one message; the next one comes a quarter of an hour later, with all since; none is lost.

    Series stand in it by the first eight characters of their keys, ten at most, and are counted.
    """
    for number in range(12):
        ward.fail(f"{number:08d}abcdefgh")
    ward.fail("abcdefgh12345678", Reason.PEER_REJECTS)
    assert ward.pass_by(30) == []
    assert ward.pass_by(30, looks=1) == []
    failed = Kind.SERIES_FAILED, Turn.HAPPENED
    assert ward.pass_by(60, looks=1) == [(*failed, "ENGINE_FAILED", 12), (*failed, "PEER_REJECTS", 1)]
    (message,) = ward.memory.sent
    assert message.subject == "[sgmri] series-failed"
    assert "12 series FAILED (ENGINE_FAILED): 00000000, 00000001" in message.text
    assert "00000009 and 2 more; see sgmri status" in message.text
    assert "FAILED (PEER_REJECTS): abcdefgh;" in message.text
    assert "12345678" not in message.text
    for number in range(3):
        ward.fail(f"later{number}")
        assert ward.pass_by(240) == []
    assert ward.pass_by(240) == [(*failed, "ENGINE_FAILED", 3)]
    assert ward.pass_by(3600) == []


def test_what_goes_on_is_said_when_it_begins_now_and_then_and_when_it_ends(ward: Ward) -> None:
    """A destination, the disk and the worklist: each once, again after hours, and that it is over."""
    for _ in range(3):
        breakers(ward.journal, ward.settings).failed("pacs")
    ward.free_bytes = 0
    began = [(Kind.DESTINATION_DOWN, Turn.BEGAN, "pacs", 1), (Kind.DISK_FULL, Turn.BEGAN, "", 1)]
    assert ward.pass_by(3600) == began
    ward.free_bytes = 10 << 30
    assert ward.pass_by(3600) == [(Kind.DISK_FULL, Turn.ENDED, "", 1)]
    queue(ward.journal, "waits")
    assert ward.pass_by(3600) == [(Kind.READINGS_STALLED, Turn.BEGAN, "", 1)]
    assert ward.pass_by(6000, looks=5) == [(Kind.DESTINATION_DOWN, Turn.GOES_ON, "pacs", 1)]
    breakers(ward.journal, ward.settings).answered("pacs")
    assert ward.pass_by(3600)[-1] == (Kind.DESTINATION_DOWN, Turn.ENDED, "pacs", 1)
    assert "destination-down ended" in ward.memory.sent[-1].subject


def test_a_broken_audit_log_is_said(ward: Ward) -> None:
    """A line that somebody changed is found by the next verification, within the hour; before that all is well."""
    write = auditor(ward.settings)
    for who in ("anna", "berta"):
        write(AuditEvent(action=Action.VIEW, who=who))
    assert ward.pass_by(300) == []
    (log,) = (audit_dir(ward.settings) / this_host()).glob("*.jsonl")
    log.write_text(log.read_text(encoding="utf-8").replace("anna", "nora"), encoding="utf-8")
    assert ward.pass_by(3000) == []
    assert ward.pass_by(1200) == [(Kind.AUDIT_BROKEN, Turn.BEGAN, this_host(), 1)]
    assert "look at it with sgmri audit verify" in ward.memory.sent[-1].text


def test_a_destination_that_comes_and_goes_is_one_line(ward: Ward) -> None:
    """Within one message it says how often, and what became of it last."""
    for _ in range(3):
        for _ in range(3):
            breakers(ward.journal, ward.settings).failed("pacs")
        assert ward.pass_by(5, looks=1) == []
        breakers(ward.journal, ward.settings).answered("pacs")
        assert ward.pass_by(5, looks=1) == []
    assert ward.pass_by(60, looks=1) == [(Kind.DESTINATION_DOWN, Turn.ENDED, "pacs", 3)]
    assert "destination down pacs: ended, 3 times since the last message" in ward.memory.sent[-1].text


def test_nothing_is_lost_while_nobody_can_be_told(ward: Ward) -> None:
    """A channel that is down is tried again; a restart, and failures while we are down, are said afterwards."""
    ward.memory.refuses = True
    ward.fail("first")
    assert ward.pass_by(3600) == []
    ward.restart()
    ward.clock.now += 60
    ward.fail("meanwhile")
    ward.memory.refuses = False
    assert ward.pass_by(300) == [(Kind.SERIES_FAILED, Turn.HAPPENED, "ENGINE_FAILED", 2)]
    assert ward.memory.sent[0].lines[0].series == ("first", "meanwhil")
    ward.pass_by(15, looks=1)
    ward.restart()
    assert ward.pass_by(3600) == [], "what was said is not said again"


# -- e-mail ---------------------------------------------------------------------------------------------------------


@dataclass
class Mailbox:
    """What a real mail server took."""

    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    was_encrypted: bool = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        self.was_encrypted = session.ssl is not None
        return "250 taken"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"alerts", b"right"), handled=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def mail_server(authority: trustme.CA) -> Iterator[tuple[Mailbox, int]]:
    """A server that takes mail over STARTTLS alone, from whoever logs in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    box = Mailbox()
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=authenticate,
    )
    controller.start()
    try:
        yield box, controller.port
    finally:
        controller.stop()


def config(directory: Path, email: dict[str, Any] | None = None, webhook: dict[str, Any] | None = None) -> Path:
    """Write a configuration file."""
    lines = ['[alerts]\nsite = "ward 7"\ntimeout_s = 20.0']
    for name, table in (("email", email or {}), ("webhook", webhook or {})):
        lines += [f"[alerts.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path = directory / "sgmri.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_test_alert_arrives_by_mail(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over STARTTLS and after a log-in; a wrong password, a certificate of nobody's, and no password are said."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "password").write_text("wrong\n")
    (tmp_path / "password").chmod(0o600)
    with mail_server(authority) as (box, port):
        email = {
            "host": "127.0.0.1",
            "port": port,
            "ca_file": str(tmp_path / "ca.pem"),
            "user": "alerts",
            "password_file": str(tmp_path / "password"),
            "sender": "sgmri@hospital.example",
            "recipients": ["one@hospital.example", "two@hospital.example"],
        }
        command = ["alerts", "test", "--config", str(config(tmp_path, email))]
        assert main(command) == 1
        assert "found SMTPAuthenticationError; check alerts.email" in capsys.readouterr().err
        monkeypatch.setenv("SGMRI_ALERTS_SMTP_PASSWORD", "right")
        assert main(command) == 0
        assert capsys.readouterr().out == "e-mail: sent\n"
        config(tmp_path, {**email, "ca_file": ""})
        assert main(command) == 1
        assert "SSLCertVerificationError" in capsys.readouterr().err
        monkeypatch.delenv("SGMRI_ALERTS_SMTP_PASSWORD")
        config(tmp_path, {**email, "password_file": str(tmp_path / "nothing")})
        assert main(command) == 2
        assert "expected a readable file with a secret" in capsys.readouterr().err
    (mail,) = box.mails
    assert box.recipients == ["one@hospital.example", "two@hospital.example"]
    assert box.was_encrypted
    assert (mail["Subject"], mail["From"]) == ("[ward 7] test", "sgmri@hospital.example")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "nothing is wrong" in mail.get_content()
    assert "Research use only" in mail.get_content()


# -- webhook --------------------------------------------------------------------------------------------------------


@dataclass
class Hook:
    """A real web server: answers as told, the last answer again and again."""

    answers: list[int] = field(default_factory=lambda: [204])
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0])
            self.send_header("Location", f"{hook.url}/internal")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with serving(Handler) as hook.url:
        yield hook


def webhook(hook: Hook, waited_s: list[float] | None = None) -> WebhookChannel:
    settings = parse({"alerts": {"webhook": {"url": f"{hook.url}/alerts"}}}).alerts.webhook
    waits = [] if waited_s is None else waited_s
    return WebhookChannel(settings, 20.0, {"SGMRI_ALERTS_WEBHOOK_SECRET": SECRET}, sleep=waits.append)


def test_a_webhook_is_signed_and_says_what_a_program_needs(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature is that of Standard Webhooks: of identifier, time and body, so none can be changed or replayed."""
    monkeypatch.setenv("SGMRI_ALERTS_WEBHOOK_SECRET", SECRET)
    assert main(["alerts", "test", "--config", str(config(tmp_path, webhook={"url": f"{hook.url}/alerts"}))]) == 0
    ((path, headers, body),) = hook.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    document = json.loads(body)
    assert (path, document["type"], document["data"]["site"]) == ("/alerts", "sgmri.alert", "ward 7")
    (alert,) = document["data"]["alerts"]
    assert (alert["kind"], alert["turn"], alert["count"]) == ("test", "happened", 1)


def test_a_webhook_is_tried_again_but_goes_nowhere_else(hook: Hook, ward: Ward) -> None:
    """Server errors are tried three times under one identifier; a refusal is not, and a redirect is not followed."""
    ward.fail("abcdefgh12345678")
    ward.pass_by(150, looks=2)
    (message,) = ward.memory.sent
    waited_s: list[float] = []
    hook.answers = [503, 429, 200]
    webhook(hook, waited_s).send(message)
    assert waited_s == [2.0, 6.0]
    assert len({headers["webhook-id"] for _, headers, _ in hook.requests}) == 1
    for answer, tries in ((500, 3), (401, 1), (302, 1), (307, 1)):
        hook.requests.clear()
        hook.answers = [answer]
        with pytest.raises(AlertUndelivered, match=f"found HTTP status {answer}; check alerts.webhook"):
            webhook(hook).send(message)
        assert [path for path, _, _ in hook.requests] == ["/alerts"] * tries
    hook.url = "http://127.0.0.1:1"
    with pytest.raises(AlertUndelivered, match="found ConnectError"):
        webhook(hook).send(message)


@pytest.mark.parametrize("secret", ["", "short", "whsec_!!!!", base64.b64encode(b"x" * 23).decode()])
def test_a_secret_that_is_none_is_refused_and_not_quoted(secret: str) -> None:
    """Without a secret of 24 to 64 bytes in base64 there is no webhook: nobody could tell that it is ours."""
    settings = parse({"alerts": {"webhook": {"url": "https://chat.example/hook"}}}).alerts
    with pytest.raises(ConfigError, match=r"secret of alerts\.webhook") as caught:
        list(channels(settings, {"SGMRI_ALERTS_WEBHOOK_SECRET": secret}))
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"webhook": {"url": "http://chat.example/hook"}}, "alerts.webhook.url: expected https://"),
        ({"webhook": {"url": "https://user:word@chat.example/"}}, "alerts.webhook.url"),
        ({"webhook": {"url": "file:///etc/passwd"}}, "alerts.webhook.url"),
        ({"email": {"host": "mail", "sender": "a@b\nBcc: c@d", "recipients": ["a@b"]}}, "alerts.email.sender"),
        ({"email": {"host": "mail", "sender": "a@b"}}, "alerts.email.recipients: expected at least one"),
        ({"email": {"host": "mail", "sender": "a@b", "recipients": ["nobody"]}}, r"recipients\[0\]"),
        ({"email": {"host": "m", "sender": "a@b", "recipients": ["a@b"], "user": "u", "security": "none"}}, "security"),
        ({"site": "a\nb"}, "alerts.site"),
        ({"pause_s": -1.0}, "alerts.pause_s: expected more than 0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tables: dict[str, Any], expected: str) -> None:
    """Each is named by its key before anything runs."""
    with pytest.raises(ConfigError, match=expected):
        parse({"alerts": tables})


def test_without_a_channel_there_is_nothing_to_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, and what to set."""
    assert main(["alerts", "test", "--config", str(config(tmp_path))]) == 2
    assert "alerts.email.host or alerts.webhook.url" in capsys.readouterr().err
