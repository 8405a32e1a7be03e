"""Say what pip-audit found: 0 nothing, 1 vulnerabilities, 3 nothing could be asked."""

import json
import sys
from pathlib import Path


def main() -> int:
    report, errors, status = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    try:
        found = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
    except (ValueError, KeyError):
        last = (errors.read_text(encoding="utf-8").strip() or f"pip-audit ended with {status}").splitlines()[-1]
        print(f"the advisories cannot be reached from here: {last[:200]}")
        return 3
    audited = [one for one in found if "vulns" in one]
    for one in audited:
        for advisory in one["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "none yet"
            print(f"{one['name']} {one['version']}: {advisory['id']}; fixed in {fixed}")
    vulnerable = sum(bool(one["vulns"]) for one in audited)
    skipped = len(found) - len(audited)
    print(
        f"{len(audited)} packages audited, {vulnerable} with known vulnerabilities, {skipped} not known to the service"
    )
    if vulnerable:
        return 1
    if skipped > len(audited):
        print("most packages are not known there: the service does not answer for what is installed; nothing is proved")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
