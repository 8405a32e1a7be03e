"""The PDU stream of one association: framing, limits and deadlines over one ring of fixed size.

References
----------
PS3.8 9.3 (PDU structures), 9.2 (ARTIM timer), Annex E (message control header)
"""

import socket
import ssl
import struct
import time
from typing import NamedTuple

from sgmri.errors import ProtocolViolation

_RING_BYTES = 1 << 18
MAX_REQUEST_BYTES = 1 << 20
_SLACK_BYTES = 64  # some senders count the PDU's header into the length that we offer
_HEADER = struct.Struct(">BxL")
_PDV = struct.Struct(">LBB")
_ASSOCIATE_RQ, _P_DATA, _RELEASE_RQ, _ABORT = 1, 4, 5, 7
_MAX_TYPE = 7
_TIMEVAL = struct.Struct("@ll")
_GRACE_S = 0.25
_NOT_ARMED = float("-inf")
_COMMAND, _LAST = 1, 2  # PS3.8 Annex E.2

RELEASE_RP = struct.pack(">BxLxxxx", 6, 4)


def reject(result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
    return struct.pack(">BxLxBBB", 3, 4, result, source, reason)


def abort(source: int, reason: int) -> bytes:
    """Encode an A-ABORT PDU (PS3.8 9.3.8)."""
    return struct.pack(">BxLxxBB", _ABORT, 4, source, reason)


def command_pdus(context_id: int, command: bytes, max_pdu_bytes: int) -> bytes:
    """Encode a whole command set as P-DATA-TF PDUs of what the peer takes, 0 for any length (PS3.8 9.3.5, D.1)."""
    size = max(2, (max_pdu_bytes - _PDV.size) // 2 * 2) if max_pdu_bytes else len(command)
    encoded = b""
    for place in range(0, len(command), size):
        piece = command[place : place + size]
        control = _COMMAND | (_LAST if place + size >= len(command) else 0)
        encoded += _HEADER.pack(_P_DATA, len(piece) + 6) + _PDV.pack(len(piece) + 2, context_id, control) + piece
    return encoded


def wait_at_most(connection: socket.socket, option: int, seconds: float) -> None:
    """Let receiving (SO_RCVTIMEO) or sending (SO_SNDTIMEO) wait no longer; it raises OSError then.

    A timeout of Python's would cost a call of poll and two turns of the interpreter's lock for every other call; only
    the secure layer cannot do without.
    """
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)
        return
    connection.settimeout(None)
    microseconds = max(1, int(seconds * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(microseconds // 1_000_000, microseconds % 1_000_000))


class Chunk(NamedTuple):
    """A piece of a command set or data set.

    Parameters
    ----------
    context_id
        Presentation context.
    is_command
        Whether it belongs to a command set.
    ends
        Whether it is the last piece.
    content
        Its bytes, within the ring: valid until the next piece is asked for.
    """

    context_id: int
    is_command: bool
    ends: bool
    content: memoryview


class PduStream:
    """What a peer sends, piece by piece.

    Parameters
    ----------
    connection
        The transport connection.
    max_pdu_bytes
        The largest PDU that we offer to receive.
    timeout_s
        How long may pass without traffic, and within one PDU.
    """

    def __init__(self, connection: socket.socket, *, max_pdu_bytes: int, timeout_s: float) -> None:
        self._connection = connection
        self._max_pdu_bytes = max_pdu_bytes
        self._timeout_s = timeout_s
        self._ring = memoryview(bytearray(_RING_BYTES))
        self._low = self._high = 0  # what lies there and is not yet taken
        self._pdu_left = self._pdv_left = 0
        self._context_id = self._control = 0
        self._expires_at = self._ends_at = 0.0
        self._armed_s = _NOT_ARMED

    def request(self, timeout_s: float) -> bytes:
        """Return the body of the A-ASSOCIATE-RQ, which must be whole within this time.

        Raises
        ------
        ProtocolViolation
            If something else comes first, or it is longer than 1 MB.
        OSError
            If the peer is silent or gone.
        """
        self._expires_at = self._ends_at = time.monotonic() + timeout_s
        self._need(_HEADER.size)
        kind, length = self._take_header()
        if kind != _ASSOCIATE_RQ:
            raise ProtocolViolation("expected A-ASSOCIATE-RQ as the first PDU", reason=2 if kind <= _MAX_TYPE else 1)
        if length > MAX_REQUEST_BYTES:
            raise ProtocolViolation(f"expected an A-ASSOCIATE-RQ of at most {MAX_REQUEST_BYTES} bytes")
        body = bytearray()
        while len(body) < length:
            self._need(1)
            count = min(self._high - self._low, length - len(body))
            body += self._ring[self._low : self._low + count]
            self._low += count
        return bytes(body)

    def end_at(self, moment: float) -> None:
        """Let the whole association end at this moment of the monotonic clock, in seconds."""
        self._ends_at = moment

    def chunk(self) -> Chunk | None:
        """Return the next piece; None when the peer asks for release.

        Raises
        ------
        ProtocolViolation
            If the PDU may not come here, is too long, or its items do not fit into it.
        OSError
            If the peer is silent, too slow, or gone.
        """
        if not self._pdv_left and not self._next_pdv():
            return None
        if self._pdv_left:
            self._need(1)
        count = min(self._high - self._low, self._pdv_left)
        content = self._ring[self._low : self._low + count]
        self._low += count
        self._pdv_left -= count
        ends = not self._pdv_left and bool(self._control & _LAST)
        return Chunk(self._context_id, bool(self._control & _COMMAND), ends, content)

    def _next_pdv(self) -> bool:
        if not self._pdu_left and not self._next_pdu():
            return False
        if self._pdu_left < _PDV.size:
            raise ProtocolViolation("expected a presentation data value item, found the end of its PDU")
        self._need(_PDV.size)
        length, self._context_id, self._control = _PDV.unpack_from(self._ring, self._low)
        self._low += _PDV.size
        if not 2 <= length <= self._pdu_left - 4:
            raise ProtocolViolation("expected a presentation data value that fits into its PDU")
        self._pdu_left -= 4 + length
        self._pdv_left = length - 2
        return True

    def _next_pdu(self) -> bool:
        self._expires_at = time.monotonic() + self._timeout_s
        self._need(_HEADER.size)
        self._expires_at = time.monotonic() + self._timeout_s
        kind, length = self._take_header()
        if kind == _RELEASE_RQ:
            return False
        if kind == _ABORT:
            raise ConnectionAbortedError("the peer aborted the association")
        if kind != _P_DATA:
            raise ProtocolViolation("expected P-DATA-TF", reason=2 if 0 < kind <= _MAX_TYPE else 1)
        if not _PDV.size <= length <= self._max_pdu_bytes + _SLACK_BYTES:
            raise ProtocolViolation(f"expected a P-DATA-TF of 6 to {self._max_pdu_bytes} bytes")
        self._pdu_left = length
        return True

    def _take_header(self) -> tuple[int, int]:
        kind, length = _HEADER.unpack_from(self._ring, self._low)
        self._low += _HEADER.size
        return kind, length

    def _need(self, count: int) -> None:
        while self._high - self._low < count:
            self._receive()

    def _receive(self) -> None:
        if self._low == self._high:
            self._low = self._high = 0
        elif self._high > _RING_BYTES // 2:
            rest = self._high - self._low
            self._ring[:rest] = self._ring[self._low : self._high]
            self._low, self._high = 0, rest
        count = self._receive_into(self._ring[self._high :])
        if not count:
            raise ConnectionResetError("the peer closed the connection")
        self._high += count

    def _receive_into(self, room: memoryview) -> int:
        while True:
            left_s = min(self._expires_at, self._ends_at) - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the peer is too slow")
            # Set anew only where it would come too late, or far too early: not for every piece
            if not left_s - _GRACE_S < self._armed_s < left_s + _GRACE_S:
                self._armed_s = left_s
                wait_at_most(self._connection, socket.SO_RCVTIMEO, left_s)
            try:
                return self._connection.recv_into(room)
            except (BlockingIOError, TimeoutError):
                self._armed_s = _NOT_ARMED  # it came too early: look at the clock
