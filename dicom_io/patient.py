"""The patient's identity, read from an instance for somebody who may see it; it is kept nowhere.

References
----------
PS3.3 C.7.1.1 (Patient Module), C.7.2.1 (General Study Module)
"""

from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_io.objects.sources import leniently
from sgmri.errors import MalformedInstance

_KEYWORDS = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientIdentity:
    """Who a patient is; its representation holds nothing of it.

    Parameters
    ----------
    patient_name, patient_id, patient_birth_date, patient_sex, accession_number
        The values as they stand in the header; empty where absent.
    """

    patient_name: str = field(repr=False)
    patient_id: str = field(repr=False)
    patient_birth_date: str = field(repr=False)
    patient_sex: str = field(repr=False)
    accession_number: str = field(repr=False)


def read_patient(path: Path) -> PatientIdentity:
    """Read the identity from an instance in PS3.10 form.

    Raises
    ------
    MalformedInstance
        If it is none.
    OSError
        If it cannot be read.
    """
    try:
        with leniently():
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
            name, patient_id, birth_date, sex, accession = (str(dataset.get(word, "") or "") for word in _KEYWORDS)
    except (InvalidDicomError, EOFError) as error:
        raise MalformedInstance(
            f"expected an instance in PS3.10 form, found a file that fails with {type(error).__name__}; send it again"
        ) from None
    return PatientIdentity(
        patient_name=name,
        patient_id=patient_id,
        patient_birth_date=birth_date,
        patient_sex=sex,
        accession_number=accession,
    )
