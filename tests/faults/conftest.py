"""What the rows of the fault table share: a receiver of each kind, and disks that fail.

A row that pynetdicom's receiver cannot pass is skipped for it with the reason: that is the table of its limitations.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from plugin.processes import Processes
from tests import receivers
from tests.e2e.system import require
from tests.faults.ward import Ward
from tests.receivers import Running

Run = Callable[..., AbstractContextManager[Running]]
SmallDisk = Callable[..., AbstractContextManager[Path]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.faults)


# pynetdicom's receiver polls and lingers: a minute for all rows, which CI takes (scripts/test -m slow at the desk)
@pytest.fixture(params=[pytest.param("pynetdicom", marks=pytest.mark.slow), "own", "own-journal"])
def kind(request: pytest.FixtureRequest) -> str:
    kind = str(request.param)
    limitation = request.node.get_closest_marker("pynetdicom_cannot")
    if limitation and kind == "pynetdicom":
        pytest.skip(f"limitation of pynetdicom's receiver: {limitation.args[0]}")
    return kind


@pytest.fixture
def running(kind: str) -> Run:
    """Run a receiver; settings are those of the listener."""
    return partial(receivers.running, kind)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mount a small file system of its own."""
    mounted = ExitStack()

    @contextmanager
    def mount(options: str) -> Iterator[Path]:
        directory = tmp_path / "disk"
        directory.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting a tmpfs needs rights that this user has not")
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)

    with mounted:
        yield mount


@pytest.fixture
def make_ward(tmp_path: Path) -> Iterator[Callable[[], Ward]]:
    """Make a ward whose listener runs; its broker and workers are the test's to start."""
    require("redis-server")
    (tmp_path / "logs").mkdir()
    with ExitStack() as running:
        processes = running.enter_context(Processes(tmp_path / "logs"))

        def make() -> Ward:
            ward = Ward(tmp_path, processes)
            ward.service.start()
            running.callback(lambda: ward.service.stop())  # a test may have put another in its place
            return ward

        yield make
