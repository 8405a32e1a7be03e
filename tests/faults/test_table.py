"""The fault table of the documentation names every row, and only tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (\d+) \| .+ \| .+ \| (.+) \|$", re.MULTILINE)
ROWS = {
    int(number): re.findall(r"`([^`]+)`", tests)
    for number, tests in _ROW.findall((_ROOT / "docs/faults.md").read_text())
}


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((_ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_table_has_every_row() -> None:
    """Fifty-three rows, numbered."""
    assert sorted(ROWS) == list(range(1, 54))


@pytest.mark.parametrize("number", list(ROWS))
def test_a_row_names_tests_that_exist(number: int) -> None:
    """At least one test a row, and each is found under its name."""
    assert ROWS[number]
    for test in ROWS[number]:
        path, name = test.split("::")
        assert name in names_in(path), test
