import tomllib
from pathlib import Path

import pytest

from plugin.settings import admitted_peers, as_markdown, as_toml, load
from sgmri.errors import ConfigError
from sgmri.settings import documented_keys, parse


def test_the_printed_default_file_is_the_defaults() -> None:
    """`sgmri settings > sgmri.toml` gives a file that changes nothing and names every key."""
    text = as_toml()
    assert parse(tomllib.loads(text)) == parse({})
    for key in documented_keys():
        assert f"{key.path.rpartition('.')[2]} = " in text


def test_the_table_has_a_row_for_every_key() -> None:
    """The documentation's table is complete."""
    rows = as_markdown().splitlines()[2:]
    assert len(rows) == len(list(documented_keys()))


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Secrets stay out of the file: the URLs of journal and broker come from the environment."""
    path = tmp_path / "sgmri.toml"
    path.write_text('[broker]\nurl = "redis://file:1/0"\n')
    settings = load(path, {"SGMRI_BROKER_URL": "redis://env:2/0", "SGMRI_JOURNAL_URL": "postgresql://x"})
    assert (settings.broker.url, settings.storage.journal_url) == ("redis://env:2/0", "postgresql://x")
    assert load(path, {}).broker.url == "redis://file:1/0"


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    """A container's secret: the URL is the file's content, an empty one is none, a missing one ends the start."""
    (tmp_path / "url").write_text("redis://:secret@redis:6379/0\n")
    (tmp_path / "empty").write_text("")
    files = {"SGMRI_BROKER_URL_FILE": str(tmp_path / "url"), "SGMRI_JOURNAL_URL_FILE": str(tmp_path / "empty")}
    settings = load(None, files)
    assert (settings.broker.url, settings.storage.journal_url) == ("redis://:secret@redis:6379/0", "")
    assert load(None, {**files, "SGMRI_BROKER_URL": "redis://env:2/0"}).broker.url == "redis://env:2/0"
    with pytest.raises(ConfigError, match="SGMRI_SPOOL_URL_FILE"):
        load(None, {"SGMRI_SPOOL_URL_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize("url", ["s3://bucket", "s3://key:secret@bucket/x", "file:///spool", "s3://Bad_Bucket/x"])
def test_the_shared_spool_is_a_bucket_without_credentials(url: str) -> None:
    """Only s3://BUCKET/PREFIX; whatever else, and keys within it, are refused with what to give instead."""
    mapping = {"storage": {"spool_url": url}}
    if url == "s3://bucket":
        assert parse(mapping).storage.spool_url == url
    else:
        with pytest.raises(ConfigError, match=r"storage\.spool_url: expected s3://BUCKET/PREFIX"):
            parse(mapping)


@pytest.mark.parametrize("content", ["[listener", "[listener]\nport = \n", "[listener]\nprot = 1\n"])
def test_a_bad_file_is_named(tmp_path: Path, content: str) -> None:
    """No TOML, or an unknown key: the error names the file."""
    path = tmp_path / "sgmri.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"sgmri\.toml"):
        load(path, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that does not exist is an error, not the defaults."""
    with pytest.raises(ConfigError, match="none"):
        load(tmp_path / "none.toml", {})


def test_the_destination_may_call_back() -> None:
    """The PACS that results go to is admitted with its commitment results, and is not doubled."""
    settings = parse({"delivery": {"ae_title": "PACS"}, "listener": {"peers": [{"ae_title": "SCANNER"}]}})
    admitted = admitted_peers(settings)
    assert [peer.ae_title for peer in admitted.listener.peers] == ["SCANNER", "PACS"]
    assert admitted_peers(admitted) == admitted


def test_viewers_are_known_by_name(tmp_path: Path) -> None:
    """A destination may name several viewers; an unknown one is an error that names the file and the choices."""
    path = tmp_path / "sgmri.toml"
    path.write_text('[delivery]\nviewers = ["ohif", "slicer"]\n')
    assert load(path, {}).delivery.viewers == ("ohif", "slicer")
    path.write_text('[delivery]\nviewers = ["osirix"]\n')
    with pytest.raises(
        ConfigError, match=r"sgmri\.toml: delivery\.viewers: expected names among ohif, slicer, .*osirix"
    ):
        load(path, {})
