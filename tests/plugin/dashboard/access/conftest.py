"""A small dashboard with a user of each role, and a browser in front of it."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from conformance.phantoms import make_non_mr
from plugin.dashboard.access import Role
from sgmri.settings import parse
from tests.plugin.dashboard.access.small_dashboard import PASSWORD, Dashboard


@pytest.fixture
def dashboard(tmp_path: Path) -> Dashboard:
    """A dashboard on this machine alone, with a user of each role whose name is the role."""
    made = Dashboard(parse({"storage": {"state_dir": str(tmp_path / "state")}}))
    for role in Role:
        made.users.add(role.value, role, PASSWORD)
    return made


@pytest.fixture
def browser(dashboard: Dashboard) -> Iterator[TestClient]:
    """A browser that has not logged in."""
    with dashboard.browser() as client:
        yield client


@pytest.fixture
def phantom() -> bytes:
    """An instance with the canary identity."""
    stream = BytesIO()
    make_non_mr().save_as(stream, enforce_file_format=True)
    return stream.getvalue()
