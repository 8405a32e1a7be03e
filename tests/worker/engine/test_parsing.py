import json
import random
import re
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgmri.catalogue import STANDARD
from sgmri.findings import Finding
from sgmri.geometry import Box
from sgmri.questions import NONE_OF_THESE, Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from sgmri.volume import Anatomy
from tests.worker.engine.plain_frames import plain_frames
from worker.engine.guard import guard
from worker.engine.parsing import Parsed, parse, to_answer
from worker.engine.profiles import PROFILES, PromptProfile
from worker.engine.said import MAX_BOXES, MAX_TEXT_BYTES, Problem

_ROWS, _COLUMNS, _COUNT = 320, 260, 30
_GEOMETRY = (_ROWS, _COLUMNS, _COUNT)
_PUBLISHED = PROFILES["sgmri-vqa-sft"]
_BASE = PROFILES["qwen3-vl"]
_each_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))


def _question(kind: QuestionKind, *labels: str, options: tuple[str, ...] = ()) -> Question:
    return Question(question_id="q", kind=kind, text="?", labels=labels, options=options)


_DETECTION = _question(QuestionKind.DETECTION, "Mass")
_WHERE = _question(QuestionKind.LOCALISATION, "Mass")
_COUNTING = _question(QuestionKind.COUNTING)
_OPTIONS = ("Edema", "Lacunar infarct", "Mass", NONE_OF_THESE)
_WHICH = _question(QuestionKind.CLASSIFICATION, options=_OPTIONS)
_SUMMARY = _question(QuestionKind.CAPTIONING)


def _parsed(
    text: str, question: Question, profile: PromptProfile = _PUBLISHED, frame_index: int | None = None
) -> Parsed:
    return parse(text, question, profile, _GEOMETRY, anatomy=Anatomy.BRAIN, frame_index=frame_index)


def _boxes(parsed: Parsed) -> list[tuple[int, tuple[float, ...]]]:
    return [(found.frame_index, found.box.as_tuple()) for found in parsed.boxes]


# --- yes and no


@pytest.mark.parametrize(
    ("text", "presence"),
    [
        ("Yes. There is oedema.", Presence.PRESENT),
        ("Yes", Presence.PRESENT),
        ("**Yes**, with no mass effect and no shift.", Presence.PRESENT),
        ("my answer is: **Yes**, not normal", Presence.PRESENT),
        ("The signal is bright. My answer is: Yes", Presence.PRESENT),
        ("<think>Is it? No idea.</think>Yes.", Presence.PRESENT),
        ("No.", Presence.ABSENT),
        ("No, the volume is normal.<|im_end|>", Presence.ABSENT),
        ("The final answer is: No.", Presence.ABSENT),
        ('{"reasoning": "Nothing bright.", "answer": "No", "bboxes": []}', Presence.ABSENT),
        ('Sure:\n```json\n{"answer": "Yes"}\n```\nI hope that helps.', Presence.PRESENT),
        ("Undetermined.", Presence.UNDETERMINED),
        # What the authors' parser misreads, or what is only half a "no", is no answer
        ("The image shows an abnormality in the right hemisphere.", None),
        ("There is a tear.", None),
        ("The volume is normal.", None),
        ("No significant change in the large mass.", None),
        ("There is no doubt about the mass.", None),
        ("No, I cannot determine this.", None),
        ("Yes or No", None),
        ("No?", None),
        ("Ｎｏ．", None),
        ('{"answer": false}', None),
        ("<think>No.", None),
        ("", None),
    ],
)
def test_yes_and_no_are_statements(text: str, presence: Presence | None) -> None:
    """Yes and no count where they stand as an answer; everything else is undecided, and then not assessed."""
    parsed = _parsed(text, _DETECTION)
    assert parsed.presence is presence
    assert (parsed.problem is None) == (presence is not None)
    answer = to_answer(parsed, _DETECTION, "t")
    assert answer.unanswered is (None if presence else Unanswered.UNPARSABLE)


@pytest.mark.parametrize(
    "text",
    [
        "Yes. No.",
        "No, wait, yes.",
        "No. My answer is: Yes",
        '{"answer": "No"}\nYes, there is one.',
        '{"reasoning": "So my answer is: Yes.", "answer": "No"}',
        "No. Frame 3: <bbx>[10,10,5,5]</bbx>",
        "No. Frame 3: <bbx>[10,10,nan,5]</bbx>",
        '{"answer": "No", "bboxes": [{"frame": 99, "bbox": [1, 1, 0, 0]}]}',
    ],
)
def test_saying_two_things_is_a_contradiction(text: str) -> None:
    """Yes beside no, and no beside a box however broken, is refused as a contradiction."""
    assert to_answer(_parsed(text, _DETECTION), _DETECTION, "t").unanswered is Unanswered.CONTRADICTION


def test_an_absence_with_boxes_is_never_an_answer() -> None:
    """Even where somebody else made the parsed value."""
    finding = Finding(label="Mass", frame_index=0, box=Box(x0=1, y0=1, x1=2, y1=2))
    parsed = Parsed(presence=Presence.ABSENT, boxes=(finding,))
    assert to_answer(parsed, _DETECTION, "t").unanswered is Unanswered.CONTRADICTION


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"reasoning": "", "answer": "No", "bbox', Problem.BROKEN_JSON),
        ('{"answer": "No", "answer": "Yes"}', Problem.BROKEN_JSON),
        ('{"a":' * 9000, Problem.BROKEN_JSON),
        ('{"answer": "No"} {"answer": "Yes"}', Problem.MALFORMED),
        ("No.<|im_end|>\n<|im_start|>user\nReally?", Problem.MALFORMED),
        ("A mass.</think>No.", Problem.MALFORMED),
        ("No. " + "x" * MAX_TEXT_BYTES, Problem.TOO_LONG),
        ("é" * (MAX_TEXT_BYTES - 1), Problem.TOO_LONG),
        ('{"answer": {"is": "No"}}', Problem.UNDECIDED),
    ],
)
def test_a_broken_output_is_a_problem_and_no_guess(text: str, problem: Problem) -> None:
    """Cut off JSON, a second answer, a second turn: nothing of it is used."""
    assert _parsed(text, _DETECTION) == Parsed(problems=(problem,))


# --- boxes


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        # Boxes of the paper's figures
        ("Frame 21: <bbx>[108,168,15,10]</bbx>", [(20, (108, 168, 123, 178))]),
        (
            "Medial, Frames 21, 22: [108,168,15,10], [106,167,17,14]; MCL sprain Frame 21: [37,123,20,60]",
            [(20, (108, 168, 123, 178)), (21, (106, 167, 123, 181)), (20, (37, 123, 57, 183))],
        ),
        ("Frame 6 of 16: <bbx>[125, 150, 22, 14]</bbx>", [(5, (125, 150, 147, 164))]),
        (
            "Right, Frame 1: <bbx>[126,111,53,109]</bbx>, Frame 2: <bbx>[5,6,7,8]</bbx>. Bright.",
            [(0, (126, 111, 179, 220)), (1, (5, 6, 12, 14))],
        ),
        ("Frames 2-4: <bbx>[1,2,3,4]</bbx>", [(1, (1, 2, 4, 6)), (2, (1, 2, 4, 6)), (3, (1, 2, 4, 6))]),
        ("Frame 3: <bbx>[1,2,3,4]</bbx> and <bbx>[9,9,9,9]</bbx>", [(2, (1, 2, 4, 6)), (2, (9, 9, 18, 18))]),
        # A bare list means what the profile says, whatever its numbers look like (the authors' parser: corners)
        ("Frame 3: [50, 60, 100, 120]", [(2, (50, 60, 150, 180))]),
        # The first form alone
        ("Frame 3: <bbx>[1,2,3,4]</bbx>, see [5,6,7,8]", [(2, (1, 2, 4, 6))]),
        (
            '{"answer": "left", "bboxes": [{"frame": 5, "label": "Mass", "bbox": [10, 20, 30, 40]}]}',
            [(4, (10, 20, 40, 60))],
        ),
        ('{"answer": "Left, Frame 5: <bbx>[10,20,30,40]</bbx>"}', [(4, (10, 20, 40, 60))]),
        ("Frame 1: <bbx>[-2,-1,12,11]</bbx>", [(0, (0, 0, 10, 10))]),
    ],
)
def test_every_form_of_the_published_weights_is_read(text: str, boxes: list[tuple[int, tuple[float, ...]]]) -> None:
    """Frames from 1, top left corner and size in pixels, in tags, brackets and JSON."""
    parsed = _parsed(text, _WHERE)
    assert _boxes(parsed) == boxes
    assert parsed.problem is None
    assert {found.label for found in parsed.boxes} == {"Mass"}


@pytest.mark.parametrize(
    "text",
    [
        '[{"frame": 2, "bbox_2d": [100, 200, 500, 250], "label": "mass"}]',
        '```json\n[{"frame": 2, "bbox_2d": [100, 200, 500, 250]}]\n```',
        '{"frame": 2, "bbox_2d": [100, 200, 500, 250]}',
        "Frame 2: <|box_start|>(100,200),(500,250)<|box_end|>",
        "Frame 2: (100, 200), (500, 250)",
        "Frame 2: [100, 200, 500, 250]",
    ],
)
def test_every_form_of_the_base_model_is_read(text: str) -> None:
    """Corners in thousandths of the frame's own width and height."""
    assert _boxes(_parsed(text, _WHERE, _BASE)) == [(1, (26, 64, 130, 80))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Frame 2: (10,20),(30,40)", Problem.OTHER_COORDINATES),
        ("Frame 2: <|box_start|>(10,20),(30,40)<|box_end|>", Problem.OTHER_COORDINATES),
        ('[{"frame": 2, "bbox_2d": [10, 20, 30, 40]}]', Problem.OTHER_COORDINATES),
        ("<bbx>[10,20,30,40]</bbx>", Problem.NO_FRAME),
        ("Frame 0: <bbx>[10,20,30,40]</bbx>", Problem.NO_FRAME),
        ("Frame 31: <bbx>[10,20,30,40]</bbx>", Problem.NO_FRAME),
        ("Frames 9-3: <bbx>[10,20,30,40]</bbx>", Problem.NO_FRAME),
        ("Frames 1-3: <bbx>[10,20,30,40]</bbx> <bbx>[1,2,3,4]</bbx>", Problem.NO_FRAME),
        ("Frame 1: <bbx>[10,20,0,40]</bbx>", Problem.NOT_ON_FRAME),
        ("Frame 1: <bbx>[10,20,9999999,40]</bbx>", Problem.NOT_ON_FRAME),
        ("Frame 1: <bbx>[-9,20,30,40]</bbx>", Problem.NOT_ON_FRAME),
        ("Frame 1: <bbx>[10,20,NaN,40]</bbx>", Problem.BAD_BOX),
        ("Frame 1: <bbx>[10,20,30]</bbx>", Problem.BAD_BOX),
        ("Frame 1: <bbx>[10,20,30,40]", Problem.BAD_BOX),
        ("Frame 1: <bbx>[١,٢,٣,٤]</bbx>", Problem.BAD_BOX),
        ('{"answer": "", "bboxes": [{"frame": 1, "bbox": [NaN, 1, 1, 1]}]}', Problem.NOT_ON_FRAME),
        ('{"answer": "", "bboxes": [{"frame": 1, "bbox": [1e999, 1, 1, 1]}]}', Problem.NOT_ON_FRAME),
        ('{"answer": "", "bboxes": [{"frame": 1, "bbox": [' + "9" * 5000 + ", 1, 1, 1]}]}", Problem.NOT_ON_FRAME),
        ('{"answer": "", "bboxes": [{"frame": 1.5, "bbox": [1, 1, 1, 1]}]}', Problem.NO_FRAME),
        ('{"answer": "", "bboxes": [{"frame": true, "bbox": [1, 1, 1, 1]}]}', Problem.NO_FRAME),
        ('{"answer": "", "bboxes": [{"frame": 1, "bbox": [true, 1, 1, 1]}]}', Problem.BAD_BOX),
        ('{"answer": "", "bboxes": [{"frame": 1, "bbox": "1, 1, 1, 1"}]}', Problem.BAD_BOX),
        ('{"answer": "", "bboxes": [7]}', Problem.BAD_BOX),
        ('{"answer": "", "bboxes": [{"frame": 1, "label": "Edema", "bbox": [1, 1, 9, 9]}]}', Problem.OTHER_LABEL),
        ("Frame 1: " + "[1,1,9,9] " * (MAX_BOXES + 1), Problem.TOO_MANY_BOXES),
    ],
)
def test_an_unusable_box_is_dropped_with_its_problem(text: str, problem: Problem) -> None:
    """No box is guessed; a localisation without any is not assessed."""
    parsed = _parsed(text, _WHERE)
    assert parsed.boxes == ()
    assert problem in parsed.problems
    assert str(problem) in (parsed.problem or "")
    assert to_answer(parsed, _WHERE, "t").unanswered is Unanswered.UNPARSABLE


def test_one_bad_box_costs_only_itself() -> None:
    """The others stand, and the problem is told."""
    parsed = _parsed("Frame 1: <bbx>[1,2,3,4]</bbx>, Frame 77: <bbx>[1,2,3,4]</bbx>", _WHERE)
    assert (_boxes(parsed), parsed.problems) == ([(0, (1, 2, 4, 6))], (Problem.NO_FRAME,))


def test_a_question_about_one_frame_takes_boxes_of_that_frame_only() -> None:
    """A box without a frame lies on it, and one on another frame is refused."""
    assert _boxes(_parsed("<bbx>[1,2,3,4]</bbx>", _WHERE, frame_index=6)) == [(6, (1, 2, 4, 6))]
    assert _parsed("Frame 6: <bbx>[1,2,3,4]</bbx>", _WHERE, frame_index=6).problems[-1] is Problem.NO_FRAME


@pytest.mark.parametrize(
    ("labels", "said", "label"),
    [
        (("Mass",), "tumour", "Mass"),
        ((), "enlarged_ventricles", "Enlarged ventricles"),
        ((), "Meniscus Tear", "Nonspecific lesion"),
        (("Likely cysts", "Pineal cyst"), "pineal cyst", "Pineal cyst"),
        (("Likely cysts", "Pineal cyst"), "cyst", "Nonspecific lesion"),
        (("Possible artifact", "Motion artifact"), "", "Possible artifact"),
    ],
)
def test_a_box_is_named_by_the_vocabulary(labels: tuple[str, ...], said: str, label: str) -> None:
    """The label said, else the only one asked about, else the unspecific one of the anatomy."""
    text = json.dumps({"answer": "there", "bboxes": [{"frame": 1, "label": said, "bbox": [1, 1, 9, 9]}]})
    parsed = _parsed(text, _question(QuestionKind.LOCALISATION, *labels))
    assert [found.label for found in parsed.boxes] == [label]


def test_boxes_of_neighbouring_frames_become_one_tracklet() -> None:
    """Linked by overlap under the prefix of the question; the words shown hold no numbers of model pixels."""
    text = "Right, Frames 2-4: <bbx>[10,20,30,40]</bbx>, Frame 9: <bbx>[10,20,30,40]</bbx>"
    answer = to_answer(_parsed(text, _WHERE), _WHERE, "where-mass")
    assert [(t.tracklet_id, t.frame_indices) for t in answer.evidence] == [
        ("where-mass-1", (1, 2, 3)),
        ("where-mass-2", (8,)),
    ]
    assert answer.text == "Right, Frames 2-4: (box), Frame 9: (box)"


@_each_profile
def test_a_box_written_by_the_profile_is_read_by_the_parser(profile: PromptProfile) -> None:
    """In JSON and in tags, within half a written unit."""
    random_ = random.Random(3)  # noqa: S311 - repeatable, not secret
    for _ in range(200):
        x0, y0 = random_.uniform(0, _COLUMNS - 10), random_.uniform(0, _ROWS - 10)
        box = Box(x0=x0, y0=y0, x1=random_.uniform(x0 + 2, _COLUMNS), y1=random_.uniform(y0 + 2, _ROWS))
        numbers = list(profile.coordinates.write(box, _ROWS, _COLUMNS))
        keys = profile.answer_format
        item = {keys.frame: 7, keys.label: "Mass", keys.box: numbers}
        in_json = _parsed(json.dumps({keys.answer: "there", keys.boxes: [item]}), _WHERE, profile)
        in_tags = _parsed(f"Frame 7: <bbx>{numbers}</bbx>", _WHERE, profile)
        assert in_json.boxes == in_tags.boxes
        (found,) = in_json.boxes
        assert found.frame_index == 6
        unit = _ROWS / 1000 if profile.coordinates.is_relative else 1.0
        for edge, again in zip(box.as_tuple(), found.box.as_tuple(), strict=True):
            assert abs(edge - again) <= (0.5 + 1e-9) * unit


# --- counts, choices, words


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("6", 6),
        ("six", 6),
        ("Twenty.", 20),
        ("zero", 0),
        ("6. Ventricles on Frames 1-3.", 6),
        ("Frame 1: <bbx>[126,111,53,109]</bbx>. Total abnormal findings: 6.", 6),
        ("There are 3 findings on Frames 1-16.", 3),
        ("The final answer is: 4", 4),
        ('{"answer": 5}', 5),
        ('{"answer": "two"}', 2),
        ("No abnormal findings.", None),
        ("-3", None),
        ("2.5", None),
        ("3-4", None),
        ("3 or 4", None),
        ("twenty-one", None),
        ("٣", None),
        ("99999999999", None),
        ("1. A tear\n2. A cyst", None),
        ('{"answer": true}', None),
    ],
)
def test_a_count_is_the_number_declared(text: str, count: int | None) -> None:
    """Digits or a word up to twenty, where it is the answer; never a range, a frame or the item of a list."""
    parsed = _parsed(text, _COUNTING)
    assert parsed.count == count
    assert (to_answer(parsed, _COUNTING, "t").unanswered is None) == (count is not None)


def test_two_counts_are_a_contradiction() -> None:
    """And so is none beside a box."""
    for text in ("3. Total = 4.", "Zero. Frame 1: <bbx>[1,2,3,4]</bbx>"):
        assert to_answer(_parsed(text, _COUNTING), _COUNTING, "t").unanswered is Unanswered.CONTRADICTION


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("(A)", ("Edema",)),
        ("A", ("Edema",)),
        ("A, C.", ("Edema", "Mass")),
        ("(A), (C)", ("Edema", "Mass")),
        ("(A). Bright. It is not (B) Lacunar infarct because there is no cavity.", ("Edema",)),
        ("The answer is: (C) Mass", ("Mass",)),
        ("lacunar infarct", ("Lacunar infarct",)),
        ("(D) None of these", (NONE_OF_THESE,)),
        ('{"reasoning": "dark", "answer": "(B)"}', ("Lacunar infarct",)),
        ('{"answer": ["A", "C"]}', ("Edema", "Mass")),
        ('{"answer": ["Edema", "Mass"]}', ("Edema", "Mass")),
        ("There is a meniscus tear.", ()),
        ("(B) or (A)", ()),
        ("It is not (B).", ()),
        ("(E)", ()),
        ("a", ()),
        ("", ()),
    ],
)
def test_a_choice_is_a_letter_in_parentheses_or_alone(text: str, chosen: tuple[str, ...]) -> None:
    """Or an option word for word; the article "a" is none."""
    parsed = _parsed(text, _WHICH)
    assert parsed.chosen == chosen
    assert (to_answer(parsed, _WHICH, "t").unanswered is None) == bool(chosen)


@pytest.mark.parametrize("text", ["(A) Mass", "(A). It is (B).", "(A), (D)", '{"answer": ["Mass", "None of these"]}'])
def test_a_choice_against_its_own_words_is_a_contradiction(text: str) -> None:
    """A letter beside another option's name, a second letter later, "none" beside one."""
    assert to_answer(_parsed(text, _WHICH), _WHICH, "t").unanswered is Unanswered.CONTRADICTION


def test_a_summary_is_its_words() -> None:
    """With boxes as evidence, without control characters and marks of the model."""
    text = "One lacunar infarct.\nFrame 6 of 16: <bbx>[125,150,22,14]</bbx>\x00\ud800 Small vessels."
    answer = to_answer(_parsed(text, _SUMMARY), _SUMMARY, "t")
    assert answer.text == "One lacunar infarct.\nFrame 6 of 16: (box) Small vessels."
    assert [tracklet.frame_indices for tracklet in answer.evidence] == [(5,)]
    assert to_answer(_parsed(" \n", _SUMMARY), _SUMMARY, "t").unanswered is Unanswered.UNPARSABLE


# --- hostile outputs

_QUESTIONS = STANDARD[Anatomy.BRAIN]
_FRAMES = replace(plain_frames(np.zeros((_COUNT, _ROWS, _COLUMNS), np.uint8)), fat_suppressed=False)
_EXPLICIT_NO = re.compile(r"(?<![a-z])no(?![a-z])", re.IGNORECASE)


def _check(text: str, question: Question, profile: PromptProfile) -> Answer:
    """Drive one output through parser and guard, and hold what comes out against the three promises."""
    answer = to_answer(_parsed(text, question, profile), question, question.question_id)
    # Alone in its set, so that the guard judges this answer and not its surroundings
    alone = QuestionSet(set_id="alone", anatomy=Anatomy.BRAIN, questions=(replace(question, follows=None),))
    (guarded,) = guard([answer], _FRAMES, alone)
    for checked in (answer, guarded):
        for tracklet in checked.evidence:
            for found in tracklet.findings:
                assert 0 <= found.frame_index < _COUNT
                assert found.box.lies_within(_ROWS, _COLUMNS)
                assert _FRAMES.scaling.to_source(found.box).lies_within(_ROWS, _COLUMNS)
        if checked.presence is Presence.ABSENT:
            assert _EXPLICIT_NO.search(text)
            assert not checked.evidence
        if checked.count == 0:
            assert "0" in text or "zero" in text.lower()
        checked.text.encode()
        checked.reasoning.encode()
    return guarded


_HOSTILE = (
    *("{", "}", "[", "]", '"', "\\", "<bbx>", "</bbx>", "<think>", "</think>", "<|im_end|>", "<|im_start|>", "```"),
    *("<|box_start|>", "<|box_end|>", "Frame", "Frames 1-999", "Frame 0:", "Frame -1:", "NaN", "Infinity", "1e999"),
    *(
        "9" * 400,
        "-1",
        "0",
        "٣",
        "１２",
        "null",
        "true",
        "false",
        "(A)",
        "(Z)",
        "not",
        "\x00",
        "\ud800",
        "\u202e",
        "\n",
    ),
    *(
        "[[[[[[[[",
        "{{{{{{{{",
        "[1,2,3,4]",
        "[-5,-5,900,900]",
        "(1,2),(3,4)",
        '"bbox": [0, 0, 0, 0]',
        "abnormal",
        "know",
    ),
)


_VERDICTS = ("yes", "no", " No. ", " Yes. ", "My answer is: No.")


def _valid(random_: random.Random, question: Question, profile: PromptProfile, *, positive: bool) -> str:
    """Write an output as the weights would; a positive one never holds the word "no"."""
    keys = profile.answer_format
    frame = random_.randrange(1, _COUNT + 1)
    x0, y0 = random_.randrange(_COLUMNS - 30), random_.randrange(_ROWS - 30)
    box = Box(x0=x0, y0=y0, x1=x0 + random_.randrange(1, 30), y1=y0 + random_.randrange(1, 30))
    numbers = list(profile.coordinates.write(box, _ROWS, _COLUMNS))
    words = {
        QuestionKind.DETECTION: "Yes" if positive else "No",
        QuestionKind.COUNTING: str(random_.randrange(1, 9)),
        QuestionKind.CLASSIFICATION: random_.choice(["(A)", "(A), (C)"]),
    }.get(question.kind, "Right hemisphere")
    shows_boxes = positive and question.kind is not QuestionKind.COUNTING
    if random_.random() < 0.5:
        item = {keys.frame: frame, keys.label: (*question.labels, "x")[0], keys.box: numbers}
        said = {keys.answer: words, keys.reasoning: "A bright focus.", keys.boxes: [item] if shows_boxes else []}
        return json.dumps(said)
    return f"{words}. " + (f"Frame {frame}: <bbx>{numbers}</bbx>. Bright." if shows_boxes else "Nothing bright.")


def _mutated(random_: random.Random, text: str) -> str:
    for _ in range(random_.randrange(1, 5)):
        place = random_.randrange(len(text) + 1)
        match random_.randrange(6):
            case 0:
                text = text[:place]
            case 1:
                text = text[:place] + random_.choice((*_HOSTILE, *_VERDICTS * 4)) + text[place:]
            case 2:
                text = text[:place] + text[place + random_.randrange(8) :]
            case 3:
                text = text[:place] + chr(random_.randrange(0x110000)) + text[place:]
            case 4:
                text += random_.choice(_HOSTILE) * random_.randrange(1, 40)
            case _:
                text = re.sub("[0-9]+", lambda match: str(random_.randrange(-9, 2000)), text)
    return text


def test_valid_outputs_are_read() -> None:
    """The outputs that the hostile ones are made from are answers: the fuzz starts from what matters."""
    random_ = random.Random(1)  # noqa: S311 - repeatable, not secret
    for _ in range(300):
        question = random_.choice(_QUESTIONS.questions)
        profile = random_.choice(list(PROFILES.values()))
        positive = random_.random() < 0.7 or question.kind is QuestionKind.LOCALISATION
        answer = _check(_valid(random_, question, profile, positive=positive), question, profile)
        assert answer.unanswered is None
        if question.kind is QuestionKind.DETECTION:
            assert answer.presence is (Presence.PRESENT if positive else Presence.ABSENT)


def test_no_hostile_output_becomes_a_false_statement() -> None:
    """5,000 mutated, random and nested outputs: no exception, no box off its frame, no absence unsaid."""
    random_ = random.Random(20260415)  # noqa: S311 - repeatable, not secret
    seen: Counter[str] = Counter()
    for number in range(5000):
        question = random_.choice(_QUESTIONS.questions)
        profile = random_.choice(list(PROFILES.values()))
        positive = random_.random() < 0.7
        if number % 10 == 0:
            text = random_.randbytes(random_.randrange(400)).decode("latin-1")
        elif number % 10 == 1:
            text = " ".join(random_.choices((*_HOSTILE, *_VERDICTS), k=random_.randrange(60)))
        else:
            text = _mutated(random_, _valid(random_, question, profile, positive=positive))
        answer = _check(text, question, profile)
        seen[str(answer.unanswered or answer.presence or "other")] += 1
    # The fuzz reaches both sides: answers that survive and outputs that are refused, each for its reason
    assert min(seen[key] for key in ("present", "absent", "other", *map(str, _REFUSALS))) > 20, seen


_REFUSALS = (Unanswered.UNPARSABLE, Unanswered.CONTRADICTION)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from((*_HOSTILE, "Yes", "No", ",", ".", ": ", "7"))).map("".join)),
    st.sampled_from(_QUESTIONS.questions),
    st.sampled_from(list(PROFILES.values())),
)
def test_any_text_is_harmless(text: str, question: Question, profile: PromptProfile) -> None:
    """Whatever the characters."""
    _check(text, question, profile)


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "[",
            "{",
            "(",
            "<bbx>",
            "<think>",
            "Frame 1",
            "Frame 1,2",
            "frames 1-300: [1,1,9,9] ",
            "[1,",
            "(1,2),",
            "yes ",
        ),
        *("\n", " \n", "answer is ", "total ", "1,1,1,", "*", "```json", "<|im_end|>", "(A) ", "A, ", '{"a":[', "so, "),
        *("Frame 3: [1,1,9,9], ", "there is ", ". no", "<|box_start|>", "the final answer", "-", "[a,a,a,"),
    ],
)
@pytest.mark.parametrize("question", [_DETECTION, _COUNTING, _WHICH, _WHERE], ids=lambda question: question.kind)
def test_the_work_is_bounded(unit: str, question: Question) -> None:
    """64 KiB of the same few characters take no more than a moment."""
    text = "x" + unit * ((MAX_TEXT_BYTES - 1) // len(unit.encode()))
    started = time.process_time()
    _check(text, question, _BASE)
    assert time.process_time() - started < 2.0
