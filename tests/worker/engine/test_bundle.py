"""Bundles: what was sealed loads, and nothing else does."""

import json
import os
import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import ConfigError, EngineError
from worker.engine.bundle import Bundle, find_bundles, load, seal, verify
from worker.engine.manifest import MANIFEST_NAME, Manifest

MANIFEST = Manifest(
    model_id="sgmri-test",
    version="1.0",
    kind="qwen3-vl",
    profile_name="native",
    profile={"pixels": {"most": 200_704, "ratio": 1.5}, "coordinates": "pixel_xywh", "frame_base": 1, "tags": ["ü"]},
    labels=("Mass", "Lacunar infarct"),
    question_set_ids=("brain-1",),
    intended_use=f"Tests. {RESEARCH_USE_STATEMENT}",
    licence="MIT",
    versions={"torch": "2.13.0"},
)


def fill(directory: Path) -> Path:
    """Write a directory that can be sealed; real safetensors and npz, the rest as opaque as to the bundle."""
    directory.mkdir()
    save_file({"weight": np.arange(12, dtype=np.float16)}, directory / "model.safetensors")
    np.savez(directory / "golden.npz", logits=np.ones((2, 3), np.float32), words=np.array(["yes", "no"]))
    for name in ("config.json", "tokenizer.json", "calibration.json", "encoder.onnx", "chat_template.jinja"):
        (directory / name).write_text(f'{{"name": "{name}"}}', encoding="utf-8")
    (directory / "MODEL_CARD.md").write_text("# A model\n", encoding="utf-8")
    return directory


FILES = (
    "MODEL_CARD.md",
    "calibration.json",
    "chat_template.jinja",
    "config.json",
    "encoder.onnx",
    "golden.npz",
    "model.safetensors",
    "tokenizer.json",
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return fill(tmp_path / "bundle")


@pytest.fixture
def sealed(directory: Path) -> Bundle:
    return seal(directory, MANIFEST)


def test_what_was_sealed_loads(sealed: Bundle) -> None:
    """Loading returns what sealing returned: manifest, files, digest; and the digest is the reader's identity."""
    loaded = load(sealed.directory, expect_digest=sealed.digest)
    assert loaded == sealed
    assert tuple(loaded.files) == FILES
    assert dict(loaded.manifest.profile) == dict(MANIFEST.profile)
    identity = loaded.identity()
    assert (identity.name, identity.version, identity.digest) == ("sgmri-test", "1.0", sealed.digest)
    assert loaded.path("config.json").read_text(encoding="utf-8") == '{"name": "config.json"}'


def test_the_digest_belongs_to_the_content_alone(tmp_path: Path, sealed: Bundle) -> None:
    """The same content elsewhere has the same digest; another manifest or another byte has another."""
    assert seal(fill(tmp_path / "again"), MANIFEST).digest == sealed.digest
    assert seal(fill(tmp_path / "newer"), replace(MANIFEST, version="1.1")).digest != sealed.digest
    other = fill(tmp_path / "other")
    (other / "MODEL_CARD.md").write_text("# B model\n", encoding="utf-8")
    assert seal(other, MANIFEST).digest != sealed.digest


@pytest.mark.parametrize("name", [*FILES, MANIFEST_NAME])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_one_changed_byte_is_refused(sealed: Bundle, name: str, place: float) -> None:
    """A single bit anywhere in any file, the manifest too, stops the bundle; the file is named."""
    path = sealed.directory / name
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match=name):
        load(sealed.directory)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def missing(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [longer, missing, link, pipe, folder])
@pytest.mark.parametrize("name", ["model.safetensors", MANIFEST_NAME])
def test_a_file_that_is_not_the_file_is_refused(sealed: Bundle, name: str, harm: Callable[[Path], None]) -> None:
    """A longer or missing file, a link out (to the same bytes), a pipe or a directory in its place is refused."""
    harm(sealed.directory / name)
    with pytest.raises(EngineError, match=name):
        load(sealed.directory)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "pytorch_model.bin", "bundle.json.partial", "x\n\x1b[2J.txt"])
def test_an_unlisted_file_is_refused(sealed: Bundle, name: str) -> None:
    """Whatever else lies in the directory stops the bundle, and its name is shown without control characters."""
    (sealed.directory / name).write_text("x", encoding="utf-8")
    with pytest.raises(EngineError, match="besides") as caught:
        load(sealed.directory)
    assert str(caught.value).isprintable()


def test_an_unlisted_directory_is_refused(sealed: Bundle) -> None:
    """A folder, even an empty one, stops the bundle."""
    (sealed.directory / "more").mkdir()
    with pytest.raises(EngineError, match="more"):
        load(sealed.directory)


def test_another_bundle_than_the_trusted_one_is_refused(sealed: Bundle) -> None:
    """A whole bundle with another digest than expected is refused, before its weights are read."""
    (sealed.directory / "model.safetensors").unlink()  # would be the complaint if the files came first
    with pytest.raises(EngineError, match="digest"):
        load(sealed.directory, expect_digest="0" * 64)


def test_a_consistent_forgery_needs_the_digest(sealed: Bundle) -> None:
    """Who rewrites file, manifest and digest passes load's own check, and fails against the trusted digest."""
    (sealed.directory / "MODEL_CARD.md").write_text("# Cleared for diagnosis\n", encoding="utf-8")
    (sealed.directory / MANIFEST_NAME).unlink()
    forged = seal(sealed.directory, MANIFEST)
    assert load(forged.directory).digest != sealed.digest
    with pytest.raises(EngineError, match="digest"):
        load(forged.directory, expect_digest=sealed.digest)


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "model.pt",
        "weights.pkl",
        "modeling.py",
        "run.sh",
        "notes",
        ".hidden.json",
        "a b.txt",
        "X.JSON",
    ],
)
def test_what_could_hold_code_is_not_sealed(directory: Path, name: str) -> None:
    """Pickles, code, names without a known ending and names with tricks are refused, and nothing is written."""
    (directory / name).write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(EngineError, match="expected"):
        seal(directory, MANIFEST)
    assert not (directory / MANIFEST_NAME).exists()


def test_a_pickle_inside_an_npz_is_not_sealed(directory: Path) -> None:
    """An npz with an object array, which numpy reads by unpickling, is refused."""
    np.savez(directory / "golden.npz", allow_pickle=True, bad=np.array([{"a": 1}], dtype=object))
    with pytest.raises(EngineError, match=r"golden\.npz: .*pickle"):
        seal(directory, MANIFEST)


def test_a_file_that_only_calls_itself_npz_is_not_sealed(directory: Path) -> None:
    """A bare pickle under the name of an npz is refused."""
    (directory / "golden.npz").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(EngineError, match=r"golden\.npz: .*BadZipFile"):
        seal(directory, MANIFEST)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "encoder.onnx", "MODEL_CARD.md", "model.safetensors"]
)
def test_a_bundle_without_its_core_is_not_sealed(directory: Path, name: str) -> None:
    """Without configuration, tokenizer, encoder, card or weights there is no bundle."""
    (directory / name).unlink()
    with pytest.raises(EngineError, match=name):
        seal(directory, MANIFEST)


def test_a_bundle_is_sealed_once(sealed: Bundle) -> None:
    """A second seal is refused and the first stays as it is."""
    before = (sealed.directory / MANIFEST_NAME).read_bytes()
    with pytest.raises(EngineError, match="never changes"):
        seal(sealed.directory, replace(MANIFEST, version="2"))
    assert (sealed.directory / MANIFEST_NAME).read_bytes() == before


def test_sealing_goes_on_after_a_crash(directory: Path, tmp_path: Path) -> None:
    """What a killed seal left behind is replaced, not sealed in."""
    (directory / "bundle.json.partial").write_text("{", encoding="utf-8")
    assert seal(directory, MANIFEST).digest == seal(fill(tmp_path / "whole"), MANIFEST).digest


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"labels": ("Mass", "Glioma")}, "labels"),
        ({"labels": ()}, "labels"),
        ({"labels": ("Mass", "Mass")}, "labels"),
        ({"question_set_ids": ("brain-2",)}, "question_set_ids"),
        ({"question_set_ids": ()}, "question_set_ids"),
        ({"intended_use": "Diagnosis of everything."}, "intended_use"),
        ({"kind": "resnet"}, "kind"),
        ({"model_id": "a\\b"}, "model_id"),
        ({"version": "1" * 65}, "version"),
        ({"licence": " "}, "licence"),
        ({"profile": {"ratio": float("nan")}}, "profile"),
        ({"profile": {"path": Path("x")}}, "profile"),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused(change: dict[str, object], complaint: str) -> None:
    """Unknown labels, question sets and kinds, a missing research-use sentence and what is no JSON are named."""
    with pytest.raises(EngineError, match=complaint):
        replace(MANIFEST, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 2}', '{"schema": 1}', "[" * 100_000, '{"schema": 1, "files": {"../config.json": {}}}'],
)
def test_a_manifest_that_is_none_is_refused(sealed: Bundle, text: str) -> None:
    """Text that is no manifest of this schema, or names a path, is refused as such and not as a crash."""
    (sealed.directory / MANIFEST_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(EngineError, match=MANIFEST_NAME):
        load(sealed.directory)


def test_an_unknown_field_is_refused(sealed: Bundle) -> None:
    """A manifest with a field more than this version knows is not half understood."""
    path = sealed.directory / MANIFEST_NAME
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "trust": "me"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    with pytest.raises(EngineError, match=MANIFEST_NAME):
        load(sealed.directory)


def test_a_path_that_is_no_directory_is_a_wrong_setting(directory: Path) -> None:
    """A missing path and a file are configuration errors; a directory without manifest is no bundle."""
    for path in (directory / "missing", directory / "config.json"):
        with pytest.raises(ConfigError, match="directory"):
            load(path)
    with pytest.raises(EngineError, match="no sealed bundle"):
        load(directory)


def test_verify_names_every_file(sealed: Bundle) -> None:
    """Each file has an outcome of its own: one bad file does not hide the next."""
    (sealed.directory / "config.json").write_text('{"name": "konfig.json"}', encoding="utf-8")
    (sealed.directory / "encoder.onnx").unlink()
    checks = {check.name: check.problem for check in verify(sealed.directory)}
    assert set(checks) == {*FILES, MANIFEST_NAME}
    assert {name for name, problem in checks.items() if problem} == {"config.json", "encoder.onnx"}


def test_a_file_that_is_not_sealed_is_not_handed_out(sealed: Bundle) -> None:
    """Only listed names have a path."""
    with pytest.raises(EngineError, match="lists"):
        sealed.path("../bundle/config.json")


def test_bundles_are_found_good_and_bad(tmp_path: Path, sealed: Bundle) -> None:
    """A list shows good bundles, incomplete ones and broken manifests, and leaves other folders alone."""
    short = seal(fill(tmp_path / "short"), replace(MANIFEST, version="2"))
    longer(short.directory / "model.safetensors")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / MANIFEST_NAME).write_text("{}", encoding="utf-8")
    (tmp_path / "else").mkdir()
    found = {item.directory.name: item for item in find_bundles([tmp_path, sealed.directory])}
    assert set(found) == {"bundle", "short", "broken"}
    assert found["bundle"].claim == sealed
    assert found["bundle"].problem is None
    assert "model.safetensors" in str(found["short"].problem)
    assert found["broken"].claim is None


def test_large_weights_are_not_held_in_memory(directory: Path) -> None:
    """128 MB of weights are sealed and verified with less than 16 MB."""
    save_file({"weight": np.zeros(1 << 26, np.float16)}, directory / "model.safetensors")
    tracemalloc.start()
    try:
        seal(directory, MANIFEST)
        load(directory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
