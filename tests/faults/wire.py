"""A peer that says what it likes to a receiver of ours: the encoders of the network suite, with what tests send."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from conformance.network import wire
from conformance.network.link import Wire
from conformance.network.messages import command
from conformance.network.samples import encoded
from conformance.network.wire import COMMAND, LAST, RELEASE_RQ, context, p_data, pdu, pdv
from dicom_io.services import MR_IMAGE, VERIFICATION
from tests.receivers import Running, mr_instance

__all__ = ["COMMAND", "LAST", "RELEASE_RQ", "command", "context", "p_data", "pdu", "pdv"]

MR_CONTEXT, ECHO_CONTEXT = 1, 3
CONTEXTS = context(MR_CONTEXT, MR_IMAGE) + context(ECHO_CONTEXT, VERIFICATION)


def request_body(
    contexts: bytes = CONTEXTS, *, calling: str = "SCANNER", called: str = "SGMRI", version: int = 1
) -> bytes:
    """Encode an A-ASSOCIATE-RQ without its first six bytes."""
    return wire.request_body(contexts, calling=calling, called=called, version=version)


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
    return encoded(dataset, ExplicitVRLittleEndian)


def data(content: bytes, *, last: bool = True) -> bytes:
    """Encode data set content as P-DATA-TF PDUs of at most 64 KiB."""
    pieces = [content[place : place + 65_000] for place in range(0, len(content), 65_000)] or [b""]
    return b"".join(
        p_data(MR_CONTEXT, LAST if last and number == len(pieces) else 0, piece)
        for number, piece in enumerate(pieces, start=1)
    )


class Peer(Wire):
    """A connection to a receiver."""

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
        encoded_command = body[6:]
        place = encoded_command.index(struct.pack("<HHL", 0, 0x900, 2))
        return int(struct.unpack_from("<H", encoded_command, place + 8)[0])

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
