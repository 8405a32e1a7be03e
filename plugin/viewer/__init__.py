"""A viewer for the results: a prebuilt OHIF in front of a PACS's DICOMweb, for the demo and for the browser tests."""

from plugin import extras


def require_libraries() -> None:
    """Raise :class:`sgmri.errors.ConfigError` where the viewer's libraries, an extra, are not installed."""
    extras.require(("starlette", "uvicorn", "httpx"), purpose="viewer", extra="view")
