import pytest

from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.volume import Anatomy
from worker.engine.summary import Fact, agrees, facts, known_line

_WML, _LACUNE = "Nonspecific white matter lesion", "Lacunar infarct"
_FOUND = (Fact(label=_WML, places=2, first=3, last=6), Fact(label=_LACUNE, places=1, first=5, last=5))


def _tracklet(name: str, label: str, *frames: int) -> Tracklet:
    box = Box(x0=1, y0=1, x1=2, y1=2)
    return Tracklet(
        tracklet_id=name, findings=tuple(Finding(label=label, frame_index=frame, box=box) for frame in frames)
    )


def test_facts_are_counted_by_label() -> None:
    """Places and extents of a label are put together, in the profile's frame numbers, earliest first."""
    found = [_tracklet("a", _LACUNE, 4), _tracklet("b", _WML, 2, 3), _tracklet("c", _WML, 5)]
    assert facts(found, 1) == _FOUND
    assert facts(found, 0)[0].first == 2
    assert facts([], 1) == ()


def test_the_line_names_everything() -> None:
    """The model is told labels, places and frames, or that there is nothing."""
    assert known_line(_FOUND) == (
        "Findings: Nonspecific white matter lesion, places: 2, frames: 3-6; Lacunar infarct, places: 1, frames: 5-5."
    )
    assert known_line(()) == "Findings: none."


@pytest.mark.parametrize(
    "text",
    [
        f"{_WML} on frames 3 to 6. {_LACUNE} on frame 5. No mass is seen.",
        f"There are {_WML.lower()}s on Frames 3-4 and a {_LACUNE.lower()}.",
        "A few bright spots and one dark spot are seen on frames 3 to 6.",
    ],
)
def test_true_words_agree(text: str) -> None:
    """Frames within the findings, labels that were found, other labels only where denied, or no label at all."""
    assert agrees(text, _FOUND, Anatomy.BRAIN)


@pytest.mark.parametrize(
    "text",
    [
        f"{_WML} on frames 3 to 7. {_LACUNE} on frame 5.",
        f"{_WML} and {_LACUNE} on Frame 2.",
        f"{_WML} on frames 3 to 6.",
        f"{_WML}, {_LACUNE} and Edema.",
        f"{_WML} and {_LACUNE}, with an extra-axial mass.",
        "No abnormality is seen.",
        "",
    ],
)
def test_other_words_do_not(text: str) -> None:
    """A foreign frame, a finding left out or made up, or a denial of what was found."""
    assert not agrees(text, _FOUND, Anatomy.BRAIN)


def test_nothing_found_is_nothing_claimed() -> None:
    """Where nothing was found, no label and no frame may be claimed."""
    assert agrees("No mass, edema or lacunar infarct is seen. It looks normal.", (), Anatomy.BRAIN)
    assert not agrees("A mass is seen.", (), Anatomy.BRAIN)
    assert not agrees("Something lies on frame 3.", (), Anatomy.BRAIN)
    assert agrees("Mass", (), Anatomy.KNEE)  # no word of this anatomy's
