"""What is known of coded concepts: DICOM's own dictionary, its retired SNOMED codes, and rules that values follow.

References
----------
PS3.16 section 8 (coding schemes), 8.1 (SNOMED CT), Annex D (DCM), PS3.3 8.2 (Coding Scheme Designator)
"""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, cast

# pydicom has no public way from a value to its meanings
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

SCHEMES: Final = frozenset(
    (  # noqa: SIM905 -- a table of words
        "ACR ASTM-sigpurpose BARI BI BI-RADS C4 C5 CD2 CDT CSID CTAVCA CVX CVX2 DCM DCMUID DCNPDBE DICOM DNS EUCAS FMA "
        "HCPCS HL7 HPC I10 I10P I11 I9 I9C IBSI ICDO3 ICDO3M ICD10 ICO IHELAW ISO3166_1 ISO639_1 ISO639_2 ISO5218_1 "
        "ISO_OID ITIS_TSN JC8 JJ1017 LN LB MA MAYOASRG MDC MSH MVX NCDR NCIt NCMETA NDC NDFRT NEU NICIP NYUMCCG "
        "NLM_GENE PATHLEX PUBCHEM_CID RADELEMENT RADLEX RFC3066 RFC4646 RFC5646 RO RXNORM SCT SNM3 SDM SRT UBERON UCUM "
        "UMLS UNS UPC URN V3 XID 99SDM"
    ).split()
)
"""Coding Scheme Designators of PS3.16 table 8-1; private ones begin with 99 (PS3.3 8.2)."""
RETIRED: Final = frozenset({"SRT", "SNM3", "99SDM", "SDM", "ICO", "RFC3066", "RFC4646"})
"""Schemes whose place another one has taken."""
_MORE: Final[Mapping[tuple[str, str], frozenset[str]]] = MappingProxyType(
    {
        ("SCT", "239720000"): frozenset({"tear of meniscus of knee"}),
        ("SCT", "444470001"): frozenset({"injury of anterior cruciate ligament"}),
        ("SCT", "444448004"): frozenset({"injury of medial collateral ligament of knee"}),
        ("SCT", "230698000"): frozenset({"lacunar infarction", "lacunar infarct", "lacunar ataxic hemiparesis"}),
        ("SCT", "6118003"): frozenset(
            {"demyelinating disease of cns", "demyelinating disease of central nervous system"}
        ),
        ("SCT", "202381003"): frozenset({"knee joint effusion"}),
        # Meanings of PS3.16's templates that are not those of its dictionary (TID 1410, TID 1500)
        ("SCT", "276214006"): frozenset({"finding category"}),
        ("UMLS", "C0034375"): frozenset({"qualitative evaluations"}),
    }
)
"""Codes and meanings beside the dictionary, from public SNOMED CT browsers and PS3.16 templates."""
_QUALIFIER: Final = re.compile(r"\s*\([a-z /]+\)$")
_SCT_VALUE: Final = re.compile(r"[1-9]\d{5,17}")
_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "DCM": re.compile(r"[A-Z0-9_.-]+"),
        "LN": re.compile(r"(LP|LA)?\d{1,7}-\d"),
        "RADLEX": re.compile(r"RID\d+"),
        "UMLS": re.compile(r"C\d{7}"),
        "NCIt": re.compile(r"C\d+"),
        "RFC5646": re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*"),
        "UCUM": re.compile(r"[!-~]+"),
        "FMA": re.compile(r"\d+"),
    }
)
_DIHEDRAL: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTATION: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def plain(meaning: str) -> str:
    """Return a meaning as it is compared: lower case, without SNOMED's tag such as "(disorder)", spaces as one."""
    return " ".join(_QUALIFIER.sub("", meaning.strip().lower()).split())


@cache
def dictionary() -> Mapping[tuple[str, str], frozenset[str]]:
    """Return (scheme, value) -> meanings, as :func:`plain` gives them."""
    found: dict[tuple[str, str], set[str]] = {key: set(meanings) for key, meanings in _MORE.items()}
    tables = cast(dict[str, dict[str, dict[str, tuple[Any, ...]]]], concepts)
    for scheme, keywords in tables.items():
        for values in keywords.values():
            for value, (meaning, *_) in values.items():
                found.setdefault((scheme, value), set()).add(plain(str(meaning)))
    return MappingProxyType({key: frozenset(meanings) for key, meanings in found.items()})


@cache
def by_meaning() -> Mapping[tuple[str, str], frozenset[str]]:
    """Return (scheme, plain meaning) -> values."""
    found: dict[tuple[str, str], set[str]] = {}
    for (scheme, value), meanings in dictionary().items():
        for meaning in meanings:
            found.setdefault((scheme, meaning), set()).add(value)
    return MappingProxyType({key: frozenset(values) for key, values in found.items()})


@cache
def context_group(cid: int) -> frozenset[tuple[str, str]]:
    """Return the (scheme, value) pairs of a context group (PS3.16 Annex B)."""
    found: set[tuple[str, str]] = set()
    tables = cast(dict[str, dict[str, dict[str, tuple[Any, ...]]]], concepts)
    for scheme, keywords in cid_concepts.get(cid, {}).items():
        for keyword in keywords:
            for value, (_, cids) in tables[scheme].get(keyword, {}).items():
                if cid in cids:
                    found.add((scheme, value))
    return frozenset(found)


def current(scheme: str, value: str) -> tuple[str, str]:
    """Return the SNOMED CT code that took the place of a retired SNOMED RT code; other codes as they are."""
    taken_over = mapping["SRT"].get(value) if scheme in ("SRT", "SNM3", "99SDM") else None
    return (scheme, value) if taken_over is None else ("SCT", taken_over)


def is_well_formed(scheme: str, value: str) -> bool:
    """Tell whether a value can be one of its scheme; SNOMED CT and LOINC have check digits."""
    if scheme == "SCT":
        return bool(_SCT_VALUE.fullmatch(value)) and _verhoeff(value)
    pattern = _PATTERNS.get(scheme)
    if pattern is None or not pattern.fullmatch(value):
        return pattern is None
    return scheme != "LN" or _luhn(value)


def _verhoeff(digits: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_DIHEDRAL[check][int(_PERMUTATION[place % 8][int(digit)])])
    return check == 0


def _luhn(value: str) -> bool:
    number, _, check = value.lstrip("LPA").partition("-")
    doubled = int("".join(reversed(number))[::2][::-1] or "0") * 2
    total = sum(map(int, str(doubled))) + sum(int(digit) for digit in "".join(reversed(number))[1::2])
    return (10 - total % 10) % 10 == int(check)
