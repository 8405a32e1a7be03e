"""The surroundings of every test: a clean environment, strict DICOM writing, and no network but loopback."""

import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Iterator

import hypothesis
import pydicom
import pytest

pytest_plugins = ["tests.databases"]

TOGETHER = ("tests/benchmark/finetune/", "tests/conformance/objects/")
"""Folders whose tests share what took long to make; each is run by one xdist worker."""

LOCAL_NAMES = frozenset({"", "localhost", "localhost.localdomain", socket.gethostname()})


class OutsideConnection(AssertionError):
    """A test reached for a machine that is not this one."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in LOCAL_NAMES


def _needs_name_server(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host not in LOCAL_NAMES
    return False


def _only_loopback(event: str, arguments: tuple[object, ...]) -> None:
    # An audit hook sees what libraries do in their own threads too, and needs nothing patched
    host: object = None
    if event == "socket.connect" and isinstance(arguments[1], tuple):  # AF_UNIX has a path instead
        host = arguments[1][0]
        refused = isinstance(host, str) and not _is_loopback(host)
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        refused = isinstance(host, str) and _needs_name_server(host)
    else:
        return
    if refused:
        raise OutsideConnection(f"tests connect to loopback only, found {host!r}")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the process, before any test module is imported."""
    if config.getoption("dist", "no") == "loadgroup" and not hasattr(pytest.Item, "_nodeid"):
        # What pytest-xdist 3.8 writes a group into; it does not tell, and tests run side by side that must not
        raise pytest.UsageError(
            f"expected a pytest whose tests can be grouped, found {pytest.__version__}; install <9.2"
        )
    sys.addaudithook(_only_loopback)
    for name in [name for name in os.environ if name.startswith("SGMRI_")]:
        del os.environ[name]
    # As the command line sets it (plugin.cli.main); here before any test imports torch
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    pydicom.config.settings.writing_validation_mode = pydicom.config.RAISE
    # The machine is shared, so no deadline; in CI the same examples every time, at the desk new ones
    hypothesis.settings.register_profile("desk", deadline=None)
    hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "desk")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep on one xdist worker the tests that drive real processes, and those that share what took long to make."""
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        if item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.xdist_group("e2e"))
        elif shares := _shares(item):
            item.add_marker(pytest.mark.xdist_group(shares))


def _shares(item: pytest.Item) -> str | None:
    path = item.location[0]
    for folder in TOGETHER:
        if path.startswith(folder):
            return folder
    # A fixture of a module is made once in each process that runs one of its tests; pytest has no public way to ask
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009
    return path if any(one.scope == "module" for found in fixtures.values() for one in found) else None


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    """Undo what a command in this process did to the root logger: the next test has a standard error of its own."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
