from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.finetune.config import FinetuneConfig, FrameSource, Lora, Method, Part, RecipeName, read_config
from sgmri.errors import ConfigError

_WHOLE = """
recipe = "published"
base = "models/base"
out = "runs/one"

[data]
benchmark = ["one", "two"]

[bundle]
name = "tuned"
licence = "MIT"
"""


def _read(tmp_path: Path, text: str) -> FinetuneConfig:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_a_short_file_is_a_whole_configuration(tmp_path: Path) -> None:
    """What a file leaves out has the documented default."""
    config = _read(tmp_path, _WHOLE)
    assert config.recipe is RecipeName.PUBLISHED
    assert config.data.benchmark == (Path("one"), Path("two"))
    assert config.train.method is Method.LORA and config.train.parts == (Part.LANGUAGE, Part.MERGER)
    assert config.lora == Lora()
    assert config.frames is FrameSource.PUBLISHED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("recipe = ", "expected a TOML file"),
        (_WHOLE.replace('base = "models/base"\n', ""), "base: expected a value, found none"),
        (_WHOLE.replace("published", "ours"), "recipe: expected one of published, grounded, found 'ours'"),
        (_WHOLE + "[train]\nepoch = 3\n", "train.epoch: unknown key; known are"),
        (_WHOLE + "[train]\nepochs = 0\n", "train.epochs: expected more than 0, found 0"),
        (_WHOLE + "[train]\nbatch = 1.5\n", "train.batch: expected int, found 1.5"),
        (_WHOLE + "[train]\nbatch = true\n", "train.batch: expected int, found True"),
        (_WHOLE + '[train]\nparts = "merger"\n', "train.parts: expected a list, found 'merger'"),
        (_WHOLE + "[train]\nparts = []\n", "train.parts: expected at least one part, found none"),
        (_WHOLE + "[lora]\nrank = 0\n", "lora.rank, lora.alpha: expected 1 or more, found less"),
        (_WHOLE.replace('["one", "two"]', "[]"), "data.benchmark: expected at least one folder, found none"),
        (_WHOLE.replace("[data]", 'data = "one"\n[other]'), "other: unknown key"),
        (_WHOLE.replace("out =", "max_pixels = 9\nout ="), "expected the grounded recipe"),
        (_WHOLE.replace("[data]", '[data]\nframes = "dicom"'), "data.frames: expected published"),
        (_WHOLE.replace('"MIT"', '" "'), "bundle.licence: expected the licence of the new weights"),
        (_WHOLE + 'encoder_precision = "int8"\n', "bundle.encoder_precision: expected fp16 or fp32, found int8"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    """A key that is unknown, missing or of the wrong kind stops everything, with its name."""
    with pytest.raises(ConfigError, match=r"config\.toml") as raised:
        _read(tmp_path, text)
    assert problem in str(raised.value)


def test_the_examples_can_be_read() -> None:
    """Every example configuration is one."""
    found = sorted((Path(__file__).parents[3] / "examples" / "finetune").glob("*.toml"))
    assert len(found) == 3
    for path in found:
        read_config(path)


def test_the_digest_is_that_of_the_learning(config: FinetuneConfig) -> None:
    """Another seed is another training; another name of the bundle is not."""
    assert replace(config, seed=1).digest != config.digest
    assert replace(config, bundle=replace(config.bundle, name="other")).digest == config.digest
