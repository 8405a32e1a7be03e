"""``sgmri viewer``: show what a PACS holds, results included, in a prebuilt OHIF."""

import argparse
from typing import Any

from plugin.viewer import require_libraries
from sgmri.errors import ConfigError


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("viewer", help="serve the OHIF viewer in front of a PACS's DICOMweb, until Ctrl-C")
    parser.add_argument(
        "--dicomweb", default="http://127.0.0.1:8042/dicom-web", metavar="URL", help="default: %(default)s"
    )
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="default: this machine alone")
    parser.add_argument("--fetch-only", action="store_true", help="fetch the viewer's files and end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fetch the viewer where it is not there yet, and serve it."""
    require_libraries()
    import uvicorn  # an extra of its own, like those of the two modules below

    from plugin.viewer import ohif, web

    dist = ohif.fetch(lambda line: print(line, flush=True))
    if arguments.fetch_only:
        print(f"OHIF {ohif.VERSION}: {dist}")
        return 0
    if not arguments.dicomweb.startswith(("http://", "https://")):
        raise ConfigError("--dicomweb: expected http(s)://host:port/path, found another; copy it from the PACS")
    print(f"OHIF {ohif.VERSION} on http://127.0.0.1:{arguments.port}/ until Ctrl-C", flush=True)
    # No access log: the addresses hold UIDs
    uvicorn.run(
        web.create_app(dist, arguments.dicomweb.rstrip("/")),
        host=arguments.bind,
        port=arguments.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    return 0
