"""The words of the benchmark: what each label is called, the sign it is seen by, and the forms of each question.

Written for this product; nothing is taken from published questions but their sense. A form is chosen without a look
at the answer, so that no wording gives one away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from benchmark.items import AnswerType, Counted, Level, Task
from sgmri.volume import Anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How a label is put into words.

    Parameters
    ----------
    noun
        In the singular, without an article.
    sign
        What is seen, without a full stop.
    """

    noun: str
    sign: str


def _words(rows: tuple[tuple[str, str, str], ...]) -> Mapping[str, Words]:
    return MappingProxyType({label: Words(noun=noun, sign=sign) for label, noun, sign in rows})


WORDS = _words(
    (
        (
            "Nonspecific white matter lesion",
            "nonspecific white matter lesion",
            "a small focus of changed signal in the white matter",
        ),
        ("Nonspecific lesion", "nonspecific lesion", "a focus of changed signal without the marks of one disease"),
        ("Posttreatment change", "posttreatment change", "signal and shape that treatment has altered"),
        ("Craniotomy", "craniotomy", "a gap without signal in the skull with uneven surroundings"),
        ("Craniectomy", "craniectomy", "a missing part of the skull"),
        (
            "Craniectomy with Cranioplasty",
            "craniectomy with cranioplasty",
            "a part of the skull replaced by a smooth plate",
        ),
        ("Resection cavity", "resection cavity", "a fluid-filled space where tissue was taken out"),
        ("Possible artifact", "possible artefact", "a pattern that follows no anatomy"),
        ("Motion artifact", "motion artefact", "repeated edges and blur of a head that moved"),
        ("Mass", "mass", "a space-occupying lesion that displaces its surroundings"),
        ("Extra-axial mass", "extra-axial mass", "a broad-based lesion outside the brain tissue"),
        ("Edema", "oedema", "an ill-defined area of fluid-like signal"),
        ("Dural thickening", "dural thickening", "a thick linear band along the dura"),
        ("Enlarged ventricles", "ventricular enlargement", "wide fluid spaces inside the brain"),
        ("Encephalomalacia", "encephalomalacia", "lost tissue with a fluid-like centre"),
        ("Lacunar infarct", "lacunar infarct", "a small sharply bordered cavity in deep tissue"),
        ("Normal variant", "normal variant", "an unusual shape without disease"),
        ("Normal for age", "normal appearance for age", "nothing beyond what age explains"),
        ("Paranasal sinus opacification", "paranasal sinus opacification", "a sinus filled with signal instead of air"),
        ("Likely cysts", "likely cyst", "a smooth round fluid space"),
        ("Pineal cyst", "pineal cyst", "a smooth fluid space at the pineal gland"),
        ("Intraventricular substance", "intraventricular substance", "material inside a ventricle that is no fluid"),
        (
            "Absent septum pellucidum",
            "absence of the septum pellucidum",
            "lateral ventricles with no wall between them",
        ),
        (
            "Small vessel chronic white matter ischemic change",
            "chronic small-vessel white matter change",
            "scattered and confluent changed signal in the white matter of both sides",
        ),
        ("Global white matter disease", "global white matter disease", "changed signal of all white matter"),
        ("Extra-axial collection", "extra-axial collection", "fluid between the brain and the skull"),
        ("Possible demyelinating disease", "possible demyelinating disease", "ovoid foci beside the ventricles"),
        (
            "Innumerable bilateral focal brain lesions",
            "innumerable focal lesions of both sides",
            "more foci than can be counted",
        ),
        ("Colpocephaly", "colpocephaly", "wide occipital horns beside narrow frontal ones"),
        ("Global Ischemia", "global ischaemia", "changed signal of the whole cortex"),
        ("Meniscus Tear", "meniscus tear", "a bright line that reaches the surface of the meniscus"),
        ("Displaced Meniscal Tissue", "displaced meniscal tissue", "a piece of meniscus away from its place"),
        (
            "Cartilage - Partial Thickness loss/defect",
            "partial-thickness cartilage loss",
            "a fluid-bright gap in part of the cartilage",
        ),
        (
            "Cartilage - Full Thickness loss/defect",
            "full-thickness cartilage loss",
            "a fluid-bright gap in the cartilage down to the bone",
        ),
        ("Joint Effusion", "joint effusion", "a joint capsule distended by bright fluid"),
        (
            "Bone-Fracture/Contusion/dislocation",
            "bone fracture, contusion or dislocation",
            "a line or bruise in the bone",
        ),
        ("Bone- Subchondral edema", "subchondral bone oedema", "fluid-like signal of the marrow under the cartilage"),
        ("Bone - Lesion", "bone lesion", "a bordered area of changed marrow"),
        ("Periarticular cysts", "periarticular cyst", "a smooth bright sac beside the joint"),
        (
            "Ligament - ACL Low Grade sprain",
            "low-grade sprain of the anterior cruciate ligament",
            "an anterior cruciate ligament of raised signal with fibres that go through",
        ),
        (
            "Ligament - ACL High Grade Sprain",
            "high-grade sprain of the anterior cruciate ligament",
            "an anterior cruciate ligament with interrupted or flattened fibres",
        ),
        (
            "Ligament - MCL Low-Mod Grade Sprain",
            "low to moderate sprain of the medial collateral ligament",
            "bright signal along the medial collateral ligament",
        ),
        (
            "Ligament - MCL High Grade sprain",
            "high-grade sprain of the medial collateral ligament",
            "a medial collateral ligament with interrupted fibres",
        ),
        (
            "Ligament - PCL Low-Mod grade sprain",
            "low to moderate sprain of the posterior cruciate ligament",
            "a thick and bright posterior cruciate ligament",
        ),
        (
            "Ligament - PCL High Grade",
            "high-grade sprain of the posterior cruciate ligament",
            "a posterior cruciate ligament with interrupted fibres",
        ),
        (
            "LCL Complex - Low-Mod Grade Sprain",
            "low to moderate sprain of the lateral collateral ligament complex",
            "bright signal along the lateral collateral ligament complex",
        ),
        (
            "LCL Complex- High Grade Sprain",
            "high-grade sprain of the lateral collateral ligament complex",
            "a lateral collateral ligament complex with interrupted fibres",
        ),
        (
            "Patellar Retinaculum - High grade sprain",
            "high-grade sprain of the patellar retinaculum",
            "a patellar retinaculum with interrupted fibres",
        ),
        ("Soft Tissue Lesion", "soft tissue lesion", "changed signal in the soft tissue"),
        ("Muscle Strain", "muscle strain", "feathery bright signal in a muscle"),
        ("Joint Bodies", "loose joint body", "a separate piece inside the joint"),
        ("artifact", "image artefact", "a pattern that follows no anatomy"),
        (
            "Nonspecific knee lesion",
            "nonspecific knee lesion",
            "a focus of changed signal without the marks of one injury",
        ),
    )
)
"""Label -> its words, for every label of :mod:`sgmri.vocabulary`."""
_SIGN_ON_T1 = MappingProxyType({"Edema": "an ill-defined dark area"})

_SEQUENCES = (
    ("AXFLAIR", "axial FLAIR"),
    ("AXT1POST", "axial T1-weighted, after contrast,"),
    ("AXT1", "axial T1-weighted"),
    ("AXT2", "axial T2-weighted"),
    ("CORPDFS", "coronal fat-saturated proton-density"),
    ("CORPD", "coronal proton-density"),
)


def sign(label: str, sequence: str) -> str:
    """Return what is seen of a label on a sequence."""
    return _SIGN_ON_T1.get(label, WORDS[label].sign) if "AXT1" in sequence else WORDS[label].sign


def sequence_name(sequence: str, anatomy: Anatomy) -> str:
    """Return a sequence (fastMRI's word) in plain English; only the plane where it is not known."""
    for mark, name in _SEQUENCES:
        if mark in sequence:
            return name
    return "axial" if anatomy is Anatomy.BRAIN else "coronal"


_THING = {Anatomy.BRAIN: ("an abnormality", "abnormality"), Anatomy.KNEE: ("an injury", "injury")}
_ANY = (
    "Is there {a_thing} in this {area} MRI {scope}?",
    "Does this {area} MRI {scope} show {a_thing}?",
    "Is there evidence of {a_thing} in this {area} MRI {scope}?",
    "Can {a_thing} be seen in this {area} MRI {scope}?",
)
_PRESENT = (
    "Is there evidence of {noun} in this {scope}?",
    "Does this {scope} show signs of {noun}?",
    "Are there signs of {noun} in this {scope}?",
    "Is {noun} seen in this {scope}?",
)
_WHERE = (
    "Where is the {noun} located?",
    "Where in this {scope} is the {noun}?",
    "What is the location of the {noun}?",
    "Locate the {noun} in this {scope}.",
)
_WHERE_ALL = (
    "Where are the {plural} located in this {scope}?",
    "What are the locations of the {plural} in this {scope}?",
    "Locate the {plural} in this {scope}.",
    "Where in this {scope} are {plural}?",
)
_COUNT: Mapping[Counted, tuple[str, ...]] = {
    Counted.KINDS: (
        "How many distinct types of {thing} are present in this {scope}?",
        "How many different kinds of {thing} does this {scope} show?",
        "What is the number of distinct types of {thing} in this {scope}?",
        "Count the different kinds of {thing} in this {scope}.",
    ),
    Counted.LESIONS: (
        "How many separate places of {noun} are there in this {scope}?",
        "How many separate instances of {noun}, each followed over its frames, does this {scope} show?",
        "What is the number of separate instances of {noun} in this {scope}?",
        "Count the separate instances of {noun} in this {scope}, each once over all its frames.",
    ),
    Counted.BOXES: (
        "How many abnormal findings are present in this {scope}, counted on every frame that shows them?",
        "Counting each frame by itself, how many abnormal findings are marked in this {scope}?",
        "What is the number of abnormal findings in this {scope}, summed over its frames?",
        "Count the abnormal findings on every frame of this {scope} and give the sum.",
    ),
}
_SINGLE = (
    "Which of these findings is present in this {area} MRI {scope}?",
    "What type of {thing} is present in this {area} MRI {scope}?",
    "Which option names what this {area} MRI {scope} shows?",
    "Which of these does this {area} MRI {scope} show?",
)
_MULTIPLE = (
    "Which of these findings are present in this {area} MRI {scope}? Select all that apply.",
    "What types of {thing} are present in this {area} MRI {scope}? Select all that apply.",
    "Which options name what this {area} MRI {scope} shows? Select all that apply.",
    "Which of these does this {area} MRI {scope} show? Select all that apply.",
)
_LIKELY = (
    "What is the most likely finding in this {area} MRI {scope}?",
    "Which finding is most likely in this {area} MRI {scope}?",
    "Which of these is the most likely finding in this {area} MRI {scope}?",
    "Which finding fits this {area} MRI {scope} best?",
)
_DESCRIBE = (
    "Describe the findings in this {scope}.",
    "Summarise the findings in this {scope}.",
    "What does this {area} MRI {scope} show? Give a short summary.",
    "Provide a comprehensive summary of the findings in this {scope}.",
)


def forms(task: Task, answer_type: AnswerType, *, label: str = "", counted: Counted | None = None) -> tuple[str, ...]:
    """Return the forms of a question; :func:`fill` completes them."""
    if counted is not None:
        return _COUNT[counted]
    return {
        Task.DETECTION: _PRESENT if label else _ANY,
        Task.LOCALIZATION: _WHERE if label else _WHERE_ALL,
        Task.CLASSIFICATION: _MULTIPLE if answer_type is AnswerType.MULTIPLE else _SINGLE,
        Task.DIAGNOSIS: _LIKELY,
        Task.CAPTIONING: _DESCRIBE,
    }[task]


def fill(form: str, anatomy: Anatomy, level: Level, label: str) -> str:
    """Complete a form of a question."""
    a_thing, thing = _THING[anatomy]
    return form.format(
        area=anatomy,
        scope=level,
        a_thing=a_thing,
        thing=thing,
        plural="abnormalities" if anatomy is Anatomy.BRAIN else "injuries",
        noun=WORDS[label].noun if label else "",
    )
