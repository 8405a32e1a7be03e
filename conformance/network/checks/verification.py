"""C-ECHO, as everybody has to answer it (PS3.4 Annex A)."""

from conformance.network.messages import echo_rq
from conformance.network.session import ECHO, UNCOMPRESSED, Session, check, checks_of
from conformance.report import Result, Severity, failed, passed
from dicom_io.services import VERIFICATION


@check(
    "verification.echo",
    "C-ECHO is answered with success, by a response that belongs to it",
    "PS3.4 A.4, PS3.7 9.3.5",
    Severity.CRITICAL,
)
def echo(session: Session) -> Result:
    with session.associated(ECHO) as association:
        status = association.echo().status
    return passed("status 0x0000") if status == 0 else failed(f"status 0x{status:04X}")


@check("verification.repeated", "each C-ECHO on an association is answered under its own message id", "PS3.7 9.3.5.2")
def repeated(session: Session) -> Result:
    with session.associated(ECHO) as association:
        number = association.context(VERIFICATION)
        for message_id in (1, 65535, 256, 2, 0x0101):
            if association.request(number, echo_rq(message_id=message_id)).status:
                return failed(f"message id {message_id} was not answered with success")
    return passed("5 message ids, the largest 65535")


@check(
    "verification.default-transfer-syntax",
    "C-ECHO works in Implicit VR Little Endian, the default transfer syntax",
    "PS3.5 10.1",
)
def default_transfer_syntax(session: Session) -> Result:
    with session.associated([(VERIFICATION, UNCOMPRESSED[1:])]) as association:
        status = association.echo().status
    return passed("accepted and answered") if status == 0 else failed(f"status 0x{status:04X}")


CHECKS = checks_of(globals())
