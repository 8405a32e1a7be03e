"""The kill table in short: twenty rounds for each kind of journal; CI takes SQLite, scripts/test-kill both."""

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.kill import run
from tests.faults.kill_parts import Installation

# A group of its own: it waits most of the time, and may do so beside other tests
pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("kill")]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "journal", [pytest.param("sqlite", marks=pytest.mark.slow), pytest.param("postgresql", marks=pytest.mark.kill)]
)
def test_twenty_kills_lose_and_double_nothing(tmp_path_factory: pytest.TempPathFactory, journal: str) -> None:
    """Kill -9 of parts chosen by a seed while series come: every instance, series and result is there, once."""
    if journal == "postgresql" and not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    directory = tmp_path_factory.mktemp("kill")
    figures = run(Installation(directory / "run", journal=journal), rounds=20, seed=5, longest_pause_s=2.0)
    print(figures)  # noqa: T201 - the figures are the result
    assert figures.is_good, figures
    shutil.rmtree(directory)
