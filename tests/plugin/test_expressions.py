import time

import pytest

from plugin.expression_check import check
from plugin.rules import FACTS
from sgmri.errors import ConfigError

HEADER: dict[str, tuple[float | str, ...]] = {
    "SeriesDescription": ("t2 TSE sag FS",),
    "ScanningSequence": ("SE", "IR"),
    "EchoTime": (20.0, 90.0),
    "StationName": ("MR3",),
    "SIEMENS MR HEADER (0019,xx0c)": (1000.0,),
}
SEEN: dict[str, float | str | None] = {
    "anatomy": "knee",
    "plane": "sagittal",
    "weighting": "T2",
    "frames": 24,
    "coverage_mm": 96.0,
    "b_value": None,
}


def failure(text: str) -> str:
    return check(text, FACTS).failure(SEEN, HEADER)


@pytest.mark.parametrize(
    "text",
    [
        'anatomy == "knee" and plane == "sagittal"',
        'plane in ["sagittal", "coronal"] and not frames < 10',
        "20 <= frames <= 30",
        'header.StationName == "MR3"',
        'header.StationName in ["MR1", "MR3"]',
        '"IR" in header.ScanningSequence',
        'header.ScanningSequence == "SE"',
        "header.EchoTime > 80 and header.EchoTime < 30",
        'header.ScanningSequence != "GR"',
        "count(header.EchoTime) == 2",
        'contains(header.SeriesDescription, "tse SAG")',
        'word(header.SeriesDescription, "fs", "spair")',
        'has("StationName") and not has("BodyPartExamined")',
        'private("SIEMENS MR HEADER", "0019xx0c") >= 500',
        'not (weighting == "T1" or weighting == "PD")',
        "header.EchoTime > -1.5",
    ],
)
def test_conditions_that_hold(text: str) -> None:
    """Facts, header values, lists and functions; a comparison with several values holds if it does for any."""
    assert failure(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('anatomy == "brain"', "its condition does not hold"),
        ('header.ScanningSequence != "SE"', "its condition does not hold"),
        ('"tse" in header.SeriesDescription', "its condition does not hold"),
        ('word(header.SeriesDescription, "f")', "its condition does not hold"),
        ('header.BodyPartExamined != "KNEE"', "BodyPartExamined is missing"),
        ('contains(header.ProtocolName, "x")', "ProtocolName is missing"),
        ("b_value > 0", "b_value is missing"),
        ('private("GEMS_PARM_01", "0043xx39") > 0', "the private element 0043xx39 is missing"),
        ("header.StationName > 3", "it compares a number with a text"),
    ],
)
def test_conditions_that_do_not_match_say_why(text: str, why: str) -> None:
    """What is missing or cannot be compared does not match, and the sentence holds no header value."""
    assert failure(text) == why


def test_rest_of_a_condition_that_is_decided_is_not_asked() -> None:
    """A missing attribute behind a has() that fails, or behind an alternative that holds, is no matter."""
    assert failure('has("ProtocolName") and header.ProtocolName == "x" or frames == 24') == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "found none"),
        (7, "found none"),
        ("frames >", "other syntax"),
        ("frames = 3", "a statement"),
        ("frames > 3; frames < 9", "a statement or several"),
        ("import os", "a statement"),
        ("frame > 3", "did you mean 'frames'"),
        ('plane == "axail"', "expected plane to be axial, coronal, sagittal, unknown, found 'axail'"),
        ('weighting in ["T1", "T3"]', "found 'T3'"),
        ('frames == "many"', "expected a number beside frames"),
        ('header.SeriesDescripton == "x"', "found 'SeriesDescripton'"),
        ('header.PixelData == "x"', "found 'PixelData'"),
        ('has("ReferencedImageSequence")', "found 'ReferencedImageSequence'"),
        ("has(frames)", "texts in quotes"),
        ("word(header.SeriesDescription)", "two or more arguments"),
        ('contains(header.SeriesDescription, part="x")', "expected 2 arguments"),
        ("contains(header.SeriesDescription, plane)", "a text in quotes"),
        ('private("X", "0018xx0c") == 1', "odd group"),
        ('private("X", "hello") == 1', "odd group"),
        ("frames is 3", "found Is"),
        ("frames", "expected a comparison"),
        ("header.StationName", "expected a comparison"),
        ("count(header.EchoTime)", "expected a comparison"),
        ("frames + 1 > 3", "expected a fact"),
        ("frames ** frames > 3", "expected a fact"),
        ("frames > (3 if frames else 4)", "expected a fact"),
        ("[x for x in [1]] == 1", "expected a fact"),
        ("(lambda: 1)() == 1", "expected a fact"),
        ("__import__('os').system('true') == 0", "expected a fact"),
        ("header.__class__ == 1", "found '__class__'"),
        ("header.keys == 1", "found 'keys'"),
        ("plane.__class__ == 1", "expected a fact"),
        ("header == 1", "unknown name 'header'"),
        ("f'{frames}' == 'x'", "expected a fact"),
        ("frames > 1" + " and frames > 1" * 90, "found 1360"),
        (" and ".join(["1<2"] * 60), "at most 200 parts"),
        ("not " * 40 + "frames > 1", "20 levels"),
        ("(" * 500 + "frames" + ")" * 490, "other syntax"),
    ],
)
def test_mistakes_are_found_before_anything_is_evaluated(text: object, expected: str) -> None:
    """Wrong syntax, unknown names, impossible values and everything that is no condition are refused at start."""
    with pytest.raises(ConfigError) as caught:
        check(text, FACTS)
    assert expected in str(caught.value)


def test_evaluation_is_quick_whatever_the_header_says() -> None:
    """The longest condition over the most and longest values takes no noticeable time."""
    text = " and ".join(['contains(header.SeriesDescription, "b")'] * 20)
    header: dict[str, tuple[float | str, ...]] = {
        "SeriesDescription": (*("a" * 250 + f"{number}" for number in range(63)), "b")
    }
    begin = time.perf_counter()
    assert check(text, FACTS).failure(SEEN, header) == ""
    assert time.perf_counter() - begin < 1
