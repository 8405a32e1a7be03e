"""Test objects (phantoms) of quality assurance and animals told from patients, by what the headers call them.

A false alarm leaves a patient's series unread, so a word that also means something else needs company: a "phantom" is
none where the pain of a lost limb is meant, and "QA" alone is a place or a person's initials. The patient's name is not
asked: people are called Phantom, and departments invent names for everything.

References
----------
PS3.3 C.7.6.1 (Quality Control Image), C.7.1.1 (Patient Species Description)
"""

import re
from collections.abc import Iterable

from dicom_io.anatomy import words
from dicom_io.series import SeriesFacts

_NOUNS = "phantom phantoms phantome fantom fantoma fantomas fantome fantomes fantoom testobject testobjekt"
_PHANTOM = frozenset(_NOUNS.split())
_PAIN = frozenset(
    {"limb", "limbs", "pain", "schmerz", "schmerzen", "glied", "amputation", "stump", "sensation"}
    | {"douleur", "dolor", "dolore"}
)
_PROGRAMME = frozenset({"acr", "qa", "qc"})
_COMPANY = frozenset(
    {"daily", "weekly", "monthly", "quarterly", "annual", "test", "check", "acceptance", "accreditation"}
    | {"coil", "snr", "uniformity", "ghosting", "stability", "scanner", "sphere", "bottle", "daq"}
)
"""Words beside which ACR, QA or QC means quality assurance."""
_PHRASES = re.compile(
    r"\b(test object|test objekt|quality (assurance|control)|water bottle|oil bottle|geometric accuracy|"
    r"acr (t|ax|axial|sag|sagittal|loc|localizer|localiser|slice|large|medium|small|mri|mr)\b)"
)
_HUMAN = frozenset({"homo sapiens", "human", "337915000", "L-85B00"})


def is_test_object(facts: SeriesFacts) -> bool:
    """Tell whether a series shows a test object of quality assurance.

    Parameters
    ----------
    facts
        The series.
    """
    if any(image.is_quality_control for image in facts.images):
        return True
    texts = {
        text
        for image in facts.images
        for text in (*image.region_texts, *image.series_texts, *image.study_texts, *image.species_texts)
    }
    return _names_test_object(texts)


def _names_test_object(texts: Iterable[str]) -> bool:
    said = [words(text) for text in texts]
    # in company of each other wherever they stand: "phantom" in the series, "limb" in the study
    every = {word for one in said for word in one}
    if every & _PHANTOM and not every & _PAIN:
        return True
    return any(_PHRASES.search(" ".join(one)) or _is_programme(frozenset(one)) for one in said)


def _is_programme(said: frozenset[str]) -> bool:
    named = said & _PROGRAMME
    return len(named) > 1 or bool(named and said & _COMPANY)


def is_animal(facts: SeriesFacts) -> bool:
    """Tell whether the headers name a species, and it is not the human one.

    Parameters
    ----------
    facts
        The series.
    """
    named = {text for image in facts.images for text in image.species_texts}
    return bool(named) and not any(text in _HUMAN or text.casefold() in _HUMAN for text in named)
