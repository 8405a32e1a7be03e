"""Set up the log lines of a process: ours in full, the libraries' only where they cannot quote a header value."""

import logging
import sys
import warnings

from sgmri.logs import JsonFormatter, TextFormatter, add_series_key
from sgmri.settings import Log

_SILENT = ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "urllib3")
"""These quote AE titles, UIDs, header values and whole data sets: their lines never leave the process (ADR 0009)."""


def set_up(settings: Log) -> None:
    """Send log lines to standard error in the configured form; replaces what was there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    handler.addFilter(add_series_key)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for name in _SILENT:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
    # these name letters of what is written
    for name in ("fpdf", "fontTools", "pypdf"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # names every address that is called, and a webhook's may hold a key
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("celery").setLevel(logging.WARNING)
    logging.getLogger("kombu").setLevel(logging.WARNING)
    # pydicom's warnings quote values
    warnings.filterwarnings("ignore", module="pydicom|pynetdicom|highdicom")
