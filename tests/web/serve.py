"""Serves an application as the product serves its dashboard."""

import sys
from pathlib import Path

from plugin.dashboard.access import Access
from plugin.settings import load
from tests.web.target import application

if __name__ == "__main__":
    factory, config, port = sys.argv[1:]
    access = Access(load(Path(config)))
    access.serve(application(factory, Path(config)), host="127.0.0.1", port=int(port))
