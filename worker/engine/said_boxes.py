"""Boxes in a model's words: found in one form, read in the profile's coordinates, refused where they cannot be."""

import re
from collections.abc import Iterator
from itertools import islice

from sgmri.errors import InvalidGeometry, UnparsableAnswer
from sgmri.findings import Finding
from sgmri.vocabulary import FINDINGS, GENERIC_LABEL
from worker.engine.profiles import CoordinateSpace, PromptProfile
from worker.engine.said import MAX_BOXES, Asked, Claim, Problem, key

_N = r"(-?[0-9]{1,7}(?:\.[0-9]{1,6})?)"
_FOUR = re.compile(rf"\[? ?{_N} ?, ?{_N} ?, ?{_N} ?, ?{_N} ?\]?")
_CORNERS = rf"\( ?{_N} ?, ?{_N} ?\) ?, ?\( ?{_N} ?, ?{_N} ?\)"
_FRAME = (
    r"\b(?P<word>[Ff]rames?) ?(?P<first>[0-9]{1,5})(?![0-9])"
    r"(?P<more>(?: ?(?:-|–|to|,|and) ?[0-9]{1,5}(?![0-9]))*)"
)
_FORMS = (
    ("<bbx>", re.compile(rf"{_FRAME}|<bbx>(?P<body>.{{0,200}}?)</bbx>")),
    ("<|box_start|>", re.compile(rf"{_FRAME}|<\|box_start\|>(?P<body>.{{0,200}}?)<\|box_end\|>")),
    ("),", re.compile(rf"{_FRAME}|(?P<body>{_CORNERS})")),
    ("[", re.compile(rf"{_FRAME}|\[(?P<body>[^\[\]\n,]{{1,40}}(?:,[^\[\]\n,]{{1,40}}){{3}})\]")),
)


def claims_in_text(text: str, profile: PromptProfile) -> tuple[Claim, ...]:
    """Return the boxes of a text, one more than are allowed at most."""
    return tuple(islice(_written_claims(text, profile), MAX_BOXES + 1))


def _written_claims(text: str, profile: PromptProfile) -> Iterator[Claim]:
    """Yield the boxes of the first form that occurs, each with the frames named before it."""
    for mark, form in _FORMS:
        groups: list[tuple[tuple[int, ...], list[str]]] = [((), [])]
        for match in form.finditer(text):
            if match["body"] is None:
                groups.append((_frames_named(match), []))
            else:
                groups[-1][1].append(match["body"])
        found = sum(len(bodies) for _, bodies in groups)
        if mark.startswith("<") and text.count(mark) > found:
            yield Claim()  # a tag without its end
        elif not found:
            continue
        for numbers, bodies in groups:
            yield from _claims_of_group(numbers, [_numbers(body, mark, profile) for body in bodies])
        return


def _frames_named(match: re.Match[str]) -> tuple[int, ...]:
    """Return the frame numbers of "Frame 3", "Frames 3-5" or "Frames 3, 5"."""
    first = int(match["first"])
    parts = re.findall(r"(-|–|to|,|and) ?([0-9]+)", match["more"])
    if not parts or match["word"].endswith("e"):
        is_range = len(parts) == 1 and parts[0][0] not in (",", "and")
        parts = parts if is_range else []
    numbers = [first]
    for joint, digits in parts:
        last = int(digits)
        start = last if joint in (",", "and") else numbers[-1] + 1
        if not start <= last < start + MAX_BOXES or len(numbers) > MAX_BOXES:
            return (-1,)  # no such frame
        numbers += range(start, last + 1)
    return tuple(numbers)


def frames_named(text: str) -> frozenset[int]:
    """Return every frame number that a text names."""
    return frozenset(number for match in re.finditer(_FRAME, text) for number in _frames_named(match))


def _claims_of_group(frames: tuple[int, ...], boxes: list[Claim]) -> Iterator[Claim]:
    """Give boxes to the frames named before them: one frame has all, one box is on all, or one each in order."""
    if len(frames) <= 1 or len(boxes) <= 1:
        pairs = [(frame, box) for box in boxes for frame in frames or (None,)]
    elif len(frames) == len(boxes):
        pairs = list(zip(frames, boxes, strict=True))
    else:
        pairs = [(None, Claim(problem=Problem.NO_FRAME)) for _ in boxes]
    for frame, box in pairs:
        yield Claim(frame, box.numbers, None, box.problem)


def _numbers(body: str, mark: str, profile: PromptProfile) -> Claim:
    space = profile.coordinates
    is_pair = mark in ("<|box_start|>", "),")
    # Qwen's box tokens mean thousandths, pairs mean corners: neither is converted on a guess
    if (is_pair and not space.has_corners) or (mark == "<|box_start|>" and not space.is_relative):
        return Claim(problem=Problem.OTHER_COORDINATES)
    match = re.fullmatch(_CORNERS if is_pair else _FOUR, body)
    if match is None:
        return Claim()
    a, b, c, d = (float(group) for group in match.groups())
    return Claim(numbers=(a, b, c, d))


def claim_in_json(item: object, profile: PromptProfile) -> Claim:
    """Read one item of the JSON contract's box list."""
    keys = profile.answer_format
    if not isinstance(item, dict):
        return Claim()
    present = [key for key in dict.fromkeys((keys.box, "bbox", "bbox_2d")) if key in item]
    values = item[present[0]] if len(present) == 1 else None
    if present == ["bbox_2d"] and profile.coordinates is not CoordinateSpace.RELATIVE_1000_XYXY:
        return Claim(problem=Problem.OTHER_COORDINATES)
    if not isinstance(values, list) or len(values) != 4 or any(type(value) not in (int, float) for value in values):
        return Claim()
    a, b, c, d = values
    return Claim(item.get(keys.frame), (a, b, c, d), item.get(keys.label))


def boxes_of(claims: tuple[Claim, ...], asked: Asked) -> tuple[tuple[Finding, ...], tuple[Problem, ...]]:
    """Return the usable boxes in order, and what is wrong with the others."""
    if len(claims) > MAX_BOXES:
        return (), (Problem.TOO_MANY_BOXES,)
    found, problems = [], []
    for claim in claims:
        try:
            found.append(_finding(claim, asked))
        except UnparsableAnswer as error:
            problems.append(Problem(str(error)))
    return tuple(dict.fromkeys(found)), tuple(problems)


def _finding(claim: Claim, asked: Asked) -> Finding:
    if claim.numbers is None:
        raise UnparsableAnswer(claim.problem)
    frame = claim.frame
    if frame is None and asked.frame_index is not None:
        index = asked.frame_index
    elif frame is None and asked.frame_count == 1:
        index = 0
    elif isinstance(frame, int) and not isinstance(frame, bool):
        index = frame - asked.profile.frame_base - asked.first_frame_index
    else:
        raise UnparsableAnswer(Problem.NO_FRAME)
    if not 0 <= index < asked.frame_count or asked.frame_index not in (None, index):
        raise UnparsableAnswer(Problem.NO_FRAME)
    try:
        box = asked.profile.coordinates.read(claim.numbers, asked.rows, asked.columns)
    except InvalidGeometry as error:
        raise UnparsableAnswer(Problem.NOT_ON_FRAME) from error
    return Finding(label=_label(claim.label, asked), frame_index=index, box=box)


_BY_KEY = {(coded.anatomy, key(label)): label for label, coded in FINDINGS.items()}


def _label(said: object, asked: Asked) -> str:
    """Return the vocabulary's label of a box: the one said, or the one asked about, or the unspecific one."""
    labels = asked.question.labels
    known = _BY_KEY.get((asked.anatomy, key(said))) if isinstance(said, str) else None
    if known is not None:
        if labels and known not in labels:
            raise UnparsableAnswer(Problem.OTHER_LABEL)
        return known
    # Of several labels none may be claimed unsaid (a grade, a thickness); artefacts (DCM) are no lesions either way
    if len(labels) == 1 or any(FINDINGS[label].finding.scheme == "DCM" for label in labels if label in FINDINGS):
        return labels[0]
    return GENERIC_LABEL[asked.anatomy]
