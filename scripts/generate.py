"""Write the generated parts of README.md and docs/ from the program itself, or check that they are fresh.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- /generated -->``, where NAME is settings,
services, object-checks, cli or modules; docs/settings.md, docs/series-matrix.md, docs/viewer-rules.md and
docs/conformance-statement.md are generated as a whole.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from conformance.objects.checking import CHECKS
from dicom_io.kinds import ResultKind
from dicom_io.profiles import KINDS
from dicom_io.viewer_rules import RULES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sgmri", "dicom_io", "worker", "conformance", "benchmark", "plugin")
WITH_BLOCKS = ("README.md", "docs/architecture.md", "docs/conformance-objects.md")
BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


@cache
def sgmri(*arguments: str) -> str:
    """Return what the installed command prints."""
    command = [str(Path(sys.executable).with_name("sgmri")), *arguments]
    # argparse wraps at the terminal's width and colours its help from Python 3.14 on
    plain = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    completed = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    if completed.returncode:
        sys.exit(f"{' '.join(['sgmri', *arguments])} ended with {completed.returncode}: {completed.stderr.strip()}")
    return completed.stdout.strip() + "\n"


def modules() -> str:
    """Return every module with the first sentence of its docstring, package by package, as Markdown."""
    lines = []
    for package in PACKAGES:
        lines += [f"**{package}**: {_first_sentence(ROOT / package / '__init__.py')}", ""]
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.name.startswith("__"):
                name = path.relative_to(ROOT / package).with_suffix("").as_posix()
                lines.append(f"- `{name}`: {_first_sentence(path)}")
        lines += [""] if lines[-1] else []
    return "\n".join(lines)


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        sys.exit(f"{path.relative_to(ROOT)} has no docstring")
    # One sentence may run over several lines; the code marks of reStructuredText are Markdown's but for their number
    return " ".join(docstring.partition("\n\n")[0].split()).replace("``", "`")


def series_matrix() -> str:
    """Return the table of real series that the tests compare with what the product says, as Markdown."""
    table = ROOT / "tests" / "dicom_io" / "series_matrix.toml"
    rows = tomllib.loads(table.read_text(encoding="utf-8"))["row"]
    taken = sum(row["result"] == "taken" for row in rows)
    lines = [
        "# What real series are taken for",
        "",
        f"{len(rows)} kinds of real files, of seven vendors and several archives, classic and Enhanced, sound and",
        f"damaged: {taken} are taken, {len(rows) - taken} are left. The table says what each *is*, from where it comes",
        "and from its headers; `tests/dicom_io/test_matrix.py` holds the product against it. The files are not part of",
        "the project.",
        "",
        "| series | anatomy | plane | weighting | fat suppressed | contrast agent | result | frames read | why |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        keys = ("what", "anatomy", "plane", "weighting", "fat", "agent", "result", "frames")
        cells = [str(row.get(key, "-")) for key in keys]
        lines.append(f"| {' | '.join([*cells, row['truth']])} |")
    return "\n".join(lines) + "\n"


def security_tls() -> str:
    """Return what is accepted and refused over TLS, which the tests hold against the product, as Markdown."""
    rows = tomllib.loads((ROOT / "tests" / "dicom_io" / "tls_table.toml").read_text(encoding="utf-8"))
    suites = rows["suites"]
    lines = [
        "# Secure connections: what is accepted, and what is refused",
        "",
        "Both profiles of PS3.15 that are not retired: `bcp195` (B.12, BCP 195 RFC 8996, 9325 TLS) and",
        "`bcp195-modified` (B.13). B.9 to B.11 are retired; who is configured for them connects all the same,",
        "since they share suites with B.12. [Operations](operations.md) says how it is configured, [ADR",
        "0025](adr/0025-tls.md) why so.",
        "",
        "Each row is tried by `tests/dicom_io/test_tls_table.py`: callers with `openssl s_client`, which",
        "sends an A-ASSOCIATE-RQ, destinations with pynetdicom's server.",
        "",
        "## Versions and cipher suites",
        "",
        "| offered | listener | the client is told |",
        "|---|---|---|",
    ]
    lines += [f"| {row['name']} | {row['answer']} | {row.get('alert', '')} |" for row in rows["version"]]
    lines += ["", "| cipher suite | bcp195 | bcp195-modified |", "|---|---|---|"]
    lines += [f"| {name} (TLS 1.3) | accepted | accepted |" for name in suites["tls13"]]
    lines += [f"| {name} | accepted | accepted |" for name in suites["bcp195"]]
    lines += [f"| {name} | refused | accepted |" for name in suites["only_modified"]]
    lines += [f"| {name} (TLS 1.3) | refused | refused: B.13 names it |" for name in suites["tls13_refused"]]
    lines += [
        "| every other one that OpenSSL has: CBC, SHA-1, static RSA, DHE, DSS, ARIA, Camellia, PSK, anonymous, NULL | "
        "refused | refused |",
        "",
        "Refused means: no shared cipher, alert handshake failure. Python's library cannot name suites of TLS",
        "1.3: those two of B.13 are missing. RSA keys below 2048 bits, curves below 224 bits and signatures",
        "with SHA-1 are refused anywhere in a chain. Sessions are not resumed, and nothing is renegotiated.",
        "",
        "## Who calls",
        "",
        "| shows | listener | the client is told |",
        "|---|---|---|",
    ]
    lines += [f"| {row['what']} | {row['answer']} | {row.get('alert', '')} |" for row in rows["caller"]]
    lines += [
        "",
        "What the listener says is what it logs and audits, with the AE title (where there is one) and the address.",
        "",
        "## Whom we call",
        "",
        "| the destination shows | result |",
        "|---|---|",
    ]
    lines += [f"| {row['what']} | {row['answer']} |" for row in rows["destination"]]
    lines += [
        "",
        "Nothing is sent before certificate, name and fingerprint are known to be right. The same holds for https",
        "(`tests/dicom_io/test_stow_tls.py`).",
    ]
    return "\n".join(lines) + "\n"


def viewer_rules() -> str:
    """Return which objects each viewer gets, and the rules that they are held against, as Markdown."""
    lines = [
        "# Viewers: what they get, and what they need",
        "",
        "`delivery.viewers` names the viewers of the destination; several get what any of them shows. Before anything",
        "is sent, each object is held against the rules of every viewer named. One broken rule, and nothing of the",
        "series is sent: it is FAILED with the reason VIEWER_RULE, and the log names the rule. `sgmri show --check",
        "VIEWER` holds any object, of any product, against them.",
        "",
        "| viewer | objects |",
        "|---|---|",
    ]
    for viewer, kinds in KINDS.items():
        lines.append(f"| {viewer} | {', '.join(kind for kind in ResultKind if kind in kinds)} |")
    lines += [
        "",
        "SEG segmentation (with `delivery.label_map` a LABELMAP instead), SR boxes and answers (TID 1500), TEXT_SR the",
        "answers as text, PR presentation state, SC secondary capture with burnt-in boxes, PDF a page for people, KO",
        "key objects. With `delivery.cornerstone_tracking` the rules of ohif-3.11 hold too. No destination can name",
        "dwv: its rules are for `sgmri show` alone.",
    ]
    for viewer, rules in RULES.items():
        lines += ["", f"## {viewer}", "", "| rule | why |", "|---|---|"]
        lines += [f"| {rule.name} | {rule.why} |" for rule in rules]
    return "\n".join(lines) + "\n"


def object_checks() -> str:
    """Return the checks of result objects as a Markdown table."""
    lines = ["| check | severity | expects | source |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.severity} | {one.says} | {one.source} |" for one in CHECKS]
    return "\n".join(lines) + "\n"


SOURCES: dict[str, Callable[[], str]] = {
    "settings": lambda: sgmri("settings", "--markdown"),
    "services": lambda: sgmri("services", "--markdown"),
    "modules": modules,
    "series-matrix": series_matrix,
    "security-tls": security_tls,
    "viewer-rules": viewer_rules,
    "object-checks": object_checks,
    "conformance-statement": lambda: sgmri("conformance", "statement"),
    "cli": lambda: f"```text\n{sgmri('--help')}```\n",
}


def with_blocks(text: str, origin: str) -> str:
    """Return the text with every generated block made anew.

    Parameters
    ----------
    text
        Markdown with marked blocks.
    origin
        Where it comes from, for the message when a block has an unknown name.
    """

    def fresh(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in SOURCES:
            sys.exit(f"{origin}: block {name!r} is not one of {', '.join(SOURCES)}")
        return f"{match[1]}{SOURCES[name]()}{match[3]}"

    made, count = BLOCK.subn(fresh, text)
    if count != text.count("<!-- generated: "):
        sys.exit(f"{origin}: a generated block does not end with <!-- /generated -->")
    return made


def main() -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is out of date")
    check: bool = parser.parse_args().check

    wanted = {ROOT / name: with_blocks((ROOT / name).read_text(encoding="utf-8"), name) for name in WITH_BLOCKS}
    for name in ("settings", "series-matrix", "security-tls", "viewer-rules", "conformance-statement"):
        wanted[ROOT / "docs" / f"{name}.md"] = SOURCES[name]()
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    if check and stale:
        print("run scripts/generate")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
