import pytest

from sgmri.errors import ConfigError
from sgmri.settings import Settings, documented_keys, parse


def test_an_empty_mapping_gives_the_defaults() -> None:
    """Without a file the product has a complete configuration that admits nobody."""
    settings = parse({})
    assert settings == Settings()
    assert settings.listener.peers == ()
    assert settings.listener.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("mapping", "nearest"),
    [
        ({"listener": {"ae_titel": "X"}}, "ae_title"),
        ({"listner": {}}, "listener"),
        ({"listener": {"peers": [{"ae_title": "A", "hots": "1.2.3.4"}]}}, "host"),
        ({"delivery": {"retry_fist_s": 1.0}}, "retry_first_s"),
    ],
)
def test_an_unknown_key_names_the_nearest(mapping: dict[str, object], nearest: str) -> None:
    """A misspelt key is an error that says what was probably meant."""
    with pytest.raises(ConfigError, match=f"did you mean '{nearest}'"):
        parse(mapping)


@pytest.mark.parametrize(
    ("mapping", "path"),
    [
        ({"listener": {"port": "104"}}, "listener.port"),
        ({"listener": {"port": 70000}}, "listener.port"),
        ({"listener": {"port": True}}, "listener.port"),
        ({"listener": {"ae_title": "A" * 17}}, "listener.ae_title"),
        ({"listener": {"ae_title": "A\\B"}}, "listener.ae_title"),
        ({"listener": {"peers": [{"ae_title": ""}]}}, "listener.peers"),
        ({"listener": {"peers": "SCANNER"}}, "listener.peers"),
        ({"listener": []}, "listener"),
        ({"worker": {"device": "tpu"}}, "worker.device"),
        ({"worker": {"max_kv_bytes": 0}}, "worker.max_kv_bytes"),
        ({"series": {"quiet_period_s": 0}}, "series.quiet_period_s"),
        ({"series": {"quiet_period_s": -1.0}}, "series.quiet_period_s"),
        ({"worker": {"max_attempts": 0}}, "worker.max_attempts"),
        ({"delivery": {"commitment": "yes"}}, "delivery.commitment"),
        ({"log": {"level": "LOUD"}}, "log.level"),
        ({"listener": {"receiver": "theirs"}}, "own or pynetdicom"),
        ({"listener": {"durability": "often"}}, "strict, journal or none"),
        ({"listener": {"receiver": "pynetdicom", "durability": "journal"}}, "journal needs listener.receiver"),
        ({"log": {"format": "xml"}}, "log.format"),
    ],
)
def test_a_wrong_value_names_its_key(mapping: dict[str, object], path: str) -> None:
    """The type and the range of every value are checked at start, not at first use."""
    with pytest.raises(ConfigError) as caught:
        parse(mapping)
    assert path in str(caught.value)


def test_whole_numbers_are_good_seconds() -> None:
    """TOML's 15 is 15.0 seconds."""
    assert parse({"series": {"quiet_period_s": 20}}).series.quiet_period_s == 20.0


def test_every_key_is_documented_with_unit_and_default() -> None:
    """No key without a meaning; a key that ends in _s or _bytes states its unit."""
    keys = list(documented_keys())
    assert len(keys) > 30
    for key in keys:
        assert key.doc, key.path
        if key.path.endswith("_s"):
            assert key.unit == "s", key.path
        if key.path.endswith("_bytes"):
            assert key.unit == "bytes", key.path


def _dimse(**keys: object) -> dict[str, object]:
    return {"name": "archive", "ae_title": "ARCHIVE", **keys}


def test_the_delivery_table_is_the_first_destination() -> None:
    """What [delivery] says is a destination of its own, before the others; without an AE title it is none."""
    settings = parse({"delivery": {"ae_title": "PACS", "commitment": False}, "destination": [_dimse()]})
    first, second = settings.outlets
    assert (first.name, first.ae_title, first.proves) == ("delivery", "PACS", False)
    assert (second.name, second.proves) == ("archive", True)
    assert parse({"destination": [_dimse()]}).outlets == (second,)
    assert parse({}).outlets == ()


@pytest.mark.parametrize(
    ("destinations", "named"),
    [
        ([_dimse(name="")], r"destination\[0\]\.name"),
        ([_dimse(), _dimse(name="ARCHIVE")], r"destination\[1\]\.name: expected a name of its own"),
        ([_dimse(name="delivery")], "take another name"),
        ([_dimse(ae_title="")], r"destination\[0\]\.ae_title"),
        ([_dimse(port=70000)], r"destination\[0\]\.port"),
        ([_dimse(kind="ftp")], "dimse or stow"),
        ([_dimse(commitment="always")], "storage-commitment, query or none"),
        ([{"name": "web", "kind": "stow", "url": "http://pacs/dicom-web"}], "STOW-RS has no storage commitment"),
        ([{"name": "web", "kind": "stow", "url": "http://u:p@pacs/", "commitment": "query"}], "without user name"),
        ([{"name": "web", "kind": "stow", "url": "pacs/", "commitment": "query"}], r"destination\[0\]\.url"),
        ([_dimse(viewer=["ohif"])], "did you mean 'viewers'"),
    ],
)
def test_a_destination_that_cannot_work_is_named(destinations: list[dict[str, object]], named: str) -> None:
    """Which of the destinations, which key, and what was expected."""
    with pytest.raises(ConfigError, match=named):
        parse({"delivery": {"ae_title": "PACS"}, "destination": destinations})
