"""Setting up as the README says."""

import io
import re
import sys
from pathlib import Path

import httpx
import pytest

from conformance.pacs import SmallPacs
from conformance.phantoms import Phantom
from plugin.cli.main import main
from plugin.demo import answers
from plugin.parts import free_port, wait_until
from sgmri.lifecycle import State
from tests.e2e.system import System

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.slow]

README = Path(__file__).resolve().parents[2] / "README.md"


def _has_pages(port: int) -> bool:
    try:
        return "Log in" in httpx.get(f"http://127.0.0.1:{port}/login").text
    except httpx.TransportError:
        return False


def test_the_readme_sets_up_a_machine(system: System, brain: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file of under 20 lines, three commands: with our ports in it the doctor is content, and a study is read."""
    section = README.read_text(encoding="utf-8").partition("## Set up\n")[2].partition("\n## ")[0]
    (toml,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert len(toml.splitlines()) < 20
    lines = [line.partition("#")[0].split() for line in commands.splitlines()]
    assert [words[:2] for words in lines] == [["pip", "install"], ["sgmri", "users"], ["sgmri", "serve"]]
    dashboard_port = free_port()
    with SmallPacs(
        "ORTHANC",
        directory=system.state_dir / "small",
        peers={"SGMRI": ("127.0.0.1", system.port), "SCANNER": ("127.0.0.1", 1)},
    ) as pacs:
        ours = {
            '"0.0.0.0"': '"127.0.0.1"',
            "11112": str(system.port),
            "/var/lib/sgmri": str(system.state_dir / "state"),
            "192.0.2.7": "127.0.0.1",
            "4242": str(pacs.port),
            "enabled = true\n": f"enabled = true\nport = {dashboard_port}\n",
            "[[listener.peers]]  ": '[[listener.peers]]\nae_title = "SCANNER"\n[[listener.peers]]  ',
        }
        for theirs, here in ours.items():
            assert theirs in toml
            toml = toml.replace(theirs, here)
        config = system.state_dir / "sgmri.toml"
        # Who reads does not matter here, and the model takes its time to load
        config.write_text(f'{toml}[worker]\nengine = "classical"\n[series]\nquiet_period_s = 1\n', encoding="utf-8")
        monkeypatch.setenv("SGMRI_BROKER_URL", system.broker_url)
        commands_of = [[word.replace("sgmri.toml", str(config)) for word in words[1:]] for words in lines]
        monkeypatch.setattr(sys, "stdin", io.StringIO("plum-vector-teapot-91\n"))
        assert main(commands_of[1]) == 0
        assert main(["doctor", "--config", str(config)]) == 0
        command = commands_of[2]
        system.processes.start("all", [sys.executable, "-m", "plugin.cli", *command])
        wait_until(lambda: answers(system.listener), system.processes, "the listener", timeout_s=90.0)
        wait_until(lambda: _has_pages(dashboard_port), system.processes, "the dashboard", timeout_s=90.0)
        system.send(brain)
        assert system.wait(State.COMMITTED, State.FAILED, timeout_s=150).state is State.COMMITTED
