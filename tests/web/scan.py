"""Holds a running dashboard against known attacks, and prints a table: ``python -m tests.web.scan [MODULE:FUNCTION]``.

The function takes the settings and returns the application, whose every route is tried.
"""

import sys
import tempfile
from pathlib import Path

from tests.web.attacks import CHECKS, found_by
from tests.web.target import running

DEFAULT = "tests.web.dashboard:create_app"


def main() -> int:
    """Return 1 where something was found."""
    failed = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        running(sys.argv[1] if len(sys.argv) > 1 else DEFAULT, Path(directory)) as target,
    ):
        print(f"{len(target.places)} routes")
        print(f"{'check':<20}{'requests':>9}  result")
        for check in CHECKS:
            before = target.requests
            found = found_by(check, target)
            failed += bool(found)
            print(f"{check.__name__:<20}{target.requests - before:>9}  {'FOUND' if found else 'passed'}", flush=True)
            for line in dict.fromkeys(found):
                print(f"{'':<31}{line}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed, {target.requests} requests")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
