"""pynetdicom's server over TLS, with each handshake in its connection's thread.

pynetdicom shakes hands in the thread that accepts: one silent client would keep everybody out.
"""

import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

from dicom_io.tls import Renewed, is_refusal, reason, secured

_log = logging.getLogger(__name__)


class SecureAssociationServer(ThreadedAssociationServer):
    """A server whose connections are secure.

    Parameters
    ----------
    tls
        The context of connections to come.
    handshake_timeout_s
        Limit of a whole handshake.
    refused
        Called with the address of a client whose handshake failed, and why.
    """

    def __init__(
        self,
        *arguments: Any,
        tls: Renewed,
        handshake_timeout_s: float,
        refused: Callable[[str, str], None],
        **options: Any,
    ) -> None:
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s
        self._refused = refused
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, of which nothing is read or sent yet."""
        connection, address = super().get_request()
        return secured(connection, self._tls), address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, then serve the association."""
        assert isinstance(request, ssl.SSLSocket)
        request.settimeout(self._handshake_timeout_s)
        try:
            request.do_handshake()
        except OSError as error:
            if is_refusal(error):
                self._refused(str(client_address[0]), reason(error))
            else:
                _log.warning("secure connection from %s ended: it was silent, too slow, or gone", client_address[0])
        else:
            request.settimeout(None)  # as pynetdicom expects it
            super().process_request_thread(request, client_address)
            return
        self.shutdown_request(request)
