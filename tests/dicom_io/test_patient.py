from pathlib import Path

import pytest

from conformance.phantom_headers import CANARIES
from conformance.phantoms import make_non_mr
from dicom_io.patient import read_patient
from sgmri.errors import MalformedInstance


def test_the_identity_is_read_and_not_repeated_by_chance(tmp_path: Path) -> None:
    """Every value as the header has it, absent ones empty; a log line of the object holds none of them."""
    path = tmp_path / "one.dcm"
    dataset = make_non_mr()
    del dataset.PatientSex
    dataset.save_as(path, enforce_file_format=True)
    found = read_patient(path)
    assert (found.patient_name, found.patient_id) == (CANARIES.patient_name, CANARIES.patient_id)
    assert (found.patient_birth_date, found.accession_number) == (
        CANARIES.patient_birth_date,
        CANARIES.accession_number,
    )
    assert found.patient_sex == ""
    assert repr(found) == "PatientIdentity()"


def test_what_is_no_instance_is_refused(tmp_path: Path) -> None:
    """A file of anything else is an error, not an empty identity."""
    path = tmp_path / "one.dcm"
    path.write_bytes(b"anything else" * 20)
    with pytest.raises(MalformedInstance, match="InvalidDicomError"):
        read_patient(path)
