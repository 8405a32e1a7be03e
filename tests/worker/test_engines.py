"""Engines by name: each is made with what it needs, or says what is missing."""

from pathlib import Path

import pytest

from sgmri.errors import ConfigError, EngineError
from sgmri.settings import Worker
from tests.worker.engine.small_bundle import small_bundle
from worker.engine.classical import ClassicalEngine
from worker.engines import DEFAULT_ENGINE, ENGINES, chosen_device, create_engine


def test_the_default_is_the_model() -> None:
    """Without a word the model reads; the classical engine stays at hand."""
    assert DEFAULT_ENGINE == Worker().engine == "grounded"
    assert set(ENGINES) == {"grounded", "classical", "served"}
    assert isinstance(create_engine("classical"), ClassicalEngine)


def test_an_engine_that_there_is_not_is_told() -> None:
    """The refusal names those that there are."""
    with pytest.raises(ConfigError, match="expected one of grounded, classical, served, found 'oracle'"):
        create_engine("oracle")


def test_a_bundle_is_opened_and_named(tmp_path: Path) -> None:
    """The setting's bundle reads, under its own name and digest; another digest is refused."""
    bundle = small_bundle(tmp_path)
    engine = create_engine("grounded", Worker(model=str(bundle.directory), model_digest=bundle.digest, device="cpu"))
    assert (engine.describe().name, engine.describe().digest) == ("random-tiny", bundle.digest)
    engine.close()
    with pytest.raises(EngineError, match="digest"):
        create_engine("grounded", Worker(model=str(bundle.directory), model_digest="0" * 64, device="cpu"))


def test_a_bundle_that_is_nowhere_is_told(tmp_path: Path) -> None:
    """A directory that is none, and a server without an address, are wrong settings, not crashes."""
    with pytest.raises((ConfigError, EngineError), match="expected"):
        create_engine("grounded", Worker(model=str(tmp_path / "nothing"), device="cpu"))
    with pytest.raises(ConfigError, match="served"):
        create_engine("served", Worker(engine="served"))


def test_a_device_is_taken_at_its_word() -> None:
    """A named device is that one; "auto" is one of the two."""
    assert chosen_device("cuda") == "cuda"
    assert chosen_device("auto") in ("cpu", "cuda")
