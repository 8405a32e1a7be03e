from pathlib import Path

import pytest

from plugin.cli.main import main


def test_a_wrong_configuration_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the key that is wrong."""
    path = tmp_path / "config.toml"
    path.write_text('recipe = "published"\n', encoding="utf-8")
    assert main(["benchmark", "finetune", "--config", str(path)]) == 2
    assert "expected a value, found none" in capsys.readouterr().err


def test_without_a_benchmark_nothing_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without items says which command makes them."""
    path = tmp_path / "config.toml"
    path.write_text(
        f'recipe = "grounded"\nbase = "models/sgmri-embedded"\nout = "{tmp_path / "out"}"\ndevice = "cpu"\n'
        f'[data]\nbenchmark = ["{tmp_path}"]\n[bundle]\nname = "one"\nlicence = "MIT"\n',
        encoding="utf-8",
    )
    assert main(["benchmark", "finetune", "--config", str(path)]) == 2
    assert "sgmri benchmark build" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
