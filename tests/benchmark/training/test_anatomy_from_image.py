import json

import numpy as np
import pytest

from benchmark.training.anatomy_cases import BATCH, KINDS, cases
from benchmark.training.anatomy_from_image import School, calibrate, fit, to_mapping
from dicom_io.recognition import CLASSES, Weights, judge
from sgmri.volume import Anatomy


def test_cases_come_from_their_seed() -> None:
    """The same seed and batch give the same numbers, another seed others; the first two batches are brain and knee."""
    first, again, other = cases(3, 0), cases(3, 0), cases(4, 0)
    assert len(first) == BATCH
    assert {case.anatomy for case in first} == {Anatomy.BRAIN}
    assert {case.anatomy for case in cases(3, 1)} == {Anatomy.KNEE}
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.measures, same.measures)
        assert not np.array_equal(one.measures, different.measures)


def test_every_class_has_a_kind() -> None:
    """Brain, knee and much that is neither may be shown."""
    assert {kind.anatomy for kind in KINDS.values()} == set(CLASSES)


def test_weights_survive_their_file() -> None:
    """What is written is read back as it is used."""
    school = School.of([case for batch in range(8) for case in cases(5, batch)])
    fitted = fit(school, seed=1)
    held_out = np.full((len(school.truth), 3), 0.1) + 0.7 * np.eye(3)[school.truth]
    weights = calibrate(fitted, held_out, school.truth)
    read = Weights.from_mapping(json.loads(json.dumps(to_mapping(weights))))
    for measures in school.measures[::5]:
        one, other = judge(measures, weights), judge(measures, read)
        assert one.likeliest is other.likeliest
        assert one.certainty == pytest.approx(other.certainty, abs=0.02)
