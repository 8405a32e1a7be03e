from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from conformance.phantoms import Phantom, make, write
from dicom_io.decode import decode
from dicom_io.series import describe
from sgmri.catalogue import STANDARD
from sgmri.errors import EngineUnavailable
from sgmri.findings import Tracklet
from sgmri.geometry import Box, FrameScaling, iou
from sgmri.interfaces import Frames, ReadingControl
from sgmri.questions import Answer, Presence, Question, QuestionKind, QuestionSet, Unanswered
from sgmri.vocabulary import GENERIC_LABEL
from sgmri.volume import Anatomy, Plane, Weighting
from worker.engine.classical import ClassicalEngine
from worker.engine.guard import guard
from worker.engine.outliers import Polarity
from worker.engine.sighting import ClassicalParameters, NamingRule
from worker.rendering import render, to_source

_DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
_WHITE_MATTER = "Nonspecific white matter lesion"
_PHANTOMS = (
    "brain",
    "brain-oblique",
    "brain-enhanced",
    "brain-nonsquare",
    "knee",
    "knee-oblique",
    "knee-enhanced",
    "knee-nonsquare",
)

_Spot = tuple[float, float, float, float, float]
"""Centre frame, row, column, radius in pixels, grey value."""


def _more_seeds(first: int) -> list[Any]:
    """One seed for CI, the others up to 9 for scripts/test-readings."""
    marks = [pytest.mark.slow] + [pytest.mark.exhaustive] * (9 - first)
    return [pytest.param(first + place, marks=mark) for place, mark in enumerate(marks)]


def _head(*spots: _Spot, seed: int = 0, frames: int = 14, ventricles: float = 35.0) -> Frames:
    """Paint a head of 1 mm pixels and 5 mm slices: scalp, dark skull, textured brain, paired ventricles, noise."""
    rng = np.random.default_rng(seed)
    frame, row, column = np.meshgrid(np.arange(frames), np.arange(200.0), np.arange(180.0), indexing="ij")
    middle = (frames - 1) / 2
    radius = np.sqrt(((column - 90) / 75) ** 2 + ((row - 100) / 92) ** 2 + ((frame - middle) * 5 / 90) ** 2)
    image = np.select([radius < 0.85, radius < 0.93, radius < 1.0], [110.0, 18.0, 190.0], 4.0)
    texture = ndimage.gaussian_filter(rng.standard_normal(image.shape), (1, 4, 4))
    image += np.where(radius < 0.85, 6 * texture / texture.std(), 0)
    for side in (-1, 1):
        horn = ((column - 90 - side * 12) / 6) ** 2 + ((row - 95) / 26) ** 2 + ((frame - middle) / 3) ** 2
        image = np.where(horn < 1, ventricles, image)
    for centre, y, x, size, value in spots:
        inside = ((column - x) ** 2 + (row - y) ** 2) / size**2 + ((frame - centre) * 5 / max(size + 2, 7)) ** 2
        image = np.where(inside < 1, value, image)
    image = ndimage.gaussian_filter(image, (0, 0.6, 0.6)) + rng.normal(0, 3, image.shape)
    return _frames(np.clip(image, 0, 255).astype(np.uint8))


def _frames(pixels: NDArray[np.uint8], *, pixel_size_mm: float = 1.0, slice_spacing_mm: float = 5.0) -> Frames:
    return Frames(
        pixels=pixels,
        scaling=FrameScaling(scale_x=1.0, scale_y=1.0, source_rows=pixels.shape[1], source_columns=pixels.shape[2]),
        pixel_size_mm=pixel_size_mm,
        slice_spacing_mm=slice_spacing_mm,
        anatomy=Anatomy.BRAIN,
        plane=Plane.AXIAL,
        weighting=Weighting.FLAIR,
        fat_suppressed=False,
    )


def _read(frames: Frames, parameters: ClassicalParameters | None = None) -> dict[str, Answer]:
    questions = STANDARD[frames.anatomy]
    answers = ClassicalEngine(parameters).answer(frames, questions, ReadingControl())
    assert guard(answers, frames, questions) == answers, "the guard has nothing to refuse"
    return {answer.question_id.split(".", 1)[1]: answer for answer in answers}


def _box(tracklet: Tracklet, frame_index: int) -> Box:
    return next(finding.box for finding in tracklet.findings if finding.frame_index == frame_index)


def _overlap(found: Tracklet, planted: dict[int, Box]) -> float:
    """Return the mean IoU over the frames that either shows."""
    boxes = {finding.frame_index: finding.box for finding in found.findings}
    shared = [iou(boxes[index], planted[index]) for index in boxes.keys() & planted.keys()]
    return sum(shared) / len(boxes.keys() | planted.keys())


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for written phantoms."""
    yield tmp_path_factory.mktemp("phantoms")


def _read_phantom(phantom: Phantom, folder: Path) -> dict[str, Answer]:
    """Write, decode, render, read and map back a phantom: boxes in source pixels."""
    volume = decode(describe(write(phantom, folder)), phantom.anatomy)
    frames = render(volume)
    questions = STANDARD[phantom.anatomy]
    answers = guard(ClassicalEngine().answer(frames, questions, ReadingControl()), frames, questions)
    return {a.question_id.split(".", 1)[1]: a for a in to_source(answers, frames)}


def _check_planted(name: str, seed: int, folder: Path) -> None:
    phantom = make(name, seed=seed)
    answers = _read_phantom(phantom, folder / f"{name}-{seed}")
    assert answers["any"].presence is Presence.PRESENT
    found = list(answers["any"].evidence)
    for lesion in phantom.lesions:
        planted = {finding.frame_index: finding.box for finding in lesion.findings}
        best = max(found, key=lambda tracklet: _overlap(tracklet, planted))
        assert _overlap(best, planted) >= 0.6, lesion.label
        assert max(iou(_box(best, i), planted[i]) for i in planted if i in best.frame_indices) >= 0.8, lesion.label
        found.remove(best)
    assert not found, "nothing is found where nothing was planted"
    assert answers["count.lesions"].count == len(phantom.lesions)


@pytest.mark.parametrize("name", _PHANTOMS)
@pytest.mark.parametrize("seed", [0])
def test_finds_what_was_planted(name: str, seed: int, series: Path) -> None:
    """Every planted lesion is found on its frames with a tight box in source pixels, and nothing else."""
    _check_planted(name, seed, series)


@pytest.mark.parametrize("name", _PHANTOMS)
@pytest.mark.parametrize("seed", _more_seeds(1))
def test_finds_what_was_planted_on_more_seeds(name: str, seed: int, series: Path) -> None:
    """So it does on other texture, noise and places; the parameters were set on seeds from 100 on."""
    _check_planted(name, seed, series)


@pytest.mark.parametrize("name", ["brain-normal", "knee-normal"])
@pytest.mark.parametrize("seed", [0, 1])
def test_normal_phantom_is_absent(name: str, seed: int, series: Path) -> None:
    """Nothing is found in a normal phantom, and no follow-up is asked."""
    answers = _read_phantom(make(name, seed=seed), series / f"{name}-{seed}")
    assert answers["any"].presence is Presence.ABSENT
    assert not [name for name in answers if name.startswith(("where", "count", "which"))]
    assert "found no compact bright or dark outlier" in answers["summary"].text


@pytest.mark.parametrize("name", ["brain-normal", "knee-normal"])
@pytest.mark.parametrize("seed", _more_seeds(2))
def test_normal_phantom_is_absent_on_more_seeds(name: str, seed: int, series: Path) -> None:
    """So it is on other texture and noise."""
    answers = _read_phantom(make(name, seed=seed), series / f"{name}-{seed}")
    assert answers["any"].presence is Presence.ABSENT


def test_names_only_by_rule(series: Path) -> None:
    """On the brain phantom small bright foci and the dark one are named; the large bright one stays nonspecific."""
    phantom = make("brain", seed=3)
    answers = _read_phantom(phantom, series / "names")
    labels = sorted(tracklet.label for tracklet in answers["any"].evidence)
    assert labels == sorted([_WHITE_MATTER, _WHITE_MATTER, "Lacunar infarct", GENERIC_LABEL[Anatomy.BRAIN]])
    assert {t.label for t in answers["screen.white-matter"].evidence} == {_WHITE_MATTER}
    (lacune,) = answers["where.lacunar-infarct"].evidence
    truth = next(lesion for lesion in phantom.lesions if lesion.label == "Lacunar infarct")
    assert _overlap(lacune, {f.frame_index: f.box for f in truth.findings}) > 0.6


def test_speed(series: Path) -> None:
    """A volume of usual size takes a few seconds of one core."""
    phantom = make("brain", seed=0)
    frames = render(decode(describe(write(phantom, series / "speed")), phantom.anatomy))
    start = process_time()
    ClassicalEngine().answer(frames, STANDARD[Anatomy.BRAIN], ReadingControl())
    assert process_time() - start < 6


def test_normal_head_is_absent() -> None:
    """Ventricles, skull, texture and noise are no outliers."""
    for seed in range(3):
        answers = _read(_head(seed=seed))
        assert answers["any"].presence is Presence.ABSENT
        assert answers["any"].evidence == ()


@pytest.mark.parametrize(("value", "polarity"), [(220, "bright"), (12, "dark")])
def test_box_is_tight(value: float, polarity: str) -> None:
    """A spot is found on the frames that show it, with a box at half of its amplitude."""
    answers = _read(_head((6, 70, 130, 5.5, value), ventricles=110))
    (tracklet,) = answers["any"].evidence
    assert tracklet.frame_indices == (5, 6, 7)
    assert iou(_box(tracklet, 6), Box(x0=125, y0=65, x1=136, y1=76)) >= 0.8
    assert f"lesion-1: {polarity}, 11 mm" in answers["any"].reasoning
    assert answers["where.any"].text == "lesion-1 on frames 6-8, about column 130, row 70."


def test_bright_and_dark_are_two_kinds() -> None:
    """Lesions of two polarities are counted as two kinds, and tracklets are shared between answers."""
    answers = _read(_head((6, 70, 130, 5, 220), (8, 140, 60, 5, 220), (6, 130, 125, 4.5, 10)))
    assert answers["count.lesions"].count == 3
    assert answers["count.kinds"].count == 2
    for shown, again in zip(answers["any"].evidence, answers["where.any"].evidence, strict=True):
        assert shown is again
    assert "2 bright and 1 dark" in answers["summary"].text
    assert answers["summary"].text.startswith("A rule-based detector without medical knowledge")
    assert answers["summary"].text.count(". ") == 1


def test_paired_structures_are_no_lesions() -> None:
    """What has its like on the other side is anatomy; the same spot alone is not."""
    left, right = (6, 70, 132, 5, 220), (6, 70, 48, 5, 220)
    assert _read(_head(left, right))["any"].presence is Presence.ABSENT
    assert _read(_head(left))["any"].presence is Presence.PRESENT
    sagittal = replace(_head(left, right), plane=Plane.SAGITTAL)
    assert len(_read(sagittal)["any"].evidence) == 2


def test_head_may_be_turned() -> None:
    """Ventricles of a head that is turned and off-centre are still a pair, and a lesion is still found."""
    for spots, count in (((), 0), (((6, 70, 130, 5.5, 220),), 1)):
        straight = _head(*spots)
        turned = ndimage.rotate(straight.pixels, 13, axes=(1, 2), reshape=False, order=1)
        moved = np.roll(turned, 8, axis=2)
        assert len(_read(_frames(moved))["any"].evidence) == count


def test_single_frame_is_not_enough() -> None:
    """An outlier on one thin frame may be noise or a vessel; on a thick one it counts."""
    pixels = _head().pixels.copy()
    pixels[6, 66:76, 125:135] = 220
    assert _read(_frames(pixels))["any"].presence is Presence.ABSENT
    thick = _frames(pixels, slice_spacing_mm=7.0)
    assert [t.frame_indices for t in _read(thick)["any"].evidence] == [(6,)]


def test_line_is_no_lesion() -> None:
    """A bright line (a vessel, a fissure) is not compact."""
    pixels = _head().pixels.copy()
    pixels[5:8, 60:85, 128:132] = 220
    assert _read(_frames(pixels))["any"].presence is Presence.ABSENT


def test_too_many_outliers_are_not_understood() -> None:
    """A texture full of spots is undecided, never "absent" and never a hundred boxes."""
    rng = np.random.default_rng(5)
    spots: list[_Spot] = []
    while len(spots) < 60:
        row, column = rng.uniform(35, 165), rng.uniform(30, 150)
        frame = float(rng.choice([2, 6, 10]))
        apart = all(f != frame or (r - row) ** 2 + (c - column) ** 2 > 15**2 for f, r, c, _s, _v in spots)
        if apart and ((column - 90) / 60) ** 2 + ((row - 100) / 74) ** 2 < 0.8:
            spots.append((frame, row, column, 3.0, 240.0))
        elif rng.random() < 0.002:
            break
    frames = replace(_head(*spots), plane=Plane.SAGITTAL)
    assert len(spots) > 30
    answers = _read(frames)
    assert answers["any"].presence is Presence.UNDETERMINED
    assert answers["screen.white-matter"].presence is Presence.UNDETERMINED
    assert not any(answer.evidence for answer in answers.values())
    assert "not understood" in answers["summary"].text


@pytest.mark.parametrize("grey", [0, 90, 255])
@pytest.mark.parametrize("pixel_size_mm", [0.2, 1.0])
def test_nothing_to_look_at_is_undecided(grey: int, pixel_size_mm: float) -> None:
    """Where no head can be told from its rim, or nothing from anything, the engine abstains."""
    blank = _frames(np.full((5, 64, 64), grey, np.uint8), pixel_size_mm=pixel_size_mm)
    assert _read(blank)["any"].presence is Presence.UNDETERMINED


def test_unknown_weighting_names_nothing() -> None:
    """Without a known contrast every lesion is nonspecific and every screen is outside the engine's scope."""
    frames = replace(_head((6, 70, 130, 5, 220)), weighting=Weighting.UNKNOWN)
    answers = _read(frames)
    assert [t.label for t in answers["any"].evidence] == [GENERIC_LABEL[Anatomy.BRAIN]]
    screens = [answer for name, answer in answers.items() if name.startswith("screen")]
    assert {answer.unanswered for answer in screens} == {Unanswered.OUTSIDE_ENGINE_SCOPE}
    assert answers["which"].unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE


def test_screens_without_a_rule_are_not_assessed() -> None:
    """On FLAIR two screens are answered; quality and all the others are outside the engine's scope."""
    answers = _read(_head((6, 70, 130, 5, 220)))
    answered = {name for name, a in answers.items() if name.startswith("screen") and a.unanswered is None}
    assert answered == {"screen.white-matter", "screen.lacunar-infarct"}
    assert answers["screen.white-matter"].presence is Presence.PRESENT
    assert answers["screen.lacunar-infarct"].presence is Presence.ABSENT
    assert answers["quality"].unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE
    assert answers["which"].chosen == (_WHITE_MATTER,)


def test_unnamed_outlier_leaves_the_screen_open() -> None:
    """A bright outlier too large for the rule may still be what is asked for: undecided, not absent."""
    answers = _read(_head((6, 70, 130, 12, 220)))
    assert answers["any"].presence is Presence.PRESENT
    assert answers["screen.white-matter"].presence is Presence.UNDETERMINED
    assert answers["screen.lacunar-infarct"].presence is Presence.ABSENT
    assert answers["which"].unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE


def test_no_certainty_is_claimed() -> None:
    """No answer states a certainty; scores grow with the outlier's amplitude and lie between 0.5 and 1."""
    answers = _read(_head((6, 70, 130, 5.5, 230), (6, 140, 60, 5.5, 165)))
    assert all(answer.certainty is None and not answer.calibrated for answer in answers.values())
    strong, weak = (tracklet.score for tracklet in answers["any"].evidence)
    assert strong is not None
    assert weak is not None
    assert 0.5 <= weak < strong < 1


def test_same_frames_same_answers() -> None:
    """The engine is deterministic and keeps nothing between two readings."""
    engine, frames = ClassicalEngine(), _head((6, 70, 130, 5, 220))
    questions = STANDARD[Anatomy.BRAIN]
    first = engine.answer(frames, questions, ReadingControl())
    engine.answer(_head(seed=4), questions, ReadingControl())
    assert engine.answer(frames, questions, ReadingControl()) == first
    engine.close()
    engine.close()


def test_every_field_of_the_parameters_is_in_the_digest() -> None:
    """A change of any number or name changes the engine's identity."""
    default = ClassicalParameters()
    digests = {ClassicalEngine(default).describe().digest}
    numbers = {name: value for name, value in asdict(default).items() if isinstance(value, (int, float))}
    for name, value in numbers.items():
        changed: dict[str, Any] = {name: value + 1}
        digests.add(ClassicalEngine(replace(default, **changed)).describe().digest)
    rules = {name: value for name, value in asdict(default).items() if isinstance(value, dict)}
    for name, values in rules.items():
        for inner, number in values.items():
            changed = {name: replace(getattr(default, name), **{inner: number * 2})}
            digests.add(ClassicalEngine(replace(default, **changed)).describe().digest)
    digests.add(ClassicalEngine(replace(default, naming=default.naming[:1])).describe().digest)
    assert len(digests) == 1 + len(numbers) + sum(len(values) for values in rules.values()) + 1
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in digests)
    assert ClassicalEngine().describe() == ClassicalEngine(ClassicalParameters()).describe()


def test_own_questions() -> None:
    """A set of one's own is answered by kind and labels; a count of something else is outside the scope."""
    questions = QuestionSet(
        set_id="own-1",
        anatomy=Anatomy.BRAIN,
        questions=(
            Question(question_id="foci", kind=QuestionKind.LOCALISATION, text="Where?", labels=(_WHITE_MATTER,)),
            Question(question_id="masses", kind=QuestionKind.LOCALISATION, text="Where?", labels=("Mass",)),
            Question(question_id="x.count.lesions", kind=QuestionKind.COUNTING, text="?", labels=(_WHITE_MATTER,)),
            Question(question_id="x.count.frames", kind=QuestionKind.COUNTING, text="How many frames?"),
        ),
    )
    frames = _head((6, 70, 130, 5, 220), (8, 130, 60, 12, 220))
    answers = {a.question_id: a for a in ClassicalEngine().answer(frames, questions, ReadingControl())}
    assert [t.label for t in answers["foci"].evidence] == [_WHITE_MATTER]
    assert answers["masses"].unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE
    assert answers["x.count.lesions"].count == 1
    assert answers["x.count.frames"].unanswered is Unanswered.OUTSIDE_ENGINE_SCOPE


def test_own_rules() -> None:
    """Names come from the table handed in."""
    rule = NamingRule(
        anatomy=Anatomy.BRAIN,
        weighting=Weighting.T2,
        polarity=Polarity.BRIGHT,
        min_size_mm=1,
        max_size_mm=30,
        label="Mass",
    )
    frames = replace(_head((6, 70, 130, 5, 220)), weighting=Weighting.T2)
    answers = _read(frames, ClassicalParameters(naming=(rule,)))
    assert answers["screen.mass"].presence is Presence.PRESENT
    assert answers["which"].chosen == ("Mass",)


def test_cancelled_reading_looks_at_nothing() -> None:
    """A cancelled reading ends at once, to be retried."""
    control = ReadingControl(is_cancelled=lambda: True)
    with pytest.raises(EngineUnavailable):
        ClassicalEngine().answer(_head(), STANDARD[Anatomy.BRAIN], control)


@pytest.mark.parametrize(
    ("folder", "anatomy"),
    [
        ("classic_mr_brain/ge_signa_fse_pd_ax", Anatomy.BRAIN),
        ("classic_mr_brain/siemens_prisma_t1_fl2d_sag", Anatomy.BRAIN),
        ("knee/ge_mr750_mese_sag_te19", Anatomy.KNEE),
    ],
)
def test_volunteers_are_not_covered_with_boxes(folder: str, anatomy: Anatomy) -> None:
    """On series of volunteers the engine finds next to nothing, and what it does is compact."""
    path = _DATA / folder
    if not path.is_dir():
        pytest.skip("needs the shared series, which are not part of the distribution")
    frames = render(decode(describe(sorted(path.glob("*.dcm"))), anatomy))
    answers = _read(frames)
    assert len(answers["any"].evidence) <= 2
    for tracklet in answers["any"].evidence:
        for finding in tracklet.findings:
            assert max(finding.box.width, finding.box.height) * frames.pixel_size_mm <= 45
