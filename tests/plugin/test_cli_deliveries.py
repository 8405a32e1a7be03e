"""What an operator sees of several destinations, and may do about one that was given up."""

import json
from pathlib import Path

import pytest

from plugin.cli.main import main
from plugin.settings import load
from sgmri.lifecycle import Reason, State
from tests.deliveries import delivery_of, waiting
from tests.worker.place import Place, small

CONFIG = """
[storage]
state_dir = "{state_dir}"
[broker]
url = "redis://127.0.0.1:1/0"
[delivery]
timeout_s = 3.0
max_connection_failures = 1
[[destination]]
name = "archive"
ae_title = "SMALLPACS"
port = {port}
commitment = "none"
[[destination]]
name = "dead"
ae_title = "DEAD"
port = 1
"""


def test_status_and_retry_know_each_destination(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names both, with the dead one's reason; JSON counts objects; retry makes a given-up one due again."""
    with small(tmp_path) as pacs:
        config = tmp_path / "sgmri.toml"
        config.write_text(CONFIG.format(state_dir=tmp_path, port=pacs.port))
        with waiting(load(config, {}), tmp_path) as place:
            place.deliver()
            assert main(["status", "--config", str(config)]) == 0
            printed = capsys.readouterr().out
            assert "dead cannot be reached and is only probed" in printed
            assert "; archive: STORED; dead: READ (PEER_UNAVAILABLE)" in printed
            assert main(["status", "--json", "--config", str(config)]) == 0
            text = capsys.readouterr().out
            document = json.loads(text)
            assert document["unreachable"] == ["dead"]
            (series,) = document["series"]
            assert [(one["destination"], one["stored"], one["objects"]) for one in series["deliveries"]] == [
                ("archive", 2, 2),
                ("dead", 0, 2),
            ]
            assert "2.25." not in text + printed
            _gives_up(place)
            assert main(["retry", "series", "--config", str(config)]) == 0
            assert "FAILED -> READ" in capsys.readouterr().out
            one = delivery_of(place, "dead")
            assert (one.state, one.tries, one.next_try_at) == (State.READ, 0, 0.0)
            assert delivery_of(place, "archive").state is State.STORED


def _gives_up(place: Place) -> None:
    one = delivery_of(place, "dead")
    assert place.workplace.outbox.deliveries.move(one, State.FAILED, reason=Reason.PEER_UNAVAILABLE)
    assert place.state() is State.FAILED


def test_a_destination_that_takes_no_seg_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kind of the object and the reason stand in the line, of the only destination, too."""
    config = tmp_path / "sgmri.toml"
    config.write_text(CONFIG.format(state_dir=tmp_path, port=1).partition('[[destination]]\nname = "dead"')[0])
    with waiting(load(config, {}), tmp_path) as place:
        one = delivery_of(place, "archive")
        seg = place.workplace.outbox.deliveries.objects(one)[0]
        place.workplace.outbox.deliveries.mark(one, [seg.sop_instance_uid], reason=Reason.UNDELIVERABLE)
        assert main(["status", "--config", str(config)]) == 0
    assert "; archive: READ, SEG UNDELIVERABLE" in capsys.readouterr().out
