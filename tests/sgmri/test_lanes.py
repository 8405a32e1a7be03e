import time

import pytest

from sgmri.errors import ConfigError
from sgmri.lanes import Lane, in_first_lane_at, off_peak

HOUR_S = 3600.0


def test_each_lane_costs_one_ageing() -> None:
    """A series that waits is raised by one lane after another; one in the first lane stands there at once."""
    moments = [in_first_lane_at(lane, 100.0, 60.0) for lane in (Lane.STAT, Lane.NORMAL, Lane.OFF_PEAK)]
    assert moments == [100.0, 160.0, 220.0]


def test_nobody_is_overtaken_by_what_comes_after_its_ageing() -> None:
    """A normal series gives way to urgent ones that come within one ageing, and to none that comes later."""
    normal = in_first_lane_at(Lane.NORMAL, 0.0, 60.0)
    assert in_first_lane_at(Lane.STAT, 59.0, 60.0) < normal < in_first_lane_at(Lane.STAT, 61.0, 60.0)


def _local(hour: int, minute: int = 0, day: int = 5) -> float:
    return time.mktime((2026, 3, day, hour, minute, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("hours", "now", "opens"),
    [
        ("20:00-06:00", _local(12), _local(20)),
        ("20:00-06:00", _local(23), _local(23)),
        ("20:00-06:00", _local(5, 59), _local(5, 59)),
        ("20:00-06:00", _local(6), _local(20)),
        ("01:00-05:00", _local(0, 30), _local(1)),
        ("01:00-05:00", _local(5), _local(1, day=6)),
    ],
)
def test_off_peak_hours_open_at_their_next_beginning(hours: str, now: float, opens: float) -> None:
    """Within the hours at once, over midnight too; else when they next begin."""
    window = off_peak(hours)
    assert window is not None
    assert window.next_opening(now) == opens


@pytest.mark.parametrize("text", ["20-06", "24:00-06:00", "20:00-20:00", "20:00", " 20:00-06:00"])
def test_hours_that_are_none_are_refused(text: str) -> None:
    """What is no pair of different times is a mistake in the configuration."""
    with pytest.raises(ConfigError, match="such as 20:00-06:00"):
        off_peak(text)
    assert off_peak("") is None
