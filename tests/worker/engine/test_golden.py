import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sgmri.errors import ConfigError, EngineError
from sgmri.questions import Answer, Presence, QuestionKind
from tests.worker.engine.scripted import LACUNE, WHITE_MATTER, Script, card, frames
from tests.worker.engine.small_bundle import ABOUT, checkpoint, shown, small_bundle, with_other_features
from worker.engine import golden
from worker.engine.bundle import Bundle, load
from worker.engine.bundling import _LONG_AGO, make_bundle
from worker.engine.grounded import GroundedEngine
from worker.engine.loading import golden_problems, load_engine, open_engine
from worker.engine.local import Device
from worker.engine.profiles import PROFILES

_PLACES = {WHITE_MATTER: {2: [(40, 60, 60, 80)]}}


def _engine(places: object = _PLACES) -> GroundedEngine:
    return GroundedEngine(Script(places=places), card())  # type: ignore[arg-type]  # boxes by label and frame


def _encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.full((len(pixels), 4, 3), 2.0, np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("bundle"))


def test_cases_survive_the_file(tmp_path: Path) -> None:
    """Frames, reading and features come back as they were, from plain arrays."""
    case = golden.case_of(_engine(), _encode, frames(), _LONG_AGO)
    golden.write([case, case], tmp_path / "golden.npz")
    first, second = golden.read(tmp_path / "golden.npz")
    np.testing.assert_array_equal(first.frames.pixels, case.frames.pixels)
    assert first.reading == second.reading == case.reading
    assert (first.frames.anatomy, first.frames.plane, first.frames.weighting, first.frames.fat_suppressed) == (
        case.frames.anatomy,
        case.frames.plane,
        case.frames.weighting,
        case.frames.fat_suppressed,
    )
    np.testing.assert_array_equal(first.features, np.full((4, 3), 2.0, np.float16))


def test_the_same_reading_has_no_problem(tmp_path: Path) -> None:
    """An engine that reads as sealed is let to work."""
    case = golden.case_of(_engine(), _encode, frames(), _LONG_AGO)
    assert golden.replay(_engine(), _encode, [case]) == ()


@pytest.mark.parametrize(
    ("places", "word"),
    [
        ({}, "other questions"),
        ({WHITE_MATTER: {2: [(40, 60, 60, 84)]}}, "boxes"),
        ({WHITE_MATTER: {3: [(40, 60, 60, 80)]}}, "boxes"),
        ({WHITE_MATTER: {2: [(40, 60, 60, 80)]}, LACUNE: {1: [(1, 1, 9, 9)]}}, "other questions"),
    ],
)
def test_another_reading_is_noticed(places: object, word: str) -> None:
    """A lost finding, a box that agrees less than 0.9, another frame, a finding more."""
    case = golden.case_of(_engine(), _encode, frames(), _LONG_AGO)
    problems = golden.replay(_engine(places), _encode, [case])
    assert any(word in problem for problem in problems)


def test_a_box_that_agrees_is_the_same() -> None:
    """Half a pixel on one edge is no other reading."""
    case = golden.case_of(_engine(), None, frames(), _LONG_AGO)
    near = {WHITE_MATTER: {2: [(40, 60, 60, 81)]}}
    assert golden.replay(_engine(near), None, [case]) == ()


@pytest.mark.parametrize(
    "encode",
    [
        lambda pixels: np.full((1, 4, 3), 2.1, np.float32),
        lambda pixels: np.full((1, 5, 3), 2.0, np.float32),
        lambda pixels: np.full((1, 4, 3), np.nan, np.float32),
    ],
)
def test_other_features_are_noticed(encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
    """Features that differ by more than the tolerance, in shape, or by not being numbers."""
    case = golden.case_of(_engine(), _encode, frames(), _LONG_AGO)
    assert any("features" in problem for problem in golden.replay(_engine(), encode, [case]))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_what_is_no_case_is_refused(tmp_path: Path, content: bytes) -> None:
    """A broken file stops the model, not the interpreter."""
    (tmp_path / "golden.npz").write_bytes(content)
    with pytest.raises(EngineError, match="golden"):
        golden.read(tmp_path / "golden.npz")
    np.savez(tmp_path / "golden.npz", other=np.zeros(3))
    with pytest.raises(EngineError, match="golden"):
        golden.read(tmp_path / "golden.npz")


def test_a_bundle_reads_its_own_cases(bundle: Bundle) -> None:
    """A freshly sealed bundle opens: it reads as it did when it was sealed, encoder included."""
    open_engine(bundle.directory, Device(), expect_digest=bundle.digest).close()
    assert golden.FILE_NAME in bundle.files


def test_a_changed_expectation_stops_the_engine(bundle: Bundle, tmp_path: Path) -> None:
    """A bundle whose golden cases expect something else, as on a machine that computes otherwise, takes no work."""
    directory = tmp_path / "other"
    sealed = with_other_features(bundle, directory)
    engine, speaker = load_engine(sealed, Device())
    assert any("features" in problem for problem in golden_problems(sealed, engine, speaker))
    engine.close()
    with pytest.raises(EngineError, match="no work is taken"):
        open_engine(directory, Device())


def test_one_changed_byte_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Any file with one flipped bit, and a bundle of another digest: nothing is loaded."""
    for name in ("model.safetensors", "encoder.onnx", "tokenizer.json", golden.FILE_NAME):
        directory = tmp_path / name.replace(".", "-")
        shutil.copytree(bundle.directory, directory)
        content = bytearray((directory / name).read_bytes())
        content[len(content) // 2] ^= 1
        (directory / name).write_bytes(content)
        with pytest.raises(EngineError, match=name):
            open_engine(directory, Device())
    with pytest.raises(EngineError, match="digest"):
        open_engine(bundle.directory, Device(), expect_digest="0" * 64)


def test_a_bundle_without_cases_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing proves that the machine computes right, the log says so."""
    bundle = small_bundle(tmp_path, golden=False)
    open_engine(bundle.directory, Device()).close()
    assert "no golden cases" in caplog.text


def test_nothing_half_made_is_left(tmp_path: Path) -> None:
    """A bundle that cannot be made leaves no directory, and an existing one is not touched."""
    broken = checkpoint(tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"model_type": "other"}))
    with pytest.raises(ConfigError):
        make_bundle(broken, tmp_path / "bundle", ABOUT, PROFILES["sgmri"])
    assert not (tmp_path / "bundle").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError):
        make_bundle(broken, tmp_path / "there", ABOUT, PROFILES["sgmri"])


def test_the_same_files_are_the_same_bundle(bundle: Bundle, tmp_path: Path) -> None:
    """The golden reading's time is no clock's: what is sealed does not depend on when."""
    (case,) = golden.read(bundle.path(golden.FILE_NAME))
    assert case.reading.started_at == _LONG_AGO
    assert load(bundle.directory).digest == bundle.digest
    assert shown().pixels.shape == case.frames.pixels.shape


def test_wording_and_certainty_may_differ() -> None:
    """Words and decimals are the device's own: they make no other reading."""
    answer = Answer(
        question_id="q", kind=QuestionKind.DETECTION, presence=Presence.ABSENT, text="Absent.", certainty=0.98
    )
    assert golden.differences([answer], [replace(answer, text="Not there.", certainty=0.97)]) == []
    assert golden.differences([answer], [replace(answer, question_id="p")])
    assert golden.differences([answer], [])
