"""Faults of reports as documents: templates, observers, flags, codes, answers, identity, promises of this product."""

from typing import Final

from pydicom.dataset import Dataset

from conformance.faults import fault as part
from conformance.faults.fault import UNKNOWN_UID, Fault, collector

FAULTS: Final[list[Fault]] = []
fault = collector("SR", FAULTS)


@fault("template not named", "template-root")
def _(ds: Dataset) -> None:
    del ds.ContentTemplateSequence


@fault("another template named", "template-root")
def _(ds: Dataset) -> None:
    ds.ContentTemplateSequence[0].TemplateIdentifier = "1501"


@fault("language missing", "template-missing-item")
def _(ds: Dataset) -> None:
    part.remove(ds, part.first(ds, ("121049", "DCM")))


@fault("procedure reported missing", "template-missing-item")
def _(ds: Dataset) -> None:
    part.remove(ds, part.first(ds, ("121058", "DCM")))


@fault("observer missing", "template-missing-item", "profile-observer")
def _(ds: Dataset) -> None:
    context = [item for item in ds.ContentSequence if item.RelationshipType == "HAS OBS CONTEXT"]
    for item in context:
        part.remove(ds, item)


@fault("observer type missing", "template-missing-item")
def _(ds: Dataset) -> None:
    part.remove(ds, part.first(ds, ("121005", "DCM")))


@fault("two containers of measurements", "template-multiplicity")
def _(ds: Dataset) -> None:
    ds.ContentSequence.append(part.copied(part.first(ds, ("126010", "DCM"))))


@fault("completion flag missing", "content-flags")
def _(ds: Dataset) -> None:
    del ds.CompletionFlag


@fault("verified without observer", "content-flags")
def _(ds: Dataset) -> None:
    ds.VerificationFlag = "VERIFIED"


@fault("verification flag missing", "content-flags")
def _(ds: Dataset) -> None:
    del ds.VerificationFlag


@fault("complete although questions are open", "profile-completeness")
def _(ds: Dataset) -> None:
    ds.CompletionFlag = "PARTIAL" if ds.CompletionFlag == "COMPLETE" else "COMPLETE"


@fault("code with a typing error", "code-value", "code-meaning", "code-known")
def _(ds: Dataset) -> None:
    item = part.first(part.group(ds), part.FINDING_SITE).ConceptCodeSequence[0]
    item.CodeValue = item.CodeValue[:-1] + str((int(item.CodeValue[-1]) + 1) % 10)


@fault("meaning of another code", "code-meaning")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.FINDING_SITE).ConceptCodeSequence[0].CodeMeaning = "Liver"


@fault("code of another meaning", "code-meaning")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.FINDING_SITE).ConceptCodeSequence[0].CodeValue = "10200004"


@fault("meaning made up", "code-meaning")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.TRACKING_IDENTIFIER).ConceptNameCodeSequence[0].CodeMeaning = "Label"


@fault("meaning missing", "code-complete")
def _(ds: Dataset) -> None:
    del part.first(part.group(ds), part.FINDING).ConceptCodeSequence[0].CodeMeaning


@fault("scheme that does not exist", "code-scheme")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.FINDING).ConceptCodeSequence[0].CodingSchemeDesignator = "SNOMED"


@fault("retired scheme", "code-retired")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.FINDING_SITE).ConceptNameCodeSequence = [part.code("G-C0E3", "SRT", "Finding Site")]


@fault("private scheme undeclared", "code-private-scheme")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.FINDING).ConceptCodeSequence = [part.code("L1", "99LOCAL", "Lesion")]


@fault("laterality outside its context group", "template-value-set")
def _(ds: Dataset) -> None:
    part.first(part.group(ds), part.LATERALITY).ConceptCodeSequence = [part.code("12738006", "SCT", "Brain")]


@fault("patient of another identifier", "identity-attributes")
def _(ds: Dataset) -> None:
    ds.PatientID = "SOMEBODY-ELSE"


@fault("patient's birth date lost", "identity-attributes")
def _(ds: Dataset) -> None:
    part.needs(ds.PatientBirthDate)
    ds.PatientBirthDate = ""


@fault("another accession number", "identity-attributes")
def _(ds: Dataset) -> None:
    ds.AccessionNumber = "A-0"


@fault("another study", "identity-study")
def _(ds: Dataset) -> None:
    ds.StudyInstanceUID = UNKNOWN_UID


@fault("the sources' series", "identity-series")
def _(ds: Dataset) -> None:
    evidence = ds.CurrentRequestedProcedureEvidenceSequence[0]
    ds.SeriesInstanceUID = evidence.ReferencedSeriesSequence[0].SeriesInstanceUID


@fault("UID of another object", "identity-instance", "reference-self")
def _(ds: Dataset) -> None:
    uid = part.reference(part.first(ds, ("121191", "DCM"))).ReferencedSOPInstanceUID
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid


@fault("UID differs from file meta information", "file-meta")
def _(ds: Dataset) -> None:
    ds.SOPInstanceUID = UNKNOWN_UID


@fault("UID with a leading zero", "file-uid")
def _(ds: Dataset) -> None:
    ds.SeriesInstanceUID = "1.2.03.4"


@fault("date that does not exist", "file-value")
def _(ds: Dataset) -> None:
    ds.ContentDate = "20261399"


@fault("modality of another class", "file-modality")
def _(ds: Dataset) -> None:
    ds.Modality = "MR"


@fault("text outside its character set", "file-characters")
def _(ds: Dataset) -> None:
    part.needs(ds.get("SpecificCharacterSet") == "ISO_IR 192")
    part.first(ds, None, "TEXT").TextValue = "Läsion"
    del ds.SpecificCharacterSet
    # What was UTF-8 stays UTF-8: the bytes are written as they are
    part.first(ds, None, "TEXT")["TextValue"].value = "Läsion"


@fault("answer without a code", "profile-coded-answer")
def _(ds: Dataset) -> None:
    for item in part.first(ds, ("C0034375", "UMLS")).ContentSequence:
        if item.ValueType == "CODE" and any(part.is_named(one, part.TRACKING_IDENTIFIER) for one in part.items(item)):
            item.ValueType, item.TextValue = "TEXT", item.ConceptCodeSequence[0].CodeMeaning
            del item.ConceptCodeSequence
            item.ContentSequence = [one for one in item.ContentSequence if not part.is_named(one, ("125309", "DCM"))]
            return
    raise part.NotApplicable


@fault("answer given twice", "profile-answers")
def _(ds: Dataset) -> None:
    place = part.first(ds, ("C0034375", "UMLS"))
    place.ContentSequence.append(part.copied(part.parent_of(ds, part.first(place, part.TRACKING_IDENTIFIER))))


@fault("question of an answer lost", "profile-answers", "profile-completeness", "profile-summary")
def _(ds: Dataset) -> None:
    for item in part.first(ds, ("C0034375", "UMLS")).ContentSequence:
        marked = [one for one in item.get("ContentSequence") or () if part.is_named(one, part.TRACKING_IDENTIFIER)]
        if marked and item.ValueType == "CODE":
            part.remove(ds, marked[0])
            return
    raise part.NotApplicable


@fault("summary that contradicts the boxes", "profile-summary")
def _(ds: Dataset) -> None:
    code = part.first(ds, ("111017", "DCM")).ConceptCodeSequence[0]
    code.CodeValue, code.CodeMeaning = "111245", "No algorithms succeeded; without findings"


@fault("stale Device UID", "profile-device", "air-device-uid")
def _(ds: Dataset) -> None:
    ds.DeviceUID = UNKNOWN_UID


@fault("Device UID missing", "profile-device")
def _(ds: Dataset) -> None:
    del ds.DeviceUID
    for item in ds.ContributingEquipmentSequence:
        item.pop("DeviceUID", None)


@fault("content qualified as a product", "profile-qualification")
def _(ds: Dataset) -> None:
    ds.ContentQualification = "PRODUCT"


@fault("statement of research use lost", "profile-research-use")
def _(ds: Dataset) -> None:
    for item in part.items(ds):
        if "Not a medical device" in str(item.get("TextValue", "")):
            item.TextValue = "Read by an algorithm"
