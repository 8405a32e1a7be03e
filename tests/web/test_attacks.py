"""The checks find what is wrong, and nothing where nothing is."""

from pathlib import Path

import pytest

from tests.web.attacks import CHECKS, found_by
from tests.web.scan import DEFAULT
from tests.web.target import running

pytestmark = [pytest.mark.web, pytest.mark.timeout(900)]


def test_our_dashboard_withstands(tmp_path: Path) -> None:
    """The dashboard passes every check on every route."""
    with running(DEFAULT, tmp_path) as target:
        assert {check.__name__: found for check in CHECKS if (found := found_by(check, target))} == {}


def test_every_check_finds_something(tmp_path: Path) -> None:
    """An application that trusts everybody fails each check."""
    with running("tests.web.weak_app:create_app", tmp_path) as target:
        target.cookies = dict.fromkeys(("viewer", "operator", "admin"), "fixed")
        silent = {check.__name__ for check in CHECKS if not found_by(check, target)}
    assert not silent
