"""Audit messages: valid by the standard's schema, and at the server in order, whatever was away meanwhile."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from lxml import etree
from pydicom.sr.codedict import codes

from dicom_io.spool import Spool
from dicom_io.stored import read_header
from sgmri.audit import Action, AuditEvent, Outcome
from sgmri.audit_chain import NO_LINES, AuditLine
from sgmri.errors import ConfigError
from sgmri.settings import Settings, parse
from tests.receivers import mr_instance
from tests.worker.auditing.test_files import log_dir
from worker.audit import auditor
from worker.auditing.identities import identities
from worker.auditing.messages import KINDS, Identity, message
from worker.auditing.syslog import Shipper, SyslogLink, start_shipping
from worker.database import sqlite_url
from worker.journal import Journal
from worker.receipts import Received

SCHEMA = etree.RelaxNG(file=str(Path(__file__).with_name("audit-message.rng")))
MEANINGS = {code.value: code.meaning for code in (getattr(codes.DCM, name) for name in codes.DCM.dir())}
IDENTITY = Identity(study_instance_uid="2.25.1", patient_id="CANARY")


def line_of(event: AuditEvent) -> AuditLine:
    return AuditLine(
        seq=1,
        at="2026-11-27T12:00:00.000000+00:00",
        host="here",
        process="listener",
        event=event,
        previous=NO_LINES.digest,
    )


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("identity", [None, IDENTITY])
def test_each_action_has_a_message_by_the_schema(action: Action, identity: Identity | None) -> None:
    """With the codes of PS3.16 by their meaning, one requestor at most, and identity only where it is asked for."""
    event = AuditEvent(action=action, who="SCANNER@192.0.2.1", series_key="0123456789abcdef", detail="to pacs", count=3)
    for one in (event, AuditEvent(action=action, who="listener", outcome=Outcome.FAILURE)):
        encoded = message(line_of(one), identity)
        found = etree.fromstring(encoded)
        SCHEMA.assertValid(found)
        assert sum(part.get("UserIsRequestor") == "true" for part in found.iter("ActiveParticipant")) <= 1
        for coded in found.iter("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode"):
            if coded.get("codeSystemName") == "DCM":
                assert MEANINGS[coded.get("csd-code")].removesuffix(" Role ID") == coded.get("originalText")
        assert (b"CANARY" in encoded) is (identity is not None and KINDS[action].about == "series")
    assert set(KINDS) == set(Action)


def test_the_schema_would_find_a_fault() -> None:
    """A message without its mandatory outcome, or with an element of none of the standard's, is not valid."""
    found = etree.fromstring(message(line_of(AuditEvent(action=Action.VIEW, who="anna")), None))
    del found[0].attrib["EventOutcomeIndicator"]
    assert not SCHEMA.validate(found)


class SyslogServer:
    """A TLS server that takes messages by octet counting (RFC 5425), on a port that stays its own."""

    def __init__(self, authority: trustme.CA, port: int = 0) -> None:
        self.taken: list[bytes] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._tls)
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listening.getsockname()[1])
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes who reads
            connection.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            try:
                connection = self._tls.wrap_socket(plain, server_side=True)
            except OSError:
                plain.close()
                continue
            self._open.append(connection)
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as stream:
                while length := b"".join(iter(lambda: stream.read(1).strip(b" "), b"")):
                    self.taken.append(stream.read(int(length)))
        except (OSError, ValueError):
            return


@contextmanager
def serving(authority: trustme.CA, port: int = 0) -> Iterator[SyslogServer]:
    server = SyslogServer(authority, port)
    try:
        yield server
    finally:
        server.stop()


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def settings_for(tmp_path: Path, authority: trustme.CA, port: int, **audit: object) -> Settings:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    Journal(sqlite_url(tmp_path)).close()
    syslog = {"syslog_host": "localhost", "syslog_port": port, "syslog_ca_file": str(tmp_path / "ca.pem")}
    return parse({"storage": {"state_dir": str(tmp_path)}, "audit": {"syslog_transport": "tls", **syslog, **audit}})


def said(server: SyslogServer) -> list[str]:
    """Return what each message says of itself, in the order of their coming, without what came twice in a row."""
    found: list[str] = []
    for taken in server.taken:
        header, mark, xml = taken.partition(b"\xef\xbb\xbf")
        assert mark
        assert re.fullmatch(rb"<85>1 \d{4}-\d\d-\d\dT[\d:.]+Z \S+ sgmri \S+ DICOM\+RFC3881 - ", header)
        parsed = etree.fromstring(xml)
        SCHEMA.assertValid(parsed)
        found += [parsed.findtext("EventIdentification/EventOutcomeDescription")] if parsed is not None else []
    return [text for place, text in enumerate(found) if not place or found[place - 1] != text]


def test_messages_wait_for_a_server_that_is_away(tmp_path: Path, authority: trustme.CA) -> None:
    """Over TLS, in order and all of them: those from before the server, and those from while it was gone."""
    with serving(authority) as server:
        port = server.port
        settings = settings_for(tmp_path, authority, port, max_file_bytes=2000)
        write = auditor(settings)
        for number in range(5):
            write(AuditEvent(action=Action.VIEW, who="anna", detail=str(number)))
        shipper = Shipper(log_dir(settings), SyslogLink(settings.audit), None)
        assert not shipper.ship()
        until(lambda: len(server.taken) == 5)
        assert not shipper.ship()
    assert said(server) == ["0", "1", "2", "3", "4"]
    for number in range(5, 12):
        write(AuditEvent(action=Action.VIEW, who="anna", detail=str(number)))
    with pytest.raises(OSError):
        shipper.ship()
    shipper.close()
    with serving(authority, port) as server:
        stop = threading.Event()
        thread = start_shipping(settings, stop=stop)  # another process goes on where the first one was
        until(lambda: len(said(server)) == 7)
        write(AuditEvent(action=Action.VIEW, who="anna", detail="12"))
        until(lambda: len(said(server)) == 8)
        stop.set()
        assert thread is not None
        thread.join()
    assert said(server) == [str(number) for number in range(5, 13)]


def test_a_stranger_gets_no_message(tmp_path: Path, authority: trustme.CA) -> None:
    """A server whose certificate our authority did not issue, or that is named otherwise, is not talked to."""
    with serving(trustme.CA()) as stranger:
        settings = settings_for(tmp_path, authority, stranger.port)
        auditor(settings)(AuditEvent(action=Action.VIEW, who="anna"))
        with pytest.raises(ssl.SSLCertVerificationError):
            Shipper(log_dir(settings), SyslogLink(settings.audit), None).ship()
    with serving(authority) as server:
        named = replace(settings.audit, syslog_host="127.0.0.1", syslog_port=server.port)
        with pytest.raises(ssl.SSLCertVerificationError):
            Shipper(log_dir(settings), SyslogLink(named), None).ship()
    with pytest.raises(ConfigError, match=r"audit\.syslog_ca_file"):
        SyslogLink(replace(settings.audit, syslog_ca_file=str(tmp_path / "none.pem")))


def test_identity_is_sent_only_where_asked_for(tmp_path: Path, authority: trustme.CA) -> None:
    """By UDP: with identities the study and the patient of the spool's instance; the log itself never has them."""
    journal, spool = Journal(sqlite_url(tmp_path)), Spool(tmp_path / "spool")
    source, path = mr_instance(), tmp_path / "one.dcm"
    source.PatientID = "CANARY"
    source.save_as(path, enforce_file_format=True)
    stored = spool.store(read_header(path.read_bytes()), path.read_bytes())
    names = ("series_key", "study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid")
    known = {name: getattr(stored, name) for name in (*names, "file_name", "size_bytes")}
    journal.receive(Received(**known))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        port = server.getsockname()[1]
        settings = settings_for(tmp_path, authority, port, syslog_transport="udp", syslog_host="127.0.0.1")
        auditor(settings)(AuditEvent(action=Action.VIEW, who="anna", series_key=stored.series_key))
        Shipper(log_dir(settings), SyslogLink(settings.audit), None).ship()
        (log_dir(settings) / "syslog.json").unlink()
        Shipper(log_dir(settings), SyslogLink(settings.audit), identities(journal, spool)).ship()
        without, with_identity = server.recv(1 << 16), server.recv(1 << 16)
    journal.close()
    secrets = ["CANARY", f'"{source.StudyInstanceUID}"']
    assert [secret.encode() in with_identity for secret in secrets] == [True, True]
    assert [secret.encode() in without for secret in secrets] == [False, False]
    written = b"".join(file.read_bytes() for file in log_dir(settings).iterdir())
    assert not any(secret.encode() in written for secret in secrets)
