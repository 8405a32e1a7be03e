"""Any PACS and workstation: what archives index, and what is checked by hand when an object does not show.

References
----------
PS3.5 9.1 (UIDs), PS3.10 7.1 (file meta), PS3.3 C.17.2 and C.17.2.3 (SR document, evidence), C.7.3.1 (General Series)
"""

import re
from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from dicom_io.viewer_rules.rule import Rule, descendants, evidence_series, instances, is_any, is_report, referenced

_UID: Final = re.compile(r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))+", re.ASCII)


def _has_legal_uids(ds: Dataset) -> bool:
    own = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
    return all(_UID.fullmatch(str(ds.get(keyword, ""))) for keyword in own)


def _agrees_with_file_meta(ds: Dataset) -> bool:
    meta = getattr(ds, "file_meta", None)
    if meta is None:
        return True  # it came over the network
    found = (meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID"))
    return found == (ds.get("SOPClassUID"), ds.get("SOPInstanceUID"))


def _names_its_series(ds: Dataset) -> bool:
    return bool(ds.get("SeriesDescription")) and ds.get("SeriesNumber") is not None


def _names_its_maker(ds: Dataset) -> bool:
    return all(ds.get(keyword) for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions"))


def _has_status(ds: Dataset) -> bool:
    verified = ds.get("VerificationFlag")
    observers = verified == "UNVERIFIED" or (verified == "VERIFIED" and ds.get("VerifyingObserverSequence"))
    return ds.get("CompletionFlag") in ("COMPLETE", "PARTIAL") and bool(observers)


def _has_whole_evidence(ds: Dataset) -> bool:
    listed = {
        instance.get("ReferencedSOPInstanceUID") for series in evidence_series(ds) for instance in instances(series)
    }
    return all(uid in listed for uid in _referenced_uids(ds))


def _referenced_uids(ds: Dataset) -> Iterator[str]:
    for item in descendants(ds):
        reference = referenced(item)
        if reference is not None:
            yield str(reference.get("ReferencedSOPInstanceUID"))


def _is_key_object_or_report(ds: Dataset) -> bool:
    return is_report(ds) or ds.get("Modality") == "KO"


RULES: Final = (
    Rule(
        name="pacs-legal-uids",
        why="a UID that is longer than 64 characters or malformed is refused or cut",
        applies_to=is_any,
        holds=_has_legal_uids,
    ),
    Rule(
        name="pacs-file-meta",
        why="archives that index the file meta information look for another instance",
        applies_to=is_any,
        holds=_agrees_with_file_meta,
    ),
    Rule(
        name="pacs-named-series",
        why="work lists show series by description and number; without them a result cannot be told from an image",
        applies_to=is_any,
        holds=_names_its_series,
    ),
    Rule(
        name="pacs-named-maker",
        why="who wrote an object, and in which version, is the first question when it does not show",
        applies_to=is_any,
        holds=_names_its_maker,
    ),
    Rule(
        name="pacs-report-status",
        why="reports without a Completion Flag are refused; a verified one needs its observer",
        applies_to=is_report,
        holds=_has_status,
    ),
    Rule(
        name="pacs-whole-evidence",
        why="images that the evidence does not list are not fetched along with the report",
        applies_to=_is_key_object_or_report,
        holds=_has_whole_evidence,
    ),
)
