from statistics import mean

import pytest

from benchmark.items import Level
from benchmark.scoring.published_table import PUBLISHED_ROWS


def test_the_published_averages_are_the_means_of_their_rows() -> None:
    """Every printed average is the plain mean of its six columns: no digit was lost in copying."""
    for row in PUBLISHED_ROWS:
        assert row.percent[-1] == pytest.approx(mean(row.percent[:-1]), abs=0.02), row


def test_both_tables_are_whole() -> None:
    """Eleven models at image level, nine at volume level."""
    assert [sum(row.level is level for row in PUBLISHED_ROWS) for level in Level] == [11, 9]
