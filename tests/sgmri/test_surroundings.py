"""The promises that tests/conftest.py makes to every other test."""

import os
import socket

import pydicom
import pytest


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, ("192.0.2.1", 104)), (socket.AF_INET6, ("2001:db8::1", 104, 0, 0))],
    ids=["IPv4", "IPv6"],
)
def test_no_test_reaches_another_machine(family: socket.AddressFamily, address: tuple[str, int]) -> None:
    """Connecting to anything but loopback fails the test before a packet leaves."""
    with socket.socket(family, socket.SOCK_STREAM) as sock, pytest.raises(AssertionError, match="loopback only"):
        sock.connect(address)


def test_no_test_asks_a_name_server() -> None:
    """A name that is not this machine's is not even looked up."""
    with pytest.raises(AssertionError, match="loopback only"):
        socket.create_connection(("pacs.example", 104), timeout=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_open(host: str) -> None:
    """A server on loopback can be reached."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection((host, server.getsockname()[1]), timeout=5) as connection,
    ):
        assert connection.getpeername() == server.getsockname()


def test_a_value_that_the_standard_forbids_cannot_be_set() -> None:
    """A complaint of pydicom about a value that its VR forbids ends the test."""
    with pytest.raises(UserWarning, match="Invalid value"):
        pydicom.Dataset().StudyDate = "not a date"


def test_text_outside_its_character_set_cannot_be_written() -> None:
    """Writing raises where pydicom would otherwise write question marks."""
    with pytest.raises(UnicodeEncodeError):
        pydicom.charset.encode_string("\u8133", ["latin_1"])


def test_the_environment_configures_nothing() -> None:
    """No SGMRI_ variable of the desk leaks into a test."""
    assert not [name for name in os.environ if name.startswith("SGMRI_")]
