"""The HTTP endpoint for monitoring: ``/metrics``, ``/health``, ``/ready`` and ``/ready/receive``.

Python's own server, for it answers a few GETs a minute and no browser; it asks for no password and says nothing of a
patient. ``/health`` says whether this process must be started anew, ``/ready`` whether the whole chain works, and
``/ready/receive`` whether instances can be received: the one for a load balancer in front of the DICOM port.
"""

import json
import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from plugin.readiness import RECEIVING, Part, Standing
from sgmri.errors import ConfigError

_log = logging.getLogger(__name__)


class Monitor:
    """The server.

    Parameters
    ----------
    address
        Host and TCP port.
    registry
        Where the metrics are.
    is_alive
        Whether the process does its work.
    parts
        Returns how some parts stand.

    Raises
    ------
    ConfigError
        If the address cannot be used.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        registry: CollectorRegistry,
        is_alive: Callable[[], bool],
        parts: Callable[[frozenset[Part]], tuple[Standing, ...]],
    ) -> None:
        self._registry = registry
        self._is_alive = is_alive
        self._parts = parts
        monitor = self

        class Handler(_Handler):
            def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
                return monitor.answer(path, self.headers.get("Accept", ""))

        try:
            self._server = (_Server6 if ":" in address[0] else _Server)(address, Handler)
        except OSError as error:
            raise ConfigError(
                f"metrics: expected a free address, found {address[0]}:{address[1]}, which cannot be listened on "
                f"({error.strerror}); choose another metrics.port, or stop what uses it"
            ) from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True)

    def start(self) -> None:
        """Serve in threads."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body for a path."""
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return HTTPStatus.OK, content_type, encode(self._registry)
        if path == "/health":
            is_alive = self._is_alive()
            return _json(is_alive, {"alive": is_alive})
        if path in ("/ready", "/ready/receive"):
            parts = self._parts(frozenset(Part) if path == "/ready" else RECEIVING)
            is_ready = all(one.is_ready for one in parts)
            return _json(is_ready, {"ready": is_ready, "parts": [_mapping(one) for one in parts]})
        return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /health, /ready or /ready/receive\n"


def _json(is_good: bool, document: dict[str, object]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(document).encode() + b"\n"


def _mapping(one: Standing) -> dict[str, object]:
    name = {"name": one.name} if one.name else {}
    return {"part": one.part.value, **name, "ready": one.is_ready, "text": one.text}


class _Server(ThreadingTCPServer):
    # not HTTPServer: it asks the name server for our name when it starts
    allow_reuse_address = True
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0  # of a connection that says nothing, in seconds
    server_version, sys_version = "sgmri", ""

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        raise NotImplementedError

    def do_GET(self) -> None:
        try:
            status, content_type, body = self.answer(self.path.partition("?")[0])
        except Exception as error:  # noqa: BLE001 - border: a bug here must not look like a process that hangs
            _log.error("the monitoring endpoint failed by a bug", exc_info=error)
            status, content_type, body = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"see the listener's log\n"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep requests out of the log: they come every few seconds."""
