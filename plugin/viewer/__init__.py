"""A viewer for the results: a prebuilt OHIF in front of a PACS's DICOMweb, for the demo and for the browser tests."""

import importlib.util

from sgmri.errors import ConfigError


def require_libraries() -> None:
    """Raise where the viewer's libraries, an extra, are not installed.

    Raises
    ------
    ConfigError
        Naming what is missing.
    """
    missing = [name for name in ("starlette", "uvicorn", "httpx") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"expected {', '.join(missing)} for the viewer, found none; run: pip install 'sgmri[view]'")
