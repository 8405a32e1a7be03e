"""pynetdicom's server over TLS, with each handshake in its connection's thread.

pynetdicom shakes hands in the thread that accepts: one silent client would keep everybody out.
"""

import socket
import ssl
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

from dicom_io.callers import shake_hands
from dicom_io.tls import Renewed, secured
from sgmri.audit import Auditor


class SecureAssociationServer(ThreadedAssociationServer):
    """A server whose connections are secure.

    Parameters
    ----------
    tls
        The context of connections to come.
    handshake_timeout_s
        Limit of a whole handshake.
    audit
        Who remembers whose handshake failed.
    """

    def __init__(
        self,
        *arguments: Any,
        tls: Renewed,
        handshake_timeout_s: float,
        audit: Auditor,
        **options: Any,
    ) -> None:
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s
        self._audit = audit
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, of which nothing is read or sent yet."""
        connection, address = super().get_request()
        return secured(connection, self._tls), address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, then serve the association."""
        assert isinstance(request, ssl.SSLSocket)
        address = str(client_address[0])
        if shake_hands(request, address, timeout_s=self._handshake_timeout_s, audit=self._audit):
            request.settimeout(None)  # as pynetdicom expects it
            super().process_request_thread(request, client_address)
        else:
            self.shutdown_request(request)
