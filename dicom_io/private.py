"""What three vendors say of classic MR instances in private elements only: b-value and complex component.

References
----------
PS3.5 7.8.1 (private data elements); the vendors' conformance statements
"""

from dicom_io.headers import Header

_GE_OFFSET = 100_000
"""GE adds multiples of this to the b-value as marks of its own."""
_GE_COMPONENTS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")


def b_value(header: Header) -> float | None:
    """Return the diffusion b-value in s/mm2 that Siemens, Philips or GE wrote; None where none of them did.

    Parameters
    ----------
    header
        Of a classic instance.
    """
    for creator, group, element in (("SIEMENS MR HEADER", 0x0019, 0x0C), ("Philips Imaging DD 001", 0x2001, 0x03)):
        found = header.private_number(creator, group, element)
        if found is not None:
            return found
    marked = header.private_number("GEMS_PARM_01", 0x0043, 0x39)
    return None if marked is None else marked % _GE_OFFSET


def complex_component(header: Header) -> str:
    """Return MAGNITUDE, PHASE, REAL or IMAGINARY, as GE codes it in "raw data type"; empty where it does not.

    Parameters
    ----------
    header
        Of a classic instance; GE gives all four the same Image Type.
    """
    code = header.private_number("GEMS_PARM_01", 0x0043, 0x2F)
    return _GE_COMPONENTS[int(code)] if code in (0, 1, 2, 3) else ""
