"""Findings become tracklets: each box in exactly one, whatever the order in which they come."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgmri.errors import InvalidGeometry
from sgmri.findings import Finding, Tracklet, frames_as_text, link
from sgmri.geometry import Box, cover, iou


def at(frame_index: int, x0: float, y0: float = 0, *, size: float = 10, label: str = "Mass") -> Finding:
    """Make a square finding."""
    return Finding(label=label, frame_index=frame_index, box=Box(x0=x0, y0=y0, x1=x0 + size, y1=y0 + size))


some_findings = st.lists(
    st.builds(
        at,
        st.integers(0, 6),
        st.integers(0, 30),
        st.integers(0, 30),
        size=st.integers(1, 20),
        label=st.sampled_from(["Mass", "Edema"]),
    ),
    max_size=25,
    unique_by=lambda f: (f.label, f.frame_index, f.box.as_tuple()),
)


@given(some_findings, st.integers(1, 3), st.floats(0, 0.9))
def test_every_finding_is_in_exactly_one_tracklet(findings: list[Finding], max_gap_frames: int, min_iou: float) -> None:
    """Nothing is lost, nothing is counted twice, and ids are unique and numbered from 1."""
    tracklets = link(findings, max_gap_frames=max_gap_frames, min_iou=min_iou)
    linked = [finding for tracklet in tracklets for finding in tracklet.findings]
    assert len(linked) == len(findings)
    assert set(linked) == set(findings)
    assert [t.tracklet_id for t in tracklets] == [f"lesion-{n}" for n in range(1, len(tracklets) + 1)]


@given(some_findings, st.integers(1, 3), st.floats(0, 0.9))
def test_neighbours_in_a_tracklet_belong_together(findings: list[Finding], max_gap_frames: int, min_iou: float) -> None:
    """Within a tracklet: one label, ascending frames, no gap wider than allowed, and boxes that overlap."""
    for tracklet in link(findings, max_gap_frames=max_gap_frames, min_iou=min_iou):
        assert {finding.label for finding in tracklet.findings} == {tracklet.label}
        for before, after in pairwise(tracklet.findings):
            assert 0 < after.frame_index - before.frame_index <= max_gap_frames
            assert iou(before.box, after.box) > min_iou or cover(before.box, after.box) > 0.5


@given(some_findings, st.randoms(use_true_random=False))
def test_the_order_of_the_findings_does_not_matter(findings: list[Finding], random: object) -> None:
    """The same findings shuffled give the same tracklets with the same ids: derived UIDs rest on it (ADR 0005)."""
    shuffled = list(findings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis hands a random.Random
    assert link(shuffled) == link(findings)


def test_a_lesion_is_followed_and_its_neighbour_is_not_swallowed() -> None:
    """Two lesions on the same frames, apart in the plane, stay two."""
    tracklets = link([at(n, 0) for n in range(3)] + [at(n, 50) for n in range(3)])
    assert [tracklet.frame_indices for tracklet in tracklets] == [(0, 1, 2), (0, 1, 2)]
    assert [tracklet.findings[0].box.x0 for tracklet in tracklets] == [0, 50]


def test_the_best_overlap_is_linked_first() -> None:
    """A box that barely touches the lesion does not take it from the box that continues it."""
    lesion, grazing, same = at(0, 0, 5), at(1, 0, 0), at(1, 0, 5)
    by_findings = {tracklet.findings for tracklet in link([lesion, grazing, same])}
    assert by_findings == {(lesion, same), (grazing,)}


def test_the_cap_of_a_lesion_belongs_to_it() -> None:
    """A round lesion ends in a small box within the next one: one finding, though they overlap by a fiftieth."""
    (tracklet,) = link([at(0, 8, 8, size=3), at(1, 0, size=20), at(2, 15, 2, size=4)])
    assert tracklet.frame_indices == (0, 1, 2)


def test_a_gap_ends_a_tracklet_unless_allowed() -> None:
    """A missing frame starts a new tracklet; with a gap of two it does not."""
    findings = [at(0, 0), at(2, 0)]
    assert len(link(findings)) == 2
    assert len(link(findings, max_gap_frames=2)) == 1


def test_labels_are_never_mixed() -> None:
    """The same place on the next frame under another label is another tracklet."""
    assert len(link([at(0, 0), at(1, 0, label="Edema")])) == 2


@pytest.mark.parametrize(
    "findings",
    [(), (at(1, 0), at(1, 30)), (at(2, 0), at(1, 0)), (at(0, 0), at(1, 0, label="Edema"))],
    ids=["empty", "twice on a frame", "descending", "two labels"],
)
def test_a_tracklet_that_cannot_exist_is_refused(findings: tuple[Finding, ...]) -> None:
    """Empty tracklets, repeated or descending frames and mixed labels raise."""
    with pytest.raises(InvalidGeometry):
        Tracklet(tracklet_id="lesion-1", findings=findings)


def test_a_negative_frame_index_is_refused() -> None:
    """Frames count from 0; -1 would silently mean the last one."""
    with pytest.raises(InvalidGeometry, match="0 or more"):
        at(-1, 0)


def test_the_score_of_a_tracklet_is_its_best() -> None:
    """The surest box speaks for the tracklet; without any score there is none."""
    box = Box(x0=0, y0=0, x1=1, y1=1)
    scores = [0.2, None, 0.7]
    findings = tuple(
        Finding(label="Mass", frame_index=index, box=box, score=score) for index, score in enumerate(scores)
    )
    assert Tracklet(tracklet_id="lesion-1", findings=findings).score == 0.7
    assert Tracklet(tracklet_id="lesion-1", findings=findings[1:2]).score is None


@given(st.sets(st.integers(0, 60)))
def test_frames_as_text_can_be_read_back(indices: set[int]) -> None:
    """The runs name exactly the frames, counted from 1, joined as far as possible."""
    text = frames_as_text(sorted(indices))
    runs = [tuple(map(int, run.split("-"))) for run in text.split(", ")] if text else []
    assert {number - 1 for run in runs for number in range(run[0], run[-1] + 1)} == indices
    assert all(before[-1] + 1 < after[0] for before, after in pairwise(runs))
