"""Questions with answers about synthetic volumes, as packed token sequences.

Prompts come from the product's own builder, so that what is trained is what is asked. Every question of a volume
stands behind one prefix; frames are asked about alone, behind a prefix of their own.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmark.training import wording
from benchmark.training.grids import BLOCK_PX, Shape
from benchmark.training.lesions import Planted
from benchmark.training.looks import LOOKS
from benchmark.training.model import MERGE, PATCH, Sequences
from benchmark.training.phantoms import Batch
from benchmark.training.vocabulary import NUMBERS, token_id
from sgmri.catalogue import STANDARD
from sgmri.geometry import Box, FrameScaling
from sgmri.interfaces import Frames
from sgmri.questions import NONE_OF_THESE, Question, QuestionKind
from sgmri.volume import Anatomy, Weighting
from worker.engine.controls import absent_by_design, scope
from worker.engine.positions import mrope_positions
from worker.engine.profiles import PROFILES, PixelBudget, PromptProfile
from worker.engine.prompts import about_one_frame, answer_keys, answer_start, chatml, prefix, question_text, turn
from worker.engine.summary import Fact, known_line

PROFILE = replace(
    PROFILES["sgmri"],
    # Frames of about 256 x 256 pixels
    pixel_budget=PixelBudget(min_pixels=49_152, max_pixels=65_536),
    options_by_name=True,
    task_lines=replace(PROFILES["sgmri"].task_lines, classification="Answer with one of the options."),
)
"""Our profile as the embedded model is taught it: a small model copies words before it learns to match letters."""
LABELS: tuple[str, ...] = tuple(look.label for anatomy in Anatomy for look in LOOKS[anatomy])
"""Every label that can be planted."""
ARTEFACTS: Mapping[Anatomy, str] = {Anatomy.BRAIN: "Possible artifact", Anatomy.KNEE: "artifact"}
"""What spoilt volumes are called; they have no boxes."""
_BOTH_SIZES = (128, 512)


class Part(IntEnum):
    """What a token of an answer is."""

    VERDICT = 0
    """Yes, no, or the first word of an option."""
    EDGE = 1
    """A number of a box."""
    WORDS = 2
    """Everything else."""
    COPIED = 3
    """A number of a summary: it stands in the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question with its answer, as tokens.

    Parameters
    ----------
    question
        Up to the answer's first value.
    answer
        What follows.
    parts
        One :class:`Part` for each token of the answer.
    """

    question: tuple[int, ...]
    answer: tuple[int, ...]
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prefix:
    """The start that all questions of a batch share: tokens, positions, and where the text goes on."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    visual: NDArray[np.bool_]
    following: int


@dataclass(slots=True, kw_only=True)
class Composer:
    """Puts questions and answers into tokens.

    Parameters
    ----------
    tokenizer, profile
        Of the embedded model.
    rng
        Source of every choice.
    """

    tokenizer: Tokenizer
    profile: PromptProfile
    rng: np.random.Generator
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text; the same text is put into tokens once."""
        found = self._known.get(text)
        if found is None:
            found = tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)
            if len(self._known) < 50_000:
                self._known[text] = found
        return found

    def prefix(self, shape: Shape, frames: int) -> Prefix:
        """Return the prefix of volumes (or, with one frame, of single frames) of a shape."""
        rows, columns = (int(self.rng.integers(*_BOTH_SIZES)) for _ in range(2))
        known = self.rng.random() < 0.7
        brain = shape.anatomy is Anatomy.BRAIN
        weighting = (Weighting.FLAIR if brain else Weighting.PD) if known else Weighting.UNKNOWN
        # Only the shape of the pixels is put into words
        shown = Frames(
            pixels=np.broadcast_to(np.uint8(0), (frames, rows, columns)),
            scaling=FrameScaling(scale_x=1.0, scale_y=1.0, source_rows=rows, source_columns=columns),
            pixel_size_mm=1.0,
            slice_spacing_mm=1.0,
            anatomy=shape.anatomy,
            plane=shape.plane,
            weighting=weighting,
            fat_suppressed=not brain if known else None,
        )
        pad = token_id(self.tokenizer, "<|image_pad|>")
        grid = (shape.rows // PATCH, shape.columns // PATCH)
        single = np.array(self.tokens(chatml(prefix(shown, self.profile))), np.int64)
        ids = np.repeat(single, np.where(single == pad, grid[0] * grid[1] // MERGE**2, 1))
        positions, following = mrope_positions(ids, [grid] * frames, merge=MERGE, visual_ids=frozenset({pad}))
        return Prefix(ids=ids, positions=positions, visual=ids == pad, following=following)

    def ask(self, question: Question, answer: str, *, known: str = "") -> Asked:
        """Return a question with an answer that starts behind :func:`answer_start`."""
        text = question_text(question, self.profile, known=known)
        start = turn(text) + answer_start(self.profile)
        tokens = self.tokens(answer)
        parts = [int(Part.WORDS)] * len(tokens)
        if question.kind in (QuestionKind.DETECTION, QuestionKind.CLASSIFICATION):
            parts[0] = int(Part.VERDICT)
        return Asked(question=self.tokens(start), answer=tokens, parts=tuple(parts))

    def detection(self, question: Question, present: bool, label: str | None = None) -> Asked:
        """Ask a yes/no question; every fourth answer goes on with its reason."""
        verdict = "Yes" if present else "No"
        if self.rng.random() < 0.25:
            sign = self._sign(label) if present and label is not None else wording.NO_SIGN
            verdict += f'", "{answer_keys(self.profile)[1]}": "{sign}"}}'
        return self.ask(question, verdict)

    def _sign(self, label: str) -> str:
        signs = wording.SIGNS.get(label, (wording.NO_SIGN,))
        return signs[int(self.rng.integers(len(signs)))]

    def about_volume(self, batch: Batch, index: int) -> list[Asked]:
        """Return every question about one volume of a batch.

        Parameters
        ----------
        batch
            Synthetic volumes.
        index
            Which.
        """
        anatomy = batch.shape.anatomy
        controls = absent_by_design(anatomy)
        asked = [self.detection(scope(anatomy), batch.stranger is None)]
        asked += [self.detection(question, False) for question in controls]
        found, unknown = batch.truth[index], set(batch.unknown)
        spoilt = bool(batch.is_spoilt[index])
        areas, told = _areas(found), _facts(found, self.profile.frame_base)
        for question in STANDARD[anatomy].questions:
            labels = set(question.labels)
            present = sorted(labels & areas.keys())
            if question.kind is QuestionKind.DETECTION and ARTEFACTS[anatomy] in labels:
                asked.append(self.detection(question, spoilt))
            elif question.kind is QuestionKind.DETECTION and not labels:
                if areas or not unknown:
                    asked.append(self.detection(question, bool(areas)))
            elif question.kind is QuestionKind.DETECTION and labels & set(LABELS):
                if present or not labels & unknown:
                    asked.append(self.detection(question, bool(present), present[0] if present else None))
            elif question.kind is QuestionKind.CLASSIFICATION and areas:
                asked.append(self._which(question, sorted(told, key=lambda fact: -areas[fact.label])))
            elif question.kind is QuestionKind.CAPTIONING:
                asked.append(self._caption(question, told))
        return asked + self.about_findings(anatomy, batch.shape.frames)

    def _which(self, question: Question, found: Sequence[Fact]) -> Asked:
        """Ask for the main finding, the first of those that are told, with shuffled options."""
        options = tuple(self.rng.permutation(np.array(question.options, dtype=object)).tolist())
        right = found[0].label if found[0].label in options else NONE_OF_THESE
        shuffled = Question(question_id=question.question_id, kind=question.kind, text=question.text, options=options)
        return self.ask(shuffled, right, known=known_line(found))

    def _caption(self, question: Question, found: Sequence[Fact]) -> Asked:
        """Ask for the summary of what was found."""
        ending = f'", "{answer_keys(self.profile)[1]}": "", "{self.profile.answer_format.boxes}": []}}'
        asked = self.ask(question, wording.caption(found) + ending, known=known_line(found))
        parts = tuple(int(Part.COPIED if token < NUMBERS else Part.WORDS) for token in asked.answer)
        return Asked(question=asked.question, answer=asked.answer, parts=parts)

    def _made_up(self, anatomy: Anatomy, frames: int, least: int) -> tuple[Fact, ...]:
        """Return findings that nobody has seen, in any order."""
        names = [look.label for look in LOOKS[anatomy]]
        chosen = self.rng.permutation(len(names))[: int(self.rng.integers(least, 4))]
        extents = np.sort(self.rng.integers(1, frames + 1, (len(chosen), 2)), axis=1)
        return tuple(
            Fact(label=names[place], places=int(self.rng.integers(1, 6)), first=int(first), last=int(last))
            for place, (first, last) in zip(chosen, extents, strict=True)
        )

    def about_findings(self, anatomy: Anatomy, frames: int) -> list[Asked]:
        """Return a summary and a choice that rest on made-up findings alone: so it learns to copy what it is told.

        Parameters
        ----------
        anatomy
            Whose questions and labels.
        frames
            The highest frame that is named.
        """
        asked = STANDARD[anatomy]
        made, other = self._made_up(anatomy, frames, 0), self._made_up(anatomy, frames, 1)
        ordered = tuple(sorted(made, key=lambda fact: (fact.first, fact.last, fact.label)))
        return [
            self._caption(asked[f"{anatomy}.summary"], ordered),
            self._which(asked[f"{anatomy}.which"], other),
        ]

    def about_frame(self, batch: Batch, index: int, frame_index: int) -> list[Asked]:
        """Return questions about one frame alone: is it seen here, and where."""
        anatomy, unknown = batch.shape.anatomy, set(batch.unknown)
        here: dict[str, list[tuple[int, int, int, int]]] = {}
        for planted in batch.truth[index]:
            if frame_index in planted.boxes:
                here.setdefault(planted.label, []).append(planted.boxes[frame_index])
        names = [look.label for look in LOOKS[anatomy]]
        elsewhere = {planted.label for planted in batch.truth[index]}
        absent = [name for name in self.rng.permutation(names).tolist() if name not in here and name not in unknown]
        # What lies on another frame is the hard one: where does it end? The other is any
        absent = sorted(absent, key=lambda name: name not in elsewhere)[:1] + absent[-1:]
        asked = []
        for label in (*here, *absent):
            question = about_one_frame(QuestionKind.DETECTION, (label,), self.profile)
            asked.append(self.detection(question, label in here, label))
        # An absent finding is asked for now and then: then the list is empty
        places = [*here, *(absent[:1] if self.rng.random() < 0.25 else ())]
        return asked + [self._where(label, here.get(label, []), batch.shape) for label in places]

    def _where(self, label: str, boxes: Sequence[tuple[int, int, int, int]], shape: Shape) -> Asked:
        """Ask for the boxes of one label on a frame; from top to bottom, then from left to right."""
        question = about_one_frame(QuestionKind.LOCALISATION, (label,), self.profile)
        keys = self.profile.answer_format
        ordered = sorted(boxes, key=lambda box: (box[1], box[0]))
        if boxes:
            largest = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
            where, sign = wording.place(largest, shape.rows, shape.columns), self._sign(label)
        else:
            where, sign = wording.NOTHING_THERE, wording.NO_SIGN
        head = f'{where}", "{answer_keys(self.profile)[1]}": "{sign}", "{keys.boxes}": ['
        asked = self.ask(question, head)
        answer, parts = list(asked.answer), list(asked.parts)
        opening = f'{{"{keys.frame}": {self.profile.frame_base}, "{keys.label}": "{label}", "{keys.box}": ['
        for place, box in enumerate(ordered):
            edges = Box(**dict(zip(("x0", "y0", "x1", "y1"), map(float, box), strict=True)))
            numbers = self.profile.coordinates.write(edges, shape.rows, shape.columns)
            pieces = [self.tokens(f"]}}, {opening}" if place else opening)]
            pieces += [self.tokens(str(numbers[0])), *(self.tokens(f", {number}") for number in numbers[1:])]
            kinds = [[int(Part.WORDS)] * len(pieces[0]), [int(Part.EDGE)], *([int(Part.WORDS), int(Part.EDGE)],) * 3]
            answer += itertools.chain.from_iterable(pieces)
            parts += itertools.chain.from_iterable(kinds)
        closing = self.tokens("]}]}" if boxes else "]}")
        return Asked(
            question=asked.question,
            answer=(*answer, *closing),
            parts=(*parts, *([int(Part.WORDS)] * len(closing))),
        )

    def pack(self, start: Prefix, volumes: Sequence[Sequence[Asked]]) -> Sequences:
        """Put the questions of several volumes (or frames) behind the same prefix, one sequence a volume."""
        end = token_id(self.tokenizer, "<|im_end|>")
        rows = [_packed(start, asked, end) for asked in volumes]
        length = -(-max(row.shape[1] for row in rows) // 64) * 64
        table = np.zeros((len(rows), 5, length), np.int64)
        table[:, 1], table[:, 3] = -2, -1
        table[:, 0] = token_id(self.tokenizer, "<|endoftext|>")
        for place, row in enumerate(rows):
            table[place, :, : row.shape[1]] = row
        positions = np.repeat(table[None, :, 2], 3, axis=0)
        positions[:, :, : len(start.ids)] = start.positions[:, None]
        visual = np.zeros((len(rows), length), bool)
        visual[:, : len(start.ids)] = start.visual
        ids, owners, _, targets, kinds = (torch.from_numpy(table[:, place].copy()) for place in range(5))
        return Sequences(
            ids=ids,
            owners=owners.int(),
            positions=torch.from_numpy(positions),
            visual=torch.from_numpy(visual),
            targets=targets,
            kinds=kinds.to(torch.int8),
        )


def _packed(start: Prefix, asked: Sequence[Asked], end: int) -> NDArray[np.int64]:
    """Return int64 (5, tokens): ids, owners, positions, targets, kinds of one sequence."""
    length = len(start.ids)
    parts = [
        np.stack(
            [
                start.ids,
                np.full(length, -1),
                np.zeros(length, np.int64),
                np.full(length, -1),
                np.zeros(length, np.int64),
            ]
        )
    ]
    for owner, one in enumerate(asked):
        ids = np.array([*one.question, *one.answer], np.int64)
        targets = np.full(len(ids), -1, np.int64)
        kinds = np.full(len(ids), int(Part.WORDS), np.int64)
        first = len(one.question) - 1
        targets[first : first + len(one.answer)] = one.answer
        kinds[first : first + len(one.answer)] = one.parts
        if len(one.answer) > 3:
            targets[-1] = end  # a whole answer ends its turn; a verdict alone goes on
        positions = np.arange(start.following, start.following + len(ids))
        parts.append(np.stack([ids, np.full(len(ids), owner), positions, targets, kinds]))
    return np.concatenate(parts, axis=1)


def _areas(found: Sequence[Planted]) -> dict[str, float]:
    """Return how many pixels the boxes of each label cover, over all frames."""
    areas: dict[str, float] = {}
    for planted in found:
        area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in planted.boxes.values())
        areas[planted.label] = areas.get(planted.label, 0.0) + area
    return areas


def _facts(found: Sequence[Planted], frame_base: int) -> tuple[Fact, ...]:
    """Return the truth as the summary is told it."""
    facts = []
    for label in dict.fromkeys(planted.label for planted in found):
        frames = [frame for planted in found if planted.label == label for frame in planted.boxes]
        places = sum(planted.label == label for planted in found)
        facts.append(Fact(label=label, places=places, first=min(frames) + frame_base, last=max(frames) + frame_base))
    return tuple(sorted(facts, key=lambda fact: (fact.first, fact.last, fact.label)))


assert BLOCK_PX == PATCH * MERGE
