"""Serves the viewer's files, and a PACS's DICOMweb below the same origin.

Same origin is a must: Orthanc sends no CORS headers. Only reading goes through (QIDO-RS and WADO-RS, PS3.18), and only
the study service: nothing that the browser sends can store, delete, or reach another page of the PACS.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import urlencode

import httpx
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DICOMWEB: Final = "/dicom-web"
_RESOURCE = re.compile(r"studies(/[A-Za-z0-9][A-Za-z0-9.,-]*)*")
"""Paths of the study service (PS3.18 10.1): UIDs, words and frame lists; no segment can lead upwards."""
_TIMEOUT_S = 120.0
_KEPT = ("content-type", "content-length", "content-encoding")

_HEADERS: Final = {
    # SharedArrayBuffer, which OHIF's volumes use, exists only in a page that is isolated from other origins
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A page with patients' images talks to nobody but this server
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_VIEWER_MODE: Final = {
    # The panel is open from the start: opened later, OHIF resizes a viewport that it has just given up, and says that
    # something went wrong. It shows the segments, and once there are measurements, these with our labels
    "routes": {"0": {"layoutInstance": {"props": {"rightPanelClosed": {"$set": False}}}}},
    "activatePanelTriggers": {
        "$set": [
            {
                "panelId": "@ohif/extension-measurement-tracking.panelModule.trackedMeasurements",
                "sourceServiceName": "measurementService",
                "sourceEvents": ["MEASUREMENT_ADDED", "RAW_MEASUREMENT_ADDED"],
            }
        ]
    },
}

APP_CONFIG: Final[Mapping[str, object]] = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    # A result opens with its boxes or its overlay at once, without a question
    "disableConfirmationPrompts": True,
    "measurementTrackingMode": "simplified",
    "customizationService": [{"ohif.tours": {"$set": []}}],
    "modesConfiguration": {"@ohif/mode-longitudinal": _VIEWER_MODE},
    "maxNumberOfWebWorkers": 2,
    "showWarningMessageForCrossOrigin": False,
    "defaultDataSourceName": "pacs",
    "dataSources": [
        {
            "sourceName": "pacs",
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "configuration": {
                "name": "pacs",
                "friendlyName": "PACS",
                "qidoRoot": _DICOMWEB,
                "wadoRoot": _DICOMWEB,
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
            },
        }
    ],
}
"""The viewer's configuration, as its ``window.config``."""


def deep_link(base_url: str, study_instance_uid: str, series_instance_uid: str) -> str:
    """Return the address at which the viewer opens one series of a study at once."""
    query = urlencode({"StudyInstanceUIDs": study_instance_uid, "initialSeriesInstanceUID": series_instance_uid})
    return f"{base_url}/viewer?{query}"


def create_app(dist: Path, dicomweb_url: str) -> Starlette:
    """Make the web application.

    Parameters
    ----------
    dist
        The viewer's files, of :func:`plugin.viewer.ohif.fetch`.
    dicomweb_url
        Root of the PACS's DICOMweb, without a slash at its end.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # The PACS is a neighbour: no proxy of the environment lies between. A connection that is kept would now and
        # then be closed by the PACS just when the next request is on its way
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, limits=limits, trust_env=False) as client:
            app.state.client = client
            yield

    async def from_pacs(request: Request) -> Response:
        return await _forward(request, f"{dicomweb_url}/{_resource(request)}")

    # OHIF calls the handler of a failed image without asking whether there is one
    config = f"window.config = {json.dumps(APP_CONFIG)};\nwindow.config.httpErrorHandler = (e) => console.warn(e);\n"
    return Starlette(
        routes=[
            Route("/app-config.js", lambda request: Response(config, media_type="text/javascript")),
            Route(f"{_DICOMWEB}/{{resource:path}}", from_pacs, methods=["GET"]),
            Mount("/", _SinglePage(directory=dist)),
        ],
        middleware=[
            Middleware(_WithHeaders),
            # Against pages of other names that resolve to this machine
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        ],
        lifespan=lifespan,
    )


def _resource(request: Request) -> str:
    resource: str = request.path_params["resource"]
    if not _RESOURCE.fullmatch(resource):
        raise HTTPException(404)
    return resource


async def _forward(request: Request, url: str) -> Response:
    client: httpx.AsyncClient = request.app.state.client
    # Orthanc builds the addresses of bulk data from the host that was asked
    headers = {"host": request.headers["host"], "accept": request.headers.get("accept", "*/*")}
    target = httpx.URL(url, query=request.scope["query_string"])
    try:
        answer = await client.send(client.build_request("GET", target, headers=headers), stream=True)
    except httpx.TransportError as error:
        return PlainTextResponse(
            f"expected the PACS's DICOMweb to answer, found {type(error).__name__}; is it running?", status_code=502
        )
    kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
    return StreamingResponse(_chunks(answer), status_code=answer.status_code, headers=kept)


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


class _SinglePage(StaticFiles):
    """Static files; every other path without an extension is a page that the viewer's own router knows."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if not PurePath(path).suffix:
            path = "index.html"
        return await super().get_response(path, scope)


class _WithHeaders:
    """Adds our headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
