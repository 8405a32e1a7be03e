import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.metrics import auroc, bootstrap, expected_calibration_error, match
from sgmri.findings import Finding
from sgmri.geometry import Box

_Box = tuple[float, float, float, float]


def _boxes(*boxes: tuple[int, _Box], label: str = "Mass") -> list[Finding]:
    """Return findings from (frame number, x, y, width, height)."""
    return [
        Finding(label=label, frame_index=frame - 1, box=Box(x0=x, y0=y, x1=x + w, y1=y + h))
        for frame, (x, y, w, h) in boxes
    ]


_TWO = ((1, (210, 210, 10, 17)), (1, (176, 247, 10, 11)))
_FIGURE = ((23, (102, 180, 15, 13)), (24, (101, 179, 21, 12)), (25, (100, 173, 21, 13)), (27, (105, 164, 23, 16)))
_SAID = (
    (20, (99, 180, 21, 10)),
    (22, (98, 180, 22, 10)),
    (23, (97, 180, 23, 10)),
    (24, (96, 180, 24, 10)),
    (25, (95, 180, 25, 10)),
    (26, (94, 180, 26, 10)),
)


@pytest.mark.parametrize(
    ("truth", "predicted", "published"),
    [
        (_TWO, _TWO, 1.0),
        (_TWO, _TWO[:1], 0.5),
        (_TWO, ((1, (212, 212, 12, 15)), (1, (178, 249, 8, 9))), 0.5881),
        (((1, (100, 100, 20, 20)),), ((1, (110, 100, 20, 20)),), 0.3333),
        (((1, (0, 0, 10, 10)), (1, (4, 0, 10, 10))), ((1, (2, 0, 10, 10)), (1, (12, 0, 10, 10))), 0.3889),
        (
            ((3, (100, 100, 20, 20)), (7, (150, 150, 30, 30))),
            ((3, (100, 100, 20, 20)), (3, (150, 150, 30, 30))),
            0.5,
        ),
        (
            ((3, (100, 100, 20, 20)), (4, (100, 100, 20, 20))),
            ((2, (100, 100, 20, 20)), (3, (100, 100, 20, 20))),
            0.5,
        ),
        (((1, (9, 9, 9, 9)),), ((1, (9, 9, 9, 9)), (1, (50, 50, 5, 5)), (2, (9, 9, 9, 9))), 1.0),
        (((1, (9, 9, 9, 9)),), (), 0.0),
        (_FIGURE, _SAID, 0.3681),
    ],
)
def test_the_published_vectors(
    truth: tuple[tuple[int, _Box], ...], predicted: tuple[tuple[int, _Box], ...], published: float
) -> None:
    """The V-score of the paper's worked examples, to four decimals."""
    assert match(_boxes(*truth), _boxes(*predicted)).published_v == pytest.approx(published, abs=5e-5)


def test_the_strict_score_counts_what_is_too_much() -> None:
    """The figure's example is 0.2103 strictly; stray boxes, another label and a wrong frame cost."""
    assert match(_boxes(*_FIGURE), _boxes(*_SAID)).strict_v == pytest.approx(0.2103, abs=5e-5)
    stray = match(_boxes((1, (9, 9, 9, 9))), _boxes((1, (9, 9, 9, 9)), (1, (50, 50, 5, 5))))
    assert (stray.published_v, stray.strict_v) == (1.0, 0.5)
    named = match(_boxes((1, (9, 9, 9, 9))), _boxes((1, (9, 9, 9, 9)), label="Edema"))
    assert named.strict_v == 0.0
    assert match(_boxes((1, (9, 9, 9, 9))), _boxes((1, (9, 9, 9, 9)), label="Edema"), labels=False).published_v == 1.0


def test_nothing_to_find_is_right_only_without_boxes() -> None:
    """Without truth the strict score is 1 for no box and 0 for any; the published one cannot be told."""
    assert match([], []).strict_v == 1.0
    assert match([], _boxes((1, (1, 1, 5, 5)))).strict_v == 0.0
    assert math.isnan(match([], []).published_v)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_ordered_pairs(pairs: list[tuple[float, bool]]) -> None:
    """Equal to counting: how often a yes stands above a no, ties half."""
    yes, no = [p for p, t in pairs if t], [p for p, t in pairs if not t]
    found = auroc([p for p, _ in pairs], [t for _, t in pairs])
    if not yes or not no:
        assert math.isnan(found)
        return
    counted = sum((a > b) + 0.5 * (a == b) for a in yes for b in no) / (len(yes) * len(no))
    assert found == pytest.approx(counted)


def test_calibration_error_of_known_answers() -> None:
    """Ninety per cent sure and always right is off by 0.1; right as often as said is off by nothing."""
    assert expected_calibration_error([0.9] * 10, [True] * 10) == pytest.approx(0.1)
    assert expected_calibration_error([0.9] * 10, [True] * 9 + [False]) == pytest.approx(0.0)
    assert expected_calibration_error([1.0, 0.0], [True, True]) == pytest.approx(0.5)
    assert math.isnan(expected_calibration_error([], []))


def test_the_interval_holds_the_value_and_shrinks() -> None:
    """More volumes give a narrower interval around the same score; the same seed gives the same one."""

    def mean(values: np.ndarray):  # type: ignore[no-untyped-def]
        return lambda places: float(values[places].mean())

    few, many = (bootstrap(mean(np.tile([0.0, 1.0], n)), 2 * n) for n in (10, 200))
    assert few.low <= few.value <= few.high
    assert many.high - many.low < few.high - few.low
    assert bootstrap(mean(np.tile([0.0, 1.0], 10)), 20) == few
    assert math.isnan(bootstrap(lambda places: math.nan, 5).low)
    assert str(bootstrap(lambda places: math.nan, 0)) == "-"
