"""A connection that says what it likes, and writes down what was sent and answered."""

import socket
import time
from collections import deque

from conformance.network import wire
from sgmri.errors import ProtocolViolation

_MOST_BYTES = 1 << 28
"""A longer PDU is not read: what a peer announces is no reason to give it our memory."""
NAMES = {
    wire.ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    wire.ASSOCIATE_AC: "A-ASSOCIATE-AC",
    wire.ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    wire.P_DATA: "P-DATA-TF",
    wire.RELEASE: "A-RELEASE-RQ",
    wire.RELEASED: "A-RELEASE-RP",
    wire.ABORT: "A-ABORT",
}
"""PDU types and their names (PS3.8 9.3.1)."""


class Trace:
    """What was sent and answered, with the times since the check began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines: deque[str] = deque(maxlen=200)

    def add(self, line: str) -> None:
        """Write a line down; of many, the last 200 are kept."""
        self._lines.append(f"{time.monotonic() - self._began:8.3f} s  {line}")

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines so far."""
        return tuple(self._lines)


class Wire:
    """A connection, PDU by PDU.

    Parameters
    ----------
    stream
        The socket; its timeout is the limit for each PDU's next bytes.
    trace
        Where to write down what goes over it.
    """

    def __init__(self, stream: socket.socket, trace: Trace | None = None) -> None:
        self.stream = stream
        self.trace = trace or Trace()

    def send(self, content: bytes, what: str = "") -> None:
        """Send bytes; what the peer no longer takes is nobody's loss: its answer says why."""
        self.trace.add(f"> {what or named(content)}")
        try:
            self.stream.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            self.trace.add("  the peer no longer takes it")

    def pdu(self) -> tuple[int, bytes] | None:
        """Return type and body of the next PDU; None when the peer has closed the connection.

        Raises
        ------
        TimeoutError
            If nothing comes in time.
        ProtocolViolation
            If it announces more than 256 MiB.
        """
        head = self._exactly(6)
        if len(head) < 6:
            self.trace.add("< connection closed")
            return None
        length = int.from_bytes(head[2:], "big")
        if length > _MOST_BYTES:
            raise ProtocolViolation(f"expected a PDU of bounded length, found one that announces {length} bytes")
        body = self._exactly(length)
        self.trace.add(f"< {named(head + body)}")
        return head[0], body

    def _exactly(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            try:
                piece = self.stream.recv(min(count - len(received), 1 << 20))
            except ConnectionResetError:
                return b""
            except TimeoutError:
                self.trace.add("  nothing more came in time")
                raise
            if not piece:
                return b""
            received += piece
        return bytes(received)


def named(encoded: bytes) -> str:
    """Name a PDU for the evidence."""
    kind, length = encoded[0] if encoded else -1, len(encoded) - 6
    if kind not in NAMES or length < 0:
        return f"{len(encoded)} bytes"
    if kind == wire.ASSOCIATE_RJ and length == 4:
        return f"A-ASSOCIATE-RJ {encoded[7]}/{encoded[8]}/{encoded[9]}"
    if kind == wire.ABORT and length == 4:
        return f"A-ABORT {encoded[8]}/{encoded[9]}"
    return f"{NAMES[kind]}, {length} bytes"
