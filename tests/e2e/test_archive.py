"""How studies reach us from a real Orthanc by themselves: it pushes (examples/orthanc), or we sweep."""

import json
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
import requests

from conformance.phantoms import Phantom, make, write
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
    port, http_port, directory = free_port(), free_port(), system.state_dir / "pacs"
    directory.mkdir()
    settings = orthanc_config(directory, port, http_port, system.peers())
    modalities = settings["DicomModalities"]
    assert isinstance(modalities, dict)
    modalities["sgmri"] = {**modalities.pop("SGMRI"), "AllowMove": True}
    path = directory / "orthanc.json"
    path.write_text(json.dumps({**settings, **config}), encoding="utf-8")
    system.processes.start("orthanc", [server, str(path)], cwd=directory)
    url = f"http://127.0.0.1:{http_port}/dicom-web"
    system.pacs = PacsPart(name="Orthanc", ae_title="ORTHANC", port=port, running=nullcontext(), dicomweb_url=url)
    wait_until(lambda: answers(system.reviewer), system.processes, "Orthanc")
    return system.pacs


def to_orthanc(system: System, phantom: Phantom) -> None:
    """Store a study at Orthanc, as a scanner does."""
    paths = write(phantom, system.state_dir / "scanner")
    store(system.reviewer, [sendable(path) for path in paths])


def instances(system: System) -> Counter[str]:
    """Return how many instances Orthanc has, by modality."""
    keys = {"StudyInstanceUID": "", "SeriesInstanceUID": "", "Modality": "", "NumberOfSeriesRelatedInstances": ""}
    counts = Counter[str]()
    for match in find(system.reviewer, Level.SERIES, keys):
        counts[match["Modality"]] += int(match["NumberOfSeriesRelatedInstances"])
    return counts


def jobs(pacs: PacsPart) -> list[str]:
    """Return the states of Orthanc's jobs."""
    assert pacs.dicomweb_url is not None
    answer = requests.get(pacs.dicomweb_url.replace("/dicom-web", "/jobs?expand"), timeout=5.0)
    return [str(job["State"]) for job in answer.json()]


def test_what_orthanc_pushes_and_what_it_could_not_are_each_read_once(system: System, brain: Phantom) -> None:
    """The script of examples/ sends a stable series by itself, and no result comes back.

    A study that comes to Orthanc while we are down is found by the sweep at the next start, and read once.
    """
    pacs = start_orthanc(system, LuaScripts=[str(LUA)], StableAge=1)
    config = system.configure(pacs.ae_title, pacs.port)  # the destination is a peer
    system.start("listener", "worker-reading,delivery")
    to_orthanc(system, brain)
    pushed = system.wait(State.COMMITTED)
    assert pushed.instances == len(brain.datasets)
    time.sleep(3.0)  # the results are stable by now
    assert system.wait(State.COMMITTED) == pushed, "one series, which nothing has touched again"
    assert instances(system) == Counter(MR=len(brain.datasets), SR=1, SEG=1)

    system.processes.kill(system.children["listener"])
    knee = make("knee")
    to_orthanc(system, knee)
    system.wait_for(lambda: "Failure" in jobs(pacs), "a push that fails")
    more = f'[sweep]\nae_title = "ORTHANC"\nport = {pacs.port}\nwindow_days = 0\nperiod_s = 1.0\n'
    config.write_text(f"{config.read_text(encoding='utf-8')}{more}", encoding="utf-8")
    system.start("listener")
    log = system.processes.log("listener")

    def all_read() -> bool:
        states = [row.state for row in system.journal.all_series()]
        return states == [State.COMMITTED] * 2 and log.read_text().count("0 series lacking") >= 2

    system.wait_for(all_read, "both committed, and sweeps that find nothing")
    before, swept = system.journal.all_series()
    assert before == pushed
    assert (swept.instances, swept.generation, swept.attempts) == (len(knee.datasets), 0, 1)
    assert log.read_text().count("a series was fetched from the archive") == 1
    assert instances(system) == Counter(MR=len(brain.datasets) + len(knee.datasets), SR=2, SEG=2)
