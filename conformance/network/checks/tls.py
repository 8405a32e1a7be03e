"""Secure connections: versions, cipher suites and certificates that are accepted and refused (PS3.15 B.9 to B.12).

References
----------
PS3.15 B.12 (BCP 195 RFC 8996, 9325 TLS profile), RFC 8996 (no TLS 1.0 and 1.1), RFC 9325 4 (cipher suites)
"""

import ssl
import warnings
from datetime import UTC, datetime

from conformance.network import wire
from conformance.network.proposal import associate
from conformance.network.session import Session, Tls, check, checks_of
from conformance.report import Result, Severity, Table, failed, not_applicable, passed
from sgmri.errors import SgmriError

_VERSIONS = {
    "TLS 1.0": ssl.TLSVersion.TLSv1,
    "TLS 1.1": ssl.TLSVersion.TLSv1_1,
    "TLS 1.2": ssl.TLSVersion.TLSv1_2,
    "TLS 1.3": ssl.TLSVersion.TLSv1_3,
}
_RETIRED = ("TLS 1.0", "TLS 1.1")
_STRONG = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
           "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305", "DHE-RSA-AES128-GCM-SHA256",
           "DHE-RSA-AES256-GCM-SHA384")  # fmt: skip
_OLD = ("ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-SHA", "AES128-GCM-SHA256", "AES256-SHA", "AES128-SHA")
_BROKEN = ("DES-CBC3-SHA", "RC4-SHA", "NULL-SHA256", "NULL-SHA", "ECDHE-RSA-NULL-SHA", "ECDHE-ECDSA-NULL-SHA",
           "ADH-AES128-GCM-SHA256", "AECDH-AES128-SHA", "AECDH-NULL-SHA")  # fmt: skip


def _tls(session: Session) -> Tls:
    assert session.setup.tls is not None  # the group runs only with it
    return session.setup.tls


def _permissive(session: Session) -> ssl.SSLContext:
    """Return a context that offers whatever our own library still has."""
    context = _tls(session).context()
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return context


def _answers(session: Session, context: ssl.SSLContext) -> str:
    """Say how C-ECHO over a secure connection ends; empty where it is answered with success."""
    try:
        with session.connected(tls=context) as link:
            status = associate(link, session.proposal().body()).echo().status
    except TimeoutError:
        return "no answer"
    except (SgmriError, OSError) as error:  # ssl.SSLError is an OSError
        return getattr(error, "reason", None) or type(error).__name__
    return f"status 0x{status:04X}" if status else ""


@check(
    "tls.echo",
    "C-ECHO over TLS is answered; the peer's certificate is signed and valid",
    "PS3.15 B.12",
    Severity.CRITICAL,
)
def echo(session: Session) -> Result:
    why = _answers(session, _tls(session).context())
    if why:
        return failed(f"with our certificate and authority: {why}")
    with session.connected() as link:
        stream = link.stream
        assert isinstance(stream, ssl.SSLSocket)
        ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str((stream.getpeercert() or {})["notAfter"])), UTC)
        version, cipher = stream.version(), (stream.cipher() or ("",))[0]
    return passed(f"{version}, {cipher}; the certificate ends on {ends:%Y-%m-%d}")


@check("tls.versions", "What is accepted: versions of TLS; 1.2 or 1.3, and nothing older", "PS3.15 B.12, RFC 8996")
def versions(session: Session) -> Result:
    rows = []
    for name, version in _VERSIONS.items():
        context = _permissive(session)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # old versions are what is asked about
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = version
            context.minimum_version = version
        rows.append((name, _answers(session, context) or "accepted"))
    return _verdict(rows, {"TLS 1.2", "TLS 1.3"}, _RETIRED, "version")


@check(
    "tls.ciphers",
    "What is accepted: cipher suites of TLS 1.2; one of the strong ones, and none that is broken",
    "PS3.15 B.12, RFC 9325 4.1, 4.2",
)
def ciphers(session: Session) -> Result:
    rows = []
    for name in (*_STRONG, *_OLD, *_BROKEN):
        context = _tls(session).context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.set_ciphers(f"{name}:@SECLEVEL=0")
        except ssl.SSLError:
            rows.append((name, "not known to this machine's library"))
            continue
        rows.append((name, _answers(session, context) or "accepted"))
    only_newer = dict(rows).keys() and all(said != "accepted" for _, said in rows)
    if only_newer:
        return passed("none: TLS 1.2 is not accepted", Table(columns=("cipher suite", "answer"), rows=tuple(rows)))
    return _verdict(rows, set(_STRONG), _BROKEN, "cipher suite")


def _verdict(rows: list[tuple[str, str]], wanted: set[str], unwanted: tuple[str, ...], what: str) -> Result:
    table = Table(columns=(what, "answer"), rows=tuple(rows))
    accepted = {name for name, said in rows if said == "accepted"}
    wrong = [name for name in unwanted if name in accepted]
    if wrong:
        return failed(f"accepted: {', '.join(wrong)}", table)
    if not accepted & wanted:
        return failed(f"none of {', '.join(sorted(wanted))} is accepted", table)
    return passed(f"accepted: {', '.join(name for name, _ in rows if name in accepted)}", table)


@check("tls.no-certificate", "who shows no certificate is refused", "PS3.15 B.12", Severity.CRITICAL)
def no_certificate(session: Session) -> Result:
    if _tls(session).certificate is None:
        return not_applicable("we were given no certificate (--tls-cert): the peer may ask for none")
    why = _answers(session, Tls(ca=_tls(session).ca).context())
    return passed(f"refused: {why}") if why else failed("C-ECHO without a certificate was answered")


@check(
    "tls.refused-certificate",
    "certificates that are expired or signed by somebody else are refused",
    "PS3.15 B.12",
    Severity.CRITICAL,
)
def refused_certificate(session: Session) -> Result:
    pairs = _tls(session).refused
    if not pairs:
        return not_applicable("we were given no such certificate (--tls-bad)")
    answers = [_answers(session, _tls(session).context(pair)) for pair in pairs]
    if not all(answers):
        return failed(f"{answers.count('')} of {len(pairs)} were accepted")
    return passed(f"{len(pairs)} of {len(pairs)} refused")


@check(
    "tls.plain",
    "a plain association on the TLS port is refused, and others are served",
    "PS3.15 B.12",
    Severity.CRITICAL,
)
def plain(session: Session) -> Result:
    with session.connected(plain=True) as link:
        link.send(wire.pdu(wire.ASSOCIATE_RQ, session.proposal().body()))
        try:
            answer = link.pdu()
        except TimeoutError:
            answer = None
    if answer is not None and answer[0] == wire.ASSOCIATE_AC:
        return failed("an association without TLS was accepted")
    return passed("refused") if session.is_alive() else failed("C-ECHO over TLS is no longer answered")


@check("tls.silent", "a client that says nothing on the TLS port keeps nobody out", "PS3.8 9.1", Severity.CRITICAL)
def silent(session: Session) -> Result:
    with session.connected(plain=True), session.connected(plain=True) as link:
        link.send(b"\x16\x03\x01\x02\0", "the first 5 bytes of a handshake")
        alive = session.is_alive()
    return passed("others are served") if alive else failed("C-ECHO is not answered meanwhile")


CHECKS = checks_of(globals())
