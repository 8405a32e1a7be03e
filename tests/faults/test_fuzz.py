"""A short run of the fuzz (scripts/fuzz has the long one)."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_io.receiver import commands
from sgmri.errors import ProtocolViolation
from tests.faults.fuzz import Fuzz


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Fuzz:
    return Fuzz(tmp_path_factory.mktemp("fuzz"))


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 40))
def test_damaged_input_only_ends_its_association(fuzz: Fuzz, seed: int) -> None:
    """PDUs, requests, commands, headers and segments, damaged: our errors, an answer, or a closed connection."""
    fuzz.one(seed)


@given(st.binary(max_size=300))
def test_any_command_set_is_decoded_or_a_violation(content: bytes) -> None:
    """Whatever stands in a command set, the response is built from checked values."""
    try:
        command = commands.decode(content)
    except ProtocolViolation:
        return
    assert len(commands.response(command, 0)) < 300
