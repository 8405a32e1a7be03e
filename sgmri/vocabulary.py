"""The coded vocabulary: one row for each finding label, the single source of every code that is written.

Labels are those of fastMRI+ (Zhao et al., Sci Data 2022), cleaned of stray spaces and of the "Global label:" mark.
A row is ``SURE`` where code and meaning stand in DICOM's published SNOMED subset or agree among independent public
terminologies; every other row is written with the generic code *Morphologically Abnormal Structure* plus the label
as text, until somebody has looked its code up in a SNOMED browser.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from sgmri.volume import Anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedConcept:
    """A coded concept (PS3.3 section 8: Code Value, Coding Scheme Designator, Code Meaning)."""

    value: str
    scheme: str
    meaning: str


def _sct(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme="SCT", meaning=meaning)


GENERIC_FINDING = _sct("49755003", "Morphologically Abnormal Structure")
LESION = _sct("52988006", "Lesion")
_BRAIN_LESION = _sct("301766008", "Lesion of Brain")
_CYST = _sct("367643001", "Cyst")
_MASS = _sct("4147007", "Mass")
_EDEMA = _sct("79654002", "Edema")
_NORMAL = _sct("17621005", "Normal")
_POST_SURGICAL = _sct("245849007", "Post-surgical anatomy")
_TRAUMATIC = _sct("417746004", "Traumatic injury")
_MENISCUS_TEAR = _sct("239720000", "Tear of meniscus of knee")
_ACL_INJURY = _sct("444470001", "Injury of anterior cruciate ligament")
_MCL_INJURY = _sct("444448004", "Injury of medial collateral ligament of knee")
_ARTIFACT = CodedConcept(value="111207", scheme="DCM", meaning="Image artifact(s)")

BRAIN = _sct("12738006", "Brain")
KNEE = _sct("72696002", "Knee")
_KNEE_JOINT = _sct("49076000", "Knee joint")
_WHITE_MATTER = _sct("68523003", "Cerebral White Matter")
_VENTRICLE = _sct("35764002", "Brain ventricle")
_LATERAL_VENTRICLE = _sct("66720007", "Lateral Ventricle")
_DURA = _sct("18545000", "Dura mater")
_MENINGES = _sct("1231004", "Meninges")
_SKULL = _sct("89546000", "Skull")
_PINEAL = _sct("45793000", "Pineal gland")
_SINUS = _sct("2095001", "Paranasal sinus")
_MENISCUS = _sct("74135004", "Meniscus")
_CARTILAGE = _sct("309312004", "Cartilage")
_LIGAMENT = _sct("52082005", "Ligament")
_PATELLA = _sct("64234005", "Patella")
_MARROW = _sct("14016003", "Bone marrow")
_BONE = _sct("272673000", "Bone")
_SOFT_TISSUE = _sct("87784001", "Soft tissue")
_LEG_MUSCLE = _sct("102292000", "Muscle of lower limb")

MILD = _sct("255604002", "Mild")
MILD_TO_MODERATE = _sct("371923003", "Mild to moderate")
SEVERE = _sct("24484000", "Severe")
MEDIAL = _sct("255561001", "Medial")
LATERAL = _sct("49370004", "Lateral")
POSTERIOR = _sct("255551008", "Posterior")

PRESENT = _sct("52101004", "Present")
ABSENT = _sct("272519000", "Absent")
UNDETERMINED = _sct("373068000", "Undetermined")
LEFT = _sct("7771000", "Left")
RIGHT = _sct("24028007", "Right")
BILATERAL = _sct("51440002", "Bilateral")


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingConcept:
    """How one finding label is coded.

    Parameters
    ----------
    label
        The fastMRI+ label, or one of ours where fastMRI+ has none.
    anatomy
        Where it occurs.
    finding
        The proposed code of the finding.
    is_sure
        Whether ``finding`` may be written; otherwise :data:`GENERIC_FINDING` is, with the label as text.
    site
        Finding site.
    modifiers
        Severity and topographical modifiers.
    """

    label: str
    anatomy: Anatomy
    finding: CodedConcept
    is_sure: bool
    site: CodedConcept
    modifiers: tuple[CodedConcept, ...] = ()

    @property
    def written(self) -> CodedConcept:
        """The code that goes into an object: sure, or the generic one."""
        return self.finding if self.is_sure else GENERIC_FINDING


_Row = tuple[str, CodedConcept | None, CodedConcept, tuple[CodedConcept, ...]]
"""Label, sure code (None: to verify), site, modifiers."""

_BRAIN_ROWS: tuple[_Row, ...] = (
    ("Nonspecific white matter lesion", _BRAIN_LESION, _WHITE_MATTER, ()),
    ("Nonspecific lesion", _BRAIN_LESION, BRAIN, ()),
    ("Posttreatment change", _POST_SURGICAL, BRAIN, ()),
    ("Craniotomy", _POST_SURGICAL, _SKULL, ()),
    ("Craniectomy", _POST_SURGICAL, _SKULL, ()),
    ("Craniectomy with Cranioplasty", _POST_SURGICAL, _SKULL, ()),
    ("Resection cavity", _POST_SURGICAL, BRAIN, ()),
    ("Possible artifact", _ARTIFACT, BRAIN, ()),
    ("Motion artifact", CodedConcept(value="111210", scheme="DCM", meaning="Motion blur"), BRAIN, ()),
    ("Mass", _MASS, BRAIN, ()),
    ("Extra-axial mass", _MASS, _MENINGES, ()),
    ("Edema", _EDEMA, BRAIN, ()),
    ("Dural thickening", None, _DURA, ()),
    ("Enlarged ventricles", _sct("260376009", "Enlarged"), _VENTRICLE, ()),
    ("Encephalomalacia", None, BRAIN, ()),
    ("Lacunar infarct", _sct("230698000", "Lacunar infarction"), BRAIN, ()),
    ("Normal variant", _NORMAL, BRAIN, ()),
    ("Normal for age", _NORMAL, BRAIN, ()),
    ("Paranasal sinus opacification", None, _SINUS, ()),
    ("Likely cysts", _CYST, BRAIN, ()),
    ("Pineal cyst", _CYST, _PINEAL, ()),
    ("Intraventricular substance", None, _VENTRICLE, ()),
    ("Absent septum pellucidum", None, BRAIN, ()),
    ("Small vessel chronic white matter ischemic change", _BRAIN_LESION, _WHITE_MATTER, (BILATERAL,)),
    ("Global white matter disease", _BRAIN_LESION, _WHITE_MATTER, (BILATERAL,)),
    ("Extra-axial collection", None, _MENINGES, ()),
    ("Possible demyelinating disease", _sct("6118003", "Demyelinating disease of CNS"), _WHITE_MATTER, ()),
    ("Innumerable bilateral focal brain lesions", _BRAIN_LESION, BRAIN, (BILATERAL,)),
    ("Colpocephaly", None, _LATERAL_VENTRICLE, ()),
    ("Global Ischemia", None, BRAIN, ()),
)

_KNEE_ROWS: tuple[_Row, ...] = (
    ("Meniscus Tear", _MENISCUS_TEAR, _MENISCUS, ()),
    ("Displaced Meniscal Tissue", _MENISCUS_TEAR, _MENISCUS, ()),
    ("Cartilage - Partial Thickness loss/defect", None, _CARTILAGE, ()),
    ("Cartilage - Full Thickness loss/defect", None, _CARTILAGE, ()),
    ("Joint Effusion", _sct("202381003", "Knee joint effusion"), _KNEE_JOINT, ()),
    # A composite label: a fracture is never asserted from it
    ("Bone-Fracture/Contusion/dislocation", _TRAUMATIC, _BONE, ()),
    ("Bone- Subchondral edema", _EDEMA, _MARROW, ()),
    ("Bone - Lesion", LESION, _BONE, ()),
    ("Periarticular cysts", _CYST, KNEE, ()),
    ("Ligament - ACL Low Grade sprain", _ACL_INJURY, _LIGAMENT, (MILD,)),
    ("Ligament - ACL High Grade Sprain", _ACL_INJURY, _LIGAMENT, (SEVERE,)),
    ("Ligament - MCL Low-Mod Grade Sprain", _MCL_INJURY, _LIGAMENT, (MEDIAL, MILD_TO_MODERATE)),
    ("Ligament - MCL High Grade sprain", _MCL_INJURY, _LIGAMENT, (MEDIAL, SEVERE)),
    ("Ligament - PCL Low-Mod grade sprain", _TRAUMATIC, _LIGAMENT, (POSTERIOR, MILD_TO_MODERATE)),
    ("Ligament - PCL High Grade", _TRAUMATIC, _LIGAMENT, (POSTERIOR, SEVERE)),
    ("LCL Complex - Low-Mod Grade Sprain", _TRAUMATIC, _LIGAMENT, (LATERAL, MILD_TO_MODERATE)),
    ("LCL Complex- High Grade Sprain", _TRAUMATIC, _LIGAMENT, (LATERAL, SEVERE)),
    ("Patellar Retinaculum - High grade sprain", _TRAUMATIC, _PATELLA, (SEVERE,)),
    ("Soft Tissue Lesion", LESION, _SOFT_TISSUE, ()),
    ("Muscle Strain", _TRAUMATIC, _LEG_MUSCLE, ()),
    ("Joint Bodies", None, _KNEE_JOINT, ()),
    ("artifact", _ARTIFACT, KNEE, ()),
    # Ours: what a reader without tissue knowledge can say of a knee (fastMRI+ has no such label)
    ("Nonspecific knee lesion", LESION, _KNEE_JOINT, ()),
)


def _table(rows: Iterable[_Row], anatomy: Anatomy) -> dict[str, FindingConcept]:
    return {
        label: FindingConcept(
            label=label,
            anatomy=anatomy,
            finding=code or GENERIC_FINDING,
            is_sure=code is not None,
            site=site,
            modifiers=modifiers,
        )
        for label, code, site, modifiers in rows
    }


FINDINGS = MappingProxyType({**_table(_BRAIN_ROWS, Anatomy.BRAIN), **_table(_KNEE_ROWS, Anatomy.KNEE)})
"""Label -> how it is coded."""

GENERIC_LABEL = MappingProxyType({Anatomy.BRAIN: "Nonspecific lesion", Anatomy.KNEE: "Nonspecific knee lesion"})
"""What a finding of unknown kind is called."""

BODY_PART = MappingProxyType({Anatomy.BRAIN: BRAIN, Anatomy.KNEE: KNEE})
"""The whole region, as finding site of an answer about any finding."""

_GLOBAL_MARK = "Global label: "


def concept(label: str) -> FindingConcept:
    """Return how a label is coded.

    Parameters
    ----------
    label
        A fastMRI+ label; stray spaces and the "Global label:" mark are tolerated.

    Raises
    ------
    KeyError
        If the label is not in the vocabulary; a code that is not in the table cannot be written.
    """
    return FINDINGS[label.strip().removeprefix(_GLOBAL_MARK)]


def body_part(anatomy: Anatomy) -> CodedConcept:
    """Return the code of the whole region."""
    return BODY_PART[anatomy]
