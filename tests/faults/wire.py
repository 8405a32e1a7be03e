"""A peer that says what it likes: associations and messages byte by byte, over a raw socket."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_io.services import MR_IMAGE, VERIFICATION
from tests.receivers import Running, mr_instance

COMMAND, LAST = 1, 2
MR_CONTEXT, ECHO_CONTEXT = 1, 3
RELEASE_RQ = struct.pack(">BxLxxxx", 5, 4)


def item(kind: int, content: bytes) -> bytes:
    """Encode an item of an A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    return struct.pack(">BxH", kind, len(content)) + content


def context(number: int, abstract: str, *transfer: str) -> bytes:
    """Encode a presentation context."""
    syntaxes = b"".join(item(0x40, uid.encode()) for uid in transfer or (ExplicitVRLittleEndian,))
    return item(0x20, struct.pack(">BxBx", number, 0) + item(0x30, abstract.encode()) + syntaxes)


CONTEXTS = context(MR_CONTEXT, MR_IMAGE) + context(ECHO_CONTEXT, VERIFICATION)
USER = item(0x50, item(0x51, struct.pack(">L", 1 << 17)) + item(0x52, b"2.25.7"))
APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")


def request_body(
    contexts: bytes = CONTEXTS, *, calling: str = "SCANNER", called: str = "SGMRI", version: int = 1
) -> bytes:
    """Encode an A-ASSOCIATE-RQ without its first six bytes."""
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    return struct.pack(">Hxx", version) + titles + bytes(32) + APPLICATION + contexts + USER


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Encode a PDU, with a length that may lie."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def pdv(number: int, control: int, content: bytes, length: int | None = None) -> bytes:
    """Encode a presentation data value item, with a length that may lie."""
    return struct.pack(">LBB", len(content) + 2 if length is None else length, number, control) + content


def p_data(number: int, control: int, content: bytes) -> bytes:
    """Encode a P-DATA-TF of one item."""
    return pdu(4, pdv(number, control, content))


def command(**elements: int | str) -> bytes:
    """Encode a command set; names as in the tables of PS3.7."""
    tags = {
        "sop_class": 2,
        "field": 0x100,
        "message_id": 0x110,
        "priority": 0x700,
        "data_set": 0x800,
        "instance": 0x1000,
        "event_type": 0x1002,
    }
    encoded = b""
    for name, value in elements.items():
        content = struct.pack("<H", value) if isinstance(value, int) else value.encode()
        content += bytes(len(content) % 2)
        encoded += struct.pack("<HHL", 0, tags[name], len(content)) + content
    return struct.pack("<HHLL", 0, 0, 4, len(encoded)) + encoded


def c_store(instance: str = "2.25.101", *, message_id: int = 1, sop_class: str = MR_IMAGE, data_set: int = 0) -> bytes:
    """Encode the P-DATA-TF of a C-STORE-RQ's command."""
    return p_data(
        MR_CONTEXT,
        COMMAND | LAST,
        command(sop_class=sop_class, field=1, message_id=message_id, priority=0, data_set=data_set, instance=instance),
    )


def data_set(dataset: Dataset | None = None, *, pixel_bytes: int = 1000) -> bytes:
    """Encode an MR instance's data set, Explicit VR Little Endian."""
    dataset = mr_instance() if dataset is None else dataset
    if pixel_bytes:
        dataset.BitsAllocated = 16
        dataset.PixelData = b"\1" * pixel_bytes
        dataset["PixelData"].VR = "OW"
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset)
    encoded: bytes = stream.getvalue()
    return encoded


def data(content: bytes, *, last: bool = True) -> bytes:
    """Encode data set content as P-DATA-TF PDUs of at most 64 KiB."""
    pieces = [content[place : place + 65_000] for place in range(0, len(content), 65_000)] or [b""]
    return b"".join(
        p_data(MR_CONTEXT, LAST if last and number == len(pieces) else 0, piece)
        for number, piece in enumerate(pieces, start=1)
    )


class Peer:
    """A connection to a receiver.

    Parameters
    ----------
    stream
        The socket.
    """

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream

    def send(self, content: bytes) -> None:
        """Send bytes; what the receiver no longer takes is nobody's loss."""
        try:
            self.stream.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            return

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            try:
                piece = self.stream.recv(count - len(received))
            except ConnectionResetError:
                return b""
            if not piece:
                return b""
            received += piece
        return received

    def pdu(self) -> tuple[int, bytes] | None:
        """Return type and body of the next PDU; None when the receiver has closed the connection."""
        head = self._exactly(6)
        if not head:
            return None
        kind, length = struct.unpack(">BxL", head)
        return kind, self._exactly(length)

    def associate(self, body: bytes | None = None) -> tuple[int, bytes] | None:
        """Ask for an association; return the answer."""
        self.send(pdu(1, request_body() if body is None else body))
        return self.pdu()

    def status(self) -> int | None:
        """Return the status of the next response; None for an A-ABORT or a closed connection."""
        answer = self.pdu()
        if answer is None or answer[0] == 7:
            return None
        kind, body = answer
        assert kind == 4, f"expected a response, found a PDU of type {kind}"
        encoded = body[6:]
        place = encoded.index(struct.pack("<HHL", 0, 0x900, 2))
        return int(struct.unpack_from("<H", encoded, place + 8)[0])

    def store(self, content: bytes, instance: str = "2.25.101") -> int | None:
        """Send an encoded data set with C-STORE; return the status."""
        self.send(c_store(instance) + data(content))
        return self.status()


@contextmanager
def calling(place: Running, *, timeout_s: float = 20.0) -> Iterator[Peer]:
    """Connect to a receiver."""
    with socket.create_connection(("127.0.0.1", place.scp.port), timeout=timeout_s) as stream:
        yield Peer(stream)


@contextmanager
def associated(place: Running, *, timeout_s: float = 20.0) -> Iterator[Peer]:
    """Connect and open an association."""
    with calling(place, timeout_s=timeout_s) as peer:
        answer = peer.associate()
        assert answer is not None
        assert answer[0] == 2, f"expected A-ASSOCIATE-AC, found a PDU of type {answer[0]}"
        yield peer
