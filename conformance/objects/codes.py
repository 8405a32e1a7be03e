"""Codes: complete, of a known scheme, known, and with the meaning of their value.

References
----------
PS3.3 section 8 (coding), PS3.16 section 8 (schemes, retired codes), Annex D (DCM)
"""

from collections.abc import Iterator
from typing import Final

from conformance.objects.code_tables import RETIRED, SCHEMES, by_meaning, current, dictionary, is_well_formed, plain
from conformance.objects.findings import Check, Finding, Group, Severity
from conformance.objects.subject import Code, Subject, sequence, text


def _check(name: str, says: str, source: str, severity: Severity = Severity.ERROR) -> Check:
    return Check(name=f"code-{name}", group=Group.CODE, says=says, source=source, severity=severity)


COMPLETE: Final = _check("complete", "value, scheme and meaning", "PS3.3 8.1 to 8.3")
SCHEME: Final = _check("scheme", "a coding scheme of PS3.16, or a private one beginning with 99", "PS3.16 section 8")
PRIVATE: Final = _check(
    "private-scheme", "a private scheme in Coding Scheme Identification Sequence", "PS3.3 C.12.1", Severity.WARNING
)
RETIRED_SCHEME: Final = _check("retired", "a scheme in use", "PS3.16 8.1, 8.3", Severity.WARNING)
FORM: Final = _check("value", "a value that its scheme can have", "PS3.16 section 8")
KNOWN: Final = _check("known", "a code of DICOM's dictionary", "PS3.16 Annex D", Severity.WARNING)
MEANING: Final = _check("meaning", "the meaning of the code's value", "PS3.3 8.3")
CHECKS: Final = (COMPLETE, SCHEME, PRIVATE, RETIRED_SCHEME, FORM, KNOWN, MEANING)


def check(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the codes of an object; each code once, at its first place."""
    declared = {
        text(item, "CodingSchemeDesignator") for item in sequence(subject.ds, "CodingSchemeIdentificationSequence")
    }
    seen: set[tuple[Code, bool]] = set()
    for part, code, ds in subject.codes:
        is_urn = "URNCodeValue" in ds
        if (code, is_urn) in seen:
            continue
        seen.add((code, is_urn))
        if len(text(ds, "CodeValue")) > 16:
            yield COMPLETE.found(part, "a Code Value of more than 16 characters", expected="a Long Code Value")
        if not code.value or not code.meaning or not (code.scheme or is_urn):
            yield COMPLETE.found(part, "an incomplete code")
        elif not is_urn:
            yield from _scheme(part, code, declared)
            yield from _value(part, code)


def _scheme(part: str, code: Code, declared: set[str]) -> Iterator[Finding]:
    if code.scheme in RETIRED:
        new = current(*code.key)
        instead = f"({new[1]}, {new[0]})" if new != code.key else "a scheme in use"
        yield RETIRED_SCHEME.found(part, f"({code.value}, {code.scheme})", expected=instead)
    elif code.scheme.startswith("99"):
        if code.scheme not in declared:
            yield PRIVATE.found(part, f"{code.scheme}, undeclared")
    elif code.scheme not in SCHEMES:
        yield SCHEME.found(part, code.scheme)


def _value(part: str, code: Code) -> Iterator[Finding]:
    key = current(*code.key)
    meanings = dictionary().get(key)
    if meanings is not None:
        if plain(code.meaning) not in meanings:
            yield from _meaning(part, code, key)
        return
    if not is_well_formed(*key):
        yield FORM.found(part, f"({code.value}, {code.scheme})")
        return
    if key[0] == "DCM":
        yield KNOWN.found(part, f"({code.value}, DCM)", severity=Severity.ERROR)
    others = by_meaning().get((key[0], plain(code.meaning)), frozenset())
    if others:
        yield MEANING.found(part, f"{code}", expected=f"this meaning with {' or '.join(sorted(others))}")
    elif key[0] in ("SCT", "LN"):
        yield KNOWN.found(part, f"({code.value}, {code.scheme}): its meaning was not checked", severity=Severity.NOTE)


def _meaning(part: str, code: Code, key: tuple[str, str]) -> Iterator[Finding]:
    meanings = dictionary()[key]
    said = plain(code.meaning)
    is_others = bool(by_meaning().get((key[0], said), frozenset()) - {key[1]})
    if key[0] == "UCUM" and not is_others:
        return  # a unit's meaning may be the unit itself, or any name of it (PS3.3 8.3)
    # Names in another order or number are one thing; the name of something else contradicts the value. Of a retired
    # code only its successor's meanings are known
    contradicts = is_others or not any(_words(said) & _words(known) for known in meanings)
    yield MEANING.found(
        part,
        f"{code}",
        expected=f"{sorted(meanings)[0]!r}",
        severity=Severity.ERROR if contradicts and key == code.key else Severity.WARNING,
    )


def _words(meaning: str) -> set[str]:
    return {word.rstrip("s") for word in meaning.replace("-", " ").split() if len(word) > 2}
