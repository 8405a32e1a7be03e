"""Run the command line with ``python -m plugin.cli``."""

import sys

from plugin.cli.main import main

sys.exit(main())
