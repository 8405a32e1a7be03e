"""A series parted into sub-volumes: echoes, b-values, time points, components, orientations, each a series of its own.

Half a volume must not look like a whole one. Hence a difference parts a series only where two frames lie at one
position and differ in it: scanners vary echo times and acquisition numbers from slice to slice. Orientations are parted
wherever they are really others (10 degrees and more), stacks also where they lie behind each other.

References
----------
PS3.3 C.7.6.16.2.2 (Frame Content), C.8.13.3 (MR Image Frame Type), C.8.13.5.4 (MR Echo), C.8.13.5.9 (MR Diffusion)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_io.contrast_agent import contrast_agent_of
from dicom_io.frames import FrameFacts
from dicom_io.instances import InstanceFacts
from dicom_io.series import SeriesFacts, component_of, is_derived, restricted, with_frames
from dicom_io.stacking import SAME_COSINE, SAME_POSITION_MM, orientation_of
from sgmri.errors import MalformedInstance

_Frame = tuple[InstanceFacts, FrameFacts]
_Value = float | str | tuple[float, ...] | tuple[str, ...] | None

_FEW_RESENT = 0.25
"""The part of the positions that may have a frame twice by accident; more are a pattern that nothing explains."""
_OTHER_ORIENTATION = 0.17
"""How far direction cosines of two orientations are apart (10 degrees); less is a doubt, and parts nothing."""
_MOST_ORIENTATIONS = 16
"""Of a series of more (radial slices) none has the frames of a volume; comparing all of them would take long."""
_COMPONENTS = {"MAGNITUDE": "magnitude", "PHASE": "phase", "REAL": "real part", "IMAGINARY": "imaginary part"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubVolume:
    """Frames of one series that belong together.

    Parameters
    ----------
    name
        In words, such as "echo 2 of 3" or "magnitude, time point 1 of 4"; empty where it is the whole series.
    facts
        The series as if it had these frames only; :func:`dicom_io.stacking.arrange` and
        :func:`dicom_io.decode.decode` take it.
    duplicates
        How many more frames there are that show the same as one of these; they are left out.
    """

    name: str
    facts: SeriesFacts
    duplicates: int

    @property
    def frames(self) -> tuple[FrameFacts, ...]:
        """The frames, instance by instance."""
        return tuple(frame for image in self.facts.images for frame in image.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Frames on their way to a sub-volume, and what they have been told apart by."""

    names: tuple[str, ...] = ()
    frames: tuple[_Frame, ...]


def split(facts: SeriesFacts) -> tuple[SubVolume, ...]:
    """Part a series into sub-volumes.

    Parameters
    ----------
    facts
        The series, from :func:`dicom_io.series.describe`.

    Returns
    -------
    At least one, in an order that does not depend on the order of the files. Every frame of the MR images is in exactly
    one, or counted as a duplicate there. A series in which any frame lacks a description or a usable geometry stays
    whole: what is not known cannot be parted.
    """
    frames = tuple((image, frame) for image in facts.images for frame in image.frames)
    if not frames or not facts.is_described or not all(_has_place(frame) for _, frame in frames):
        return (SubVolume(name="", facts=facts, duplicates=0),)
    parts = [piece for part in _by_orientation(_Part(frames=frames)) for piece in _by_stack(part)]
    return tuple(_sub_volume(facts, piece) for part in parts for piece in _by_what_differs(part))


def _has_place(frame: FrameFacts) -> bool:
    try:
        orientation_of(frame)
    except MalformedInstance:
        return False
    return True


def _component(frame: _Frame) -> str:
    image = with_frames(frame[0], [frame[1]])
    component = component_of(image)
    if component == "MAGNITUDE" and is_derived(image):
        return "derived images"
    return _COMPONENTS.get(component, "derived images")


_KINDS = [*_COMPONENTS.values(), "derived images"]


def _divided(part: _Part, word: str, value: Callable[[_Frame], _Value]) -> list[_Part]:
    """Part by a value; a value that names its part itself comes without a word."""
    groups: dict[_Value, list[_Frame]] = {}
    for frame in part.frames:
        groups.setdefault(value(frame), []).append(frame)
    if len(groups) == 1:
        return [part]
    ordered = sorted(groups, key=lambda found: _KINDS.index(str(found)) if not word else (found is not None, found))
    return [
        _Part(
            names=(*part.names, f"{word} {number} of {len(groups)}" if word else str(found)),
            frames=tuple(groups[found]),
        )
        for number, found in enumerate(ordered, start=1)
    ]


def _by_orientation(part: _Part) -> list[_Part]:
    distinct = np.array(sorted({_cosines(frame) for frame in part.frames}))
    if np.abs(distinct - distinct[0]).max() <= SAME_COSINE:
        return [part]
    heads: list[tuple[float, ...]] = []
    head_of: dict[tuple[float, ...], tuple[float, ...]] = {}
    for one in map(tuple, distinct.tolist()):
        # half the tolerance from the head: no two members are further apart than one volume may be
        near = [head for head in heads if np.abs(np.subtract(head, one)).max() <= SAME_COSINE / 2]
        if not near:
            heads.append(one)
        head_of[one] = near[0] if near else one
        if len(heads) > _MOST_ORIENTATIONS:
            return [part]
    apart = [
        np.linalg.norm(np.subtract(a[:3], b[:3])) + np.linalg.norm(np.subtract(a[3:], b[3:]))
        for a in heads
        for b in heads
        if a < b
    ]
    if min(apart) < _OTHER_ORIENTATION:
        return [part]
    return _divided(part, "orientation", lambda frame: head_of[_cosines(frame)])


def _cosines(frame: _Frame) -> tuple[float, ...]:
    orientation = orientation_of(frame[1])
    return (*orientation.row_cosines, *orientation.column_cosines)


def _by_stack(part: _Part) -> list[_Part]:
    """Part stacks that lie behind each other; those that lie at the same positions are parted with everything else."""
    stacks = _divided(part, "stack", _stack)
    normal = orientation_of(part.frames[0][1]).normal
    reach = sorted(_reach_mm(stack.frames, normal) for stack in stacks)
    return stacks if all(end < begin for (_, end), (begin, _) in pairwise(reach)) else [part]


def _stack(frame: _Frame) -> str:
    return frame[1].stack_id


def _reach_mm(frames: Sequence[_Frame], normal: NDArray[np.float64]) -> tuple[float, float]:
    depths_mm = np.array([frame.position_mm for _, frame in frames], dtype=np.float64) @ normal
    return float(depths_mm.min()), float(depths_mm.max())


_WHAT_DIFFERS: tuple[tuple[str, Callable[[_Frame], _Value]], ...] = (
    ("", _component),
    ("stack", _stack),
    ("echo", lambda frame: None if frame[1].echo_time_ms is None else round(frame[1].echo_time_ms, 2)),
    ("b-value", lambda frame: frame[1].b_value),
    ("time point", lambda frame: frame[1].temporal_position),
    ("contrast", lambda frame: frame[1].contrast),
    ("contrast agent", lambda frame: contrast_agent_of([with_frames(frame[0], [frame[1]])])[0]),
    ("image type", lambda frame: (*frame[0].image_type, "", *frame[1].frame_type)),
    ("acquisition", lambda frame: frame[1].acquisition_number),
)


def _by_what_differs(part: _Part) -> list[_Part]:
    """Part by the first thing in which frames at one position differ, and the parts again, until none do."""
    crowds = _crowds(part.frames)
    for word, value in _WHAT_DIFFERS:
        if any(len({value(frame) for frame in crowd}) > 1 for crowd in crowds):
            return [leaf for piece in _divided(part, word, value) for leaf in _by_what_differs(piece)]
    return [part]


def _crowds(frames: Sequence[_Frame]) -> list[list[_Frame]]:
    """Return the frames at each position along the normal that has several."""
    positions = np.array([frame.position_mm for _, frame in frames], dtype=np.float64)
    depths_mm = positions @ orientation_of(frames[0][1]).normal
    order = np.argsort(depths_mm, kind="stable")
    ends = np.flatnonzero(np.diff(depths_mm[order]) >= SAME_POSITION_MM) + 1
    return [[frames[index] for index in crowd] for crowd in np.split(order, ends) if len(crowd) > 1]


def _sub_volume(facts: SeriesFacts, part: _Part) -> SubVolume:
    copies = _copies(part.frames)
    if not part.names and not copies:
        return SubVolume(name="", facts=facts, duplicates=0)
    owned: dict[str, list[_Frame]] = {}
    for frame in part.frames:
        if _key(frame) not in copies:
            owned.setdefault(frame[0].sop_instance_uid, []).append(frame)
    images = [with_frames(frames[0][0], [frame for _, frame in frames]) for frames in owned.values()]
    return SubVolume(name=", ".join(part.names), facts=restricted(facts, images), duplicates=len(copies))


def _key(frame: _Frame) -> tuple[str, int | None]:
    return frame[0].sop_instance_uid, frame[1].frame_number


def _copies(frames: Sequence[_Frame]) -> frozenset[tuple[str, int | None]]:
    """Return the frames that show the same as another; none where it is not certain that they do.

    Copies are alike in all that the headers say. They are believed to be copies if they are the same instance by their
    Instance Number, or if they are few; a whole series of pairs is rather two of something that no header names.
    """
    crowds = _crowds(frames)
    if not all(_alike(crowd) for crowd in crowds):
        return frozenset()
    positions = len(frames) - sum(len(crowd) - 1 for crowd in crowds)
    if len(crowds) > _FEW_RESENT * positions and not all(_is_one_instance(crowd) for crowd in crowds):
        return frozenset()
    return frozenset(_key(frame) for crowd in crowds for frame in sorted(crowd, key=_instance_number)[1:])


def _alike(crowd: Sequence[_Frame]) -> bool:
    positions_mm = np.array([frame.position_mm for _, frame in crowd], dtype=np.float64)
    said = {
        replace(
            image,
            path=Path(),
            sop_instance_uid="",
            instance_number=None,
            transfer_syntax_uid="",
            frames=(replace(frame, frame_number=None, position_mm=None, rescale_slope=1.0, rescale_intercept=0.0),),
        )
        for image, frame in crowd
    }
    return len(said) == 1 and float(np.ptp(positions_mm, axis=0).max()) <= SAME_POSITION_MM


def _is_one_instance(crowd: Sequence[_Frame]) -> bool:
    numbers = {image.instance_number for image, _ in crowd}
    return (
        len(numbers) == 1 and None not in numbers and len({image.sop_instance_uid for image, _ in crowd}) == len(crowd)
    )


def _instance_number(frame: _Frame) -> float:
    number = frame[0].instance_number
    return float("inf") if number is None else number
