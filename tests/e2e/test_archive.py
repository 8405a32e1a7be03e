"""How studies reach us from a real Orthanc by themselves: it pushes (examples/orthanc), or we sweep."""

import json
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from conformance.phantoms import Phantom, write
from dicom_io.query import Level, find
from dicom_io.scu import sendable, store
from plugin.demo import answers
from plugin.parts import PacsPart, free_port, orthanc_config, orthanc_server, wait_until
from sgmri.lifecycle import State
from tests.e2e.system import System, require

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.slow]

LUA = Path(__file__).resolve().parents[2] / "examples" / "orthanc" / "send-to-sgmri.lua"


def start_orthanc(system: System, **config: object) -> PacsPart:
    """Start Orthanc with our listener as the modality that the example script names."""
    require("Orthanc")
    server = orthanc_server()
    assert server is not None
    port, directory = free_port(), system.state_dir / "pacs"
    directory.mkdir()
    settings = orthanc_config(directory, port, free_port(), system.peers())
    modalities = settings["DicomModalities"]
    assert isinstance(modalities, dict)
    modalities["sgmri"] = {**modalities.pop("SGMRI"), "AllowMove": True}
    path = directory / "orthanc.json"
    path.write_text(json.dumps({**settings, **config}), encoding="utf-8")
    system.processes.start("orthanc", [server, str(path)], cwd=directory)
    system.pacs = PacsPart(name="Orthanc", ae_title="ORTHANC", port=port, running=nullcontext())
    wait_until(lambda: answers(system.reviewer), system.processes, "Orthanc")
    return system.pacs


def to_orthanc(system: System, phantom: Phantom) -> None:
    """Store a study at Orthanc, as a scanner does."""
    paths = write(phantom, system.state_dir / "scanner")
    store(system.reviewer, [sendable(path) for path in paths])


def instances(system: System) -> dict[str, int]:
    """Return how many instances Orthanc has, by modality."""
    keys = {"StudyInstanceUID": "", "SeriesInstanceUID": "", "Modality": "", "NumberOfSeriesRelatedInstances": ""}
    return {
        match["Modality"]: int(match["NumberOfSeriesRelatedInstances"])
        for match in find(system.reviewer, Level.SERIES, keys)
    }


def test_orthanc_pushes_a_stable_series_and_no_result_comes_back(system: System, brain: Phantom) -> None:
    """The script of examples/ sends the series by itself; SR and SEG return, and Orthanc sends nothing more."""
    start_orthanc(system, LuaScripts=[str(LUA)], StableAge=1)
    system.start_all()  # the destination is a peer
    to_orthanc(system, brain)
    row = system.wait(State.COMMITTED)
    assert row.instances == len(brain.datasets)
    time.sleep(3.0)  # the results are stable by now
    assert system.wait(State.COMMITTED) == row, "one series, which nothing has touched again"
    assert instances(system) == {"MR": len(brain.datasets), "SR": 1, "SEG": 1}


def test_what_came_while_we_were_down_is_swept_and_read_once(system: System, brain: Phantom) -> None:
    """Orthanc has a study that we never got: the next start fetches it; further sweeps, and a restart, do not."""
    pacs = start_orthanc(system)
    to_orthanc(system, brain)
    system.start_all(f'[sweep]\nae_title = "ORTHANC"\nport = {pacs.port}\nwindow_days = 0\nperiod_s = 1.0\n')
    row = system.wait(State.COMMITTED)
    assert row.instances == len(brain.datasets)
    log = system.processes.log("listener")
    system.wait_for(lambda: log.read_text().count("0 series lacking") >= 2, "two sweeps that find nothing")
    system.processes.kill(system.children["listener"])
    system.start("listener")
    system.wait_for(lambda: log.read_text().count("0 series lacking") >= 4, "sweeps after the restart")
    assert system.wait(State.COMMITTED) == row, "one series, which nothing has touched again"
    assert log.read_text().count("a series was fetched from the archive") == 1
    assert instances(system) == {"MR": len(brain.datasets), "SR": 1, "SEG": 1}
