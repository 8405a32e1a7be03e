"""The standard question set for each anatomy (SGMRI-VQA, arXiv 2604.15808, over fastMRI+ labels), and what it fits.

Quality, any abnormality, a screen of findings, and, where the answer is yes: where, how many, which; a summary at
the end. Follow-ups are asked only after a positive.
"""

from types import MappingProxyType

from sgmri.applicability import Applicability, Span
from sgmri.questions import NONE_OF_THESE, Question, QuestionKind, QuestionSet
from sgmri.volume import Anatomy, ContrastAgent, Plane, Weighting

_Screen = tuple[str, str, tuple[str, ...]]
"""Short name, noun phrase, fastMRI+ labels."""

_BRAIN_SCREEN: tuple[_Screen, ...] = (
    ("mass", "a mass", ("Mass",)),
    ("extra-axial", "an extra-axial mass or collection", ("Extra-axial mass", "Extra-axial collection")),
    ("edema", "oedema", ("Edema",)),
    ("lacunar-infarct", "a lacunar infarct", ("Lacunar infarct",)),
    ("encephalomalacia", "encephalomalacia", ("Encephalomalacia",)),
    (
        "white-matter",
        "a white-matter lesion",
        (
            "Nonspecific white matter lesion",
            "Small vessel chronic white matter ischemic change",
            "Global white matter disease",
            "Possible demyelinating disease",
            "Innumerable bilateral focal brain lesions",
        ),
    ),
    ("ventricles", "enlargement of the ventricles", ("Enlarged ventricles", "Colpocephaly")),
    ("dura", "dural thickening", ("Dural thickening",)),
    (
        "surgery",
        "a sign of prior surgery or treatment",
        ("Craniotomy", "Craniectomy", "Craniectomy with Cranioplasty", "Resection cavity", "Posttreatment change"),
    ),
    ("sinus", "opacification of a paranasal sinus", ("Paranasal sinus opacification",)),
    ("cyst", "a cyst", ("Likely cysts", "Pineal cyst")),
)

_KNEE_SCREEN: tuple[_Screen, ...] = (
    ("meniscus", "a meniscus tear", ("Meniscus Tear",)),
    ("displaced-meniscus", "displaced meniscal tissue", ("Displaced Meniscal Tissue",)),
    (
        "acl",
        "an injury of the anterior cruciate ligament",
        ("Ligament - ACL Low Grade sprain", "Ligament - ACL High Grade Sprain"),
    ),
    (
        "pcl",
        "an injury of the posterior cruciate ligament",
        ("Ligament - PCL Low-Mod grade sprain", "Ligament - PCL High Grade"),
    ),
    (
        "mcl",
        "an injury of the medial collateral ligament",
        ("Ligament - MCL Low-Mod Grade Sprain", "Ligament - MCL High Grade sprain"),
    ),
    (
        "lcl",
        "an injury of the lateral collateral ligament complex",
        ("LCL Complex - Low-Mod Grade Sprain", "LCL Complex- High Grade Sprain"),
    ),
    (
        "cartilage",
        "a loss of cartilage",
        ("Cartilage - Partial Thickness loss/defect", "Cartilage - Full Thickness loss/defect"),
    ),
    ("subchondral-edema", "subchondral oedema", ("Bone- Subchondral edema",)),
    ("fracture", "a fracture or contusion of bone", ("Bone-Fracture/Contusion/dislocation",)),
    ("bone-lesion", "a lesion of bone", ("Bone - Lesion",)),
    ("effusion", "a joint effusion", ("Joint Effusion",)),
    ("periarticular-cyst", "a periarticular cyst", ("Periarticular cysts",)),
    ("joint-bodies", "a loose body in the joint", ("Joint Bodies",)),
    ("muscle", "a muscle strain", ("Muscle Strain",)),
    ("retinaculum", "a sprain of the patellar retinaculum", ("Patellar Retinaculum - High grade sprain",)),
)

_WHICH: dict[Anatomy, tuple[str, ...]] = {
    Anatomy.BRAIN: ("Nonspecific white matter lesion", "Lacunar infarct", "Mass", NONE_OF_THESE),
    Anatomy.KNEE: ("Joint Effusion", "Bone- Subchondral edema", "Periarticular cysts", NONE_OF_THESE),
}


def _questions(anatomy: Anatomy, screen: tuple[_Screen, ...]) -> tuple[Question, ...]:
    area = anatomy.value
    thing = "an abnormality" if anatomy is Anatomy.BRAIN else "an abnormality or injury"
    artefact = ("Possible artifact", "Motion artifact") if anatomy is Anatomy.BRAIN else ("artifact",)
    detection, kind = QuestionKind.DETECTION, QuestionKind
    any_id = f"{area}.any"
    questions = [
        Question(
            question_id=f"{area}.quality",
            kind=detection,
            text=f"Is there motion or another artefact that limits the reading of this {area} volume?",
            labels=artefact,
        ),
        Question(question_id=any_id, kind=detection, text=f"Is there {thing} in this {area} volume?"),
        Question(
            question_id=f"{area}.where.any",
            kind=kind.LOCALISATION,
            text=f"Where is {thing}, and on which frames?",
            follows=any_id,
        ),
    ]
    for name, phrase, labels in screen:
        gate = f"{area}.screen.{name}"
        questions.append(
            Question(question_id=gate, kind=detection, text=f"Is there {phrase} in this volume?", labels=labels)
        )
        questions.append(
            Question(
                question_id=f"{area}.where.{name}",
                kind=kind.LOCALISATION,
                text=f"Where is {phrase}, and on which frames?",
                labels=labels,
                follows=gate,
            )
        )
    questions += [
        Question(
            question_id=f"{area}.count.lesions",
            kind=kind.COUNTING,
            text="How many separate lesions are there in this volume?",
            follows=any_id,
        ),
        Question(
            question_id=f"{area}.count.kinds",
            kind=kind.COUNTING,
            text="How many different kinds of finding are there in this volume?",
            follows=any_id,
        ),
        Question(
            question_id=f"{area}.which",
            kind=kind.CLASSIFICATION,
            text="Which of these fits the main finding best?",
            options=_WHICH[anatomy],
            follows=any_id,
        ),
        Question(
            question_id=f"{area}.summary",
            kind=kind.CAPTIONING,
            text="Summarise the findings of this volume in two sentences.",
        ),
    ]
    return tuple(questions)


STANDARD = MappingProxyType(
    {
        Anatomy.BRAIN: QuestionSet(
            set_id="brain-1", anatomy=Anatomy.BRAIN, questions=_questions(Anatomy.BRAIN, _BRAIN_SCREEN)
        ),
        Anatomy.KNEE: QuestionSet(
            set_id="knee-1", anatomy=Anatomy.KNEE, questions=_questions(Anatomy.KNEE, _KNEE_SCREEN)
        ),
    }
)
"""The standard question set by anatomy."""

APPLICABILITY = MappingProxyType(
    {
        # fastMRI+ asked these of axial FLAIR, T1, T1 after contrast and T2; they name no plane and no weighting, and
        # what is asked of a mass or of the ventricles can be seen in all of them. Unknown is what the times leave open
        "brain-1": Applicability(
            anatomy=Anatomy.BRAIN,
            planes=frozenset(Plane),
            weightings=frozenset(Weighting),
            contrast_agents=frozenset(ContrastAgent),
            frames=Span(least=4, most=600),
            matrix=Span(least=64, most=1024),  # 64 x 64 over a head is 4 mm a pixel: less shows no lacune
            pixel_spacing_mm=Span(least=0.2, most=4.0),
            slice_spacing_mm=Span(least=0.3, most=12.0),
            # every question is about "this volume": below four slices of 5 mm a "no" says nothing about a brain
            coverage_mm=Span(least=20, most=400),
        ),
        # coronal PD with and without fat saturation at first; menisci and ligaments are read in sagittal as well,
        # cartilage and retinaculum in axial planes
        "knee-1": Applicability(
            anatomy=Anatomy.KNEE,
            planes=frozenset(Plane),
            weightings=frozenset(Weighting),
            # an agent distends the joint (arthrography) or makes its lining bright: an effusion is not told from that
            contrast_agents=frozenset({ContrastAgent.NOT_GIVEN, ContrastAgent.UNKNOWN}),
            frames=Span(least=4, most=600),
            matrix=Span(least=64, most=1024),
            pixel_spacing_mm=Span(least=0.1, most=2.0),  # a tear of the meniscus is a line of a millimetre or two
            slice_spacing_mm=Span(least=0.2, most=10.0),
            coverage_mm=Span(least=20, most=300),  # more is a leg
        ),
    }
)
"""What each standard question set can be asked of, by its id."""


def by_id(set_id: str) -> QuestionSet:
    """Return a standard question set by its id.

    Raises
    ------
    KeyError
        If there is none of that id.
    """
    for question_set in STANDARD.values():
        if question_set.set_id == set_id:
            return question_set
    raise KeyError(set_id)
