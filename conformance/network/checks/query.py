"""C-FIND of the Study Root model: what was stored is found, and nothing else (PS3.4 C.2.2.2, C.4.1)."""

import time
from collections.abc import Mapping

from pydicom.dataset import Dataset

from conformance.network.checks.storage import MR, is_stored, store
from conformance.network.connection import Message
from conformance.network.messages import C_CANCEL, C_FIND, query_rq
from conformance.network.samples import decoded, encoded
from conformance.network.session import UNCOMPRESSED, Session, check, checks_of
from conformance.report import Result, Severity, failed, not_supported, observed, passed
from dicom_io.services import STUDY_ROOT_FIND
from sgmri.errors import ProtocolViolation

_UNABLE = (0x0122, 0xA700, 0xC000, 0xFE00)
_ALWAYS = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle", "InstanceAvailability",
                     "StorageMediaFileSetID", "StorageMediaFileSetUID", "TimezoneOffsetFromUTC"})  # fmt: skip
"""What a response may hold besides the keys of the request (PS3.4 C.4.1.1.3.2)."""
Keys = Mapping[str, str | list[str]]


def identifier(level: str, keys: Keys) -> Dataset:
    """Return an Identifier (PS3.4 C.4.1.1.3)."""
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def find(session: Session, level: str, keys: Keys) -> tuple[list[Dataset], int]:
    """Query; return the matches and the final status.

    Raises
    ------
    ProtocolViolation
        If a response breaks PS3.4 C.4.1.
    StoreRefused
        If the peer offers no C-FIND.
    """
    with session.associated([(STUDY_ROOT_FIND, UNCOMPRESSED)]) as association:
        number = association.context(STUDY_ROOT_FIND)
        syntax = association.contexts[number][1]
        asked = identifier(level, keys)
        request = association.begin(number, query_rq(C_FIND, STUDY_ROOT_FIND), encoded(asked, syntax))
        *pending, last = association.responses(number, request)
        if last.data is not None and last.status == 0:
            raise ProtocolViolation("expected the final response of C-FIND without an Identifier (PS3.4 C.4.1.3.1)")
        return [_row(message, syntax, asked) for message in pending], last.status


def _row(message: Message, syntax: str, asked: Dataset) -> Dataset:
    if message.data is None:
        raise ProtocolViolation("expected a pending response of C-FIND with an Identifier (PS3.4 C.4.1.3.1)")
    row = decoded(message.data, syntax)
    foreign = [element.keyword for element in row if element.keyword not in _ALWAYS and element.tag not in asked]
    if foreign:
        raise ProtocolViolation(
            f"expected the keys of the request, found {foreign[0] or 'a private one'} (PS3.4 C.4.1.1.3.2)"
        )
    if str(row.get("QueryRetrieveLevel", "")).strip() != asked.QueryRetrieveLevel:
        raise ProtocolViolation("expected the level of the request in a response (PS3.4 C.4.1.1.3.2)")
    return row


def stored_all(session: Session, *instances: Dataset) -> None:
    with session.associated(MR) as association:
        for ds in instances:
            status = store(association, ds).status
            if not is_stored(status):
                raise ProtocolViolation(f"expected an image to be stored, found status 0x{status:04X}")


def own(session: Session, count: int = 1) -> list[Dataset]:
    """Return images in a study of their own."""
    study, series = session.samples.uid(), session.samples.uid()
    images = [session.samples.small() for _ in range(count)]
    for ds in images:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    return images


def keys_of(ds: Dataset, level: str) -> dict[str, str | list[str]]:
    keys = {"STUDY": ["StudyInstanceUID"], "SERIES": ["StudyInstanceUID", "SeriesInstanceUID"]}.get(
        level, ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    )
    return {keyword: str(ds[keyword].value) for keyword in keys}


def is_there(session: Session, ds: Dataset, *, wait: bool = True) -> int:
    """Return how many instances the peer has under an image's UIDs; a peer that indexes later is given some time."""
    ends_at = time.monotonic() + (session.setup.destination.timeout_s if wait else 0.0)
    while True:
        rows, status = find(session, "IMAGE", keys_of(ds, "IMAGE"))
        if status:
            raise ProtocolViolation(f"expected a query by UIDs to succeed, found status 0x{status:04X}")
        if rows or time.monotonic() > ends_at:
            return len(rows)
        time.sleep(0.2)


@check(
    "query.stored", "what was stored is found once, at each level", "PS3.4 C.4.1, B.2.3 (Success)", Severity.CRITICAL
)
def stored(session: Session) -> Result:
    images = own(session, 3)
    stored_all(session, *images)
    if any(is_there(session, ds) != 1 for ds in images):
        return failed("an instance that was answered with success is not found once")
    for level, expected in (("STUDY", 1), ("SERIES", 1), ("IMAGE", 3)):
        keys = keys_of(images[0], level)
        if level == "IMAGE":
            keys["SOPInstanceUID"] = ""
        rows, status = find(session, level, keys)
        if status or len(rows) != expected:
            return failed(f"level {level}: expected {expected} matches, found {len(rows)}, status 0x{status:04X}")
    return passed("3 instances of 1 series of 1 study")


_SHOWN = ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "StudyID", "StudyTime")


@check("query.keys", "required keys come back with the values that were stored", "PS3.4 C.6.2.1 (Table C.6-5)")
def keys(session: Session) -> Result:
    (ds,) = own(session)
    stored_all(session, ds)
    is_there(session, ds)
    rows, status = find(session, "STUDY", {**keys_of(ds, "STUDY"), **dict.fromkeys(_SHOWN, "")})
    if status or len(rows) != 1:
        return failed(f"expected 1 match, found {len(rows)}, status 0x{status:04X}")
    wrong = [one for one in _SHOWN if str(rows[0].get(one, "") or "").strip() != str(ds.get(one, "") or "").strip()]
    return failed(f"other or no values: {', '.join(wrong)}") if wrong else passed(f"{len(_SHOWN)} keys")


def _matching(session: Session, cases: Mapping[str, tuple[Keys, bool]]) -> Result:
    """Judge which keys match an image of a study of its own."""
    (ds,) = own(session)
    stored_all(session, ds)
    is_there(session, ds)
    unable = 0
    for name, (case, matches) in cases.items():
        rows, status = find(session, "STUDY", {**keys_of(ds, "STUDY"), **case})
        if status and (status & 0xFF00 in (0xA900, 0xC000) or status in _UNABLE):
            unable += 1
        elif status or len(rows) != int(matches):
            return failed(f"{name}: expected {int(matches)} matches, found {len(rows)}, status 0x{status:04X}")
    if unable == len(cases):
        return not_supported("the peer says that it cannot process any of these keys")
    return passed(f"{len(cases) - unable} of {len(cases)} ways of matching" + (f", {unable} refused" if unable else ""))


@check("query.wildcards", "wildcards match what they should, and nothing else", "PS3.4 C.2.2.2.4", Severity.MINOR)
def wildcards(session: Session) -> Result:
    cases = {
        "CANARY^NIGHT*": ({"PatientName": "CANARY^NIGHT*"}, True),
        "*GALE": ({"PatientName": "*GALE"}, True),
        "CANARY^N?GHTINGALE": ({"PatientName": "CANARY^N?GHTINGALE"}, True),
        "*": ({"PatientName": "*"}, True),
        "XANARY*": ({"PatientName": "XANARY*"}, False),
        "CANARY^?NIGHTINGALE": ({"PatientName": "CANARY^?NIGHTINGALE"}, False),
    }
    return _matching(session, cases)


@check("query.dates", "dates match as single values and ranges", "PS3.4 C.2.2.2.5, C.2.2.2.1")
def dates(session: Session) -> Result:
    cases = {
        "the day": ({"StudyDate": "20260102"}, True),
        "another day": ({"StudyDate": "20260103"}, False),
        "a range that holds it": ({"StudyDate": "20260101-20260103"}, True),
        "a range that begins with it": ({"StudyDate": "20260102-"}, True),
        "a range that ends with it": ({"StudyDate": "-20260102"}, True),
        "a range before it": ({"StudyDate": "-20260101"}, False),
        "a range after it": ({"StudyDate": "20260103-20261231"}, False),
    }
    return _matching(session, cases)


@check("query.single-values", "single values match exactly", "PS3.4 C.2.2.2.1")
def single_values(session: Session) -> Result:
    cases = {
        "its Patient ID": ({"PatientID": "CANARY-ID-7731907"}, True),
        "the beginning of its Patient ID": ({"PatientID": "CANARY-ID-773190"}, False),
        "another Accession Number": ({"AccessionNumber": "CANARYACC4472"}, False),
        "its Accession Number": ({"AccessionNumber": "CANARYACC4471"}, True),
    }
    return _matching(session, cases)


@check("query.uid-list", "a list of UIDs matches each of them", "PS3.4 C.2.2.2.2")
def uid_list(session: Session) -> Result:
    images = own(session, 3)
    stored_all(session, *images)
    for ds in images:
        is_there(session, ds)
    wanted = [str(images[0].SOPInstanceUID), str(images[2].SOPInstanceUID), session.samples.uid()]
    rows, status = find(session, "IMAGE", {**keys_of(images[0], "SERIES"), "SOPInstanceUID": wanted})
    found = {str(row.get("SOPInstanceUID", "")) for row in rows}
    if status or found != set(wanted[:2]) or len(rows) != 2:
        return failed(f"expected 2 matches of a list of 3, found {len(rows)}, status 0x{status:04X}")
    return passed("2 of a list of 3")


@check("query.no-match", "a query that nothing matches ends with success and no match", "PS3.4 C.4.1.3.1")
def no_match(session: Session) -> Result:
    rows, status = find(session, "STUDY", {"StudyInstanceUID": session.samples.uid()})
    if rows or status:
        return failed(f"{len(rows)} matches, status 0x{status:04X}")
    return passed("no match, status 0x0000")


@check(
    "query.level",
    "a level that the model does not have is refused",
    "PS3.4 C.4.1.1.4 (A900, Cxxx), C.6.2.1",
    Severity.MINOR,
)
def level(session: Session) -> Result:
    for name in ("FRAME", "PATIENT"):
        rows, status = find(session, name, {"PatientID": "", "StudyInstanceUID": session.samples.uid()})
        if status == 0 or rows:
            return failed(f"level {name}: {len(rows)} matches, status 0x{status:04X}")
    return passed("refused")


@check(
    "query.unique-key",
    "what a query without the unique key of the level above is answered with",
    "PS3.4 C.4.1.2.1",
    Severity.MINOR,
)
def unique_key(session: Session) -> Result:
    rows, status = find(session, "SERIES", {"SeriesInstanceUID": session.samples.uid()})
    return observed(f"a query for a series without its study: {len(rows)} matches, status 0x{status:04X}")


@check("query.cancel", "a query that is cancelled ends", "PS3.4 C.4.1.3.2, PS3.7 9.3.2.3")
def cancel(session: Session) -> Result:
    with session.associated([(STUDY_ROOT_FIND, UNCOMPRESSED)]) as association:
        number = association.context(STUDY_ROOT_FIND)
        data = encoded(
            identifier("STUDY", {"StudyInstanceUID": "", "PatientName": ""}), association.contexts[number][1]
        )
        request = association.begin(number, query_rq(C_FIND, STUDY_ROOT_FIND), data)
        association.send(number, {"field": C_CANCEL, "answered_id": request["message_id"]})
        *pending, last = association.responses(number, request)
    if last.status not in (0x0000, 0xFE00):
        return failed(f"the last status is 0x{last.status:04X}")
    return passed(f"{len(pending)} matches, then 0x{last.status:04X}")


CHECKS = checks_of(globals())
