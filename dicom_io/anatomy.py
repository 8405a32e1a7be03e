"""Which anatomy a series shows, by its words: whole words, several languages, a vote in which the specific wins.

Descriptions are typed by people and Body Part Examined is often blank or a left-over default, so every source is
asked and a contradiction means *unknown*, never a guess. Naming any other body part (neck, spine, wrist, ...) speaks
against brain and knee: a cervical spine lies in a head coil, too.

References
----------
PS3.3 C.7.3.1.1 (Body Part Examined), C.7.6.16.2.8 (Frame Anatomy), PS3.16 Annex L (codes of body parts)
"""

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum

from sgmri.volume import Anatomy


class Evidence(StrEnum):
    """What the anatomy of a series was taken from."""

    REGION = "region"
    """Body Part Examined or an anatomic region code."""
    SERIES_TEXT = "series text"
    """Series Description or Protocol Name."""
    STUDY_TEXT = "study text"
    """Study Description or the requested procedure."""
    COIL = "coil"
    """Nothing but the receive coil."""
    IMAGE = "image"
    """No source says anything, and the image is clear (:mod:`dicom_io.recognition`)."""
    OTHER_ANATOMY = "other anatomy"
    """The series names another body part."""
    CONTRADICTION = "contradiction"
    """The sources contradict each other."""
    NONE = "none"
    """No source says anything."""


_OTHER = "other"
_CODES = {
    "SCT:12738006": Anatomy.BRAIN.value,
    "SCT:69536005": Anatomy.BRAIN.value,  # Head
    "SCT:89546000": Anatomy.BRAIN.value,  # Skull
    "SRT:T-A0100": Anatomy.BRAIN.value,
    "SRT:T-D1100": Anatomy.BRAIN.value,
    "SRT:T-11100": Anatomy.BRAIN.value,
    "SCT:72696002": Anatomy.KNEE.value,
    "SCT:49076000": Anatomy.KNEE.value,  # Knee joint
    "SRT:T-D9200": Anatomy.KNEE.value,
    "SRT:T-15720": Anatomy.KNEE.value,
    "SCT:774007": _OTHER,  # Head and neck
    "SRT:T-D1000": _OTHER,
}

# English, German, French, Spanish, Italian, Portuguese, Dutch, Scandinavian, Polish, Turkish; without accents
_BRAIN_WORDS = """
    brain head skull cranium cranial cranio craniocerebral cerebral cerebrum cerebro neuro neurocranium
    kopf schadel schaedel gehirn hirn kranial cerveau crane cranien cranienne tete encephale cerebrale cerebraux
    encefalo encefalico cabeza craneo craneal testa cervello cranico cabeca hoofd hersenen schedel
    hjarna huvud hjerne hode hoved glowa mozg beyin kafa
"""
_KNEE_WORDS = """
    knee knees knie kniegelenk knien genou genoux rodilla rodillas ginocchio ginocchia joelho joelhos kna knae kne
    kolano kolana kolanowy patella patellar patellofemoral meniscus menisci meniskus
"""
_OTHER_WORDS = """
    neck headneck spine spines spinal cspine tspine lspine cervical thoracic lumbar lumbosacral sacrum sacral
    wirbelsaule wirbelsaeule hws bws lws hals rachis rachide columna colonna coluna cuello collo nek wervelkolom
    kregoslup omurga
    shoulder elbow wrist hand hands finger fingers thumb humerus forearm
    schulter ellenbogen ellbogen handgelenk epaule coude poignet hombro codo muneca mano spalla gomito polso ombro
    schouder elleboog pols skulder
    hip hips pelvis femur femoral thigh calf tibia fibula ankle foot feet toe toes
    hufte huefte becken oberschenkel unterschenkel sprunggelenk fuss hanche bassin cuisse cheville pied cadera tobillo
    anca bacino caviglia piede quadril tornozelo heup enkel voet hofte
    abdomen liver kidney kidneys renal adrenal pancreas spleen mrcp bowel enterography rectum prostate uterus ovary
    bladder breast breasts mamma chest thorax lung lungs cardiac heart aorta leber niere nieren brust herz foie rein
    sein coeur higado rinon corazon fegato mammella cuore
    tmj orbit orbits orbita orbital pituitary sella hypophyse hypophysis iac iam carotid carotids parotid larynx
    wholebody ganzkorper ganzkoerper
"""
_WORDS = {
    **dict.fromkeys(_BRAIN_WORDS.split(), Anatomy.BRAIN.value),
    **dict.fromkeys(_KNEE_WORDS.split(), Anatomy.KNEE.value),
    **dict.fromkeys(_OTHER_WORDS.split(), _OTHER),
}
_CHARACTERS = {
    "脳": Anatomy.BRAIN.value,
    "頭": Anatomy.BRAIN.value,
    "뇌": Anatomy.BRAIN.value,
    "膝": Anatomy.KNEE.value,
    "脊": _OTHER,
    "椎": _OTHER,
    "頸": _OTHER,
}
"""Scripts without spaces between words."""

_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NOT_AN_ANATOMY = re.compile(r"\b(head|feet|foot)[ _-]*first\b")
_BONE_HEAD = re.compile(r"\b(femoral|humeral|radial|fibular|metatarsal)[ _-]*heads?\b")
_TO_LATIN = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "ı": "i"})


def words(text: str) -> tuple[str, ...]:
    """Split a text into lower-case words without accents and digits.

    Parameters
    ----------
    text
        Any text; words may be joined by underscores, digits or capitals (``HeadNeck_64``).
    """
    return tuple(re.findall(r"[a-z]+", plain(text)))


def plain(text: str) -> str:
    """Return a text in lower case, without accents, and parted where a capital follows a small letter.

    Parameters
    ----------
    text
        Any text.
    """
    parted = _HUMP.sub(" ", text).casefold().translate(_TO_LATIN)
    if parted.isascii():  # most texts, and there are several of every image
        return parted
    decomposed = unicodedata.normalize("NFKD", parted)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _named(texts: Iterable[str]) -> set[str]:
    named: set[str] = set()
    for text in texts:
        said = _BONE_HEAD.sub(" femoral ", _NOT_AN_ANATOMY.sub(" ", plain(text)))
        named |= {_WORDS[word] for word in re.findall(r"[a-z]+", said) if word in _WORDS}
        named |= {anatomy for character, anatomy in _CHARACTERS.items() if character in text}
    return named


def _named_by_coil(texts: Iterable[str]) -> set[str]:
    # coil names run together ("8HRBRAIN"), and a coil made for two regions is evidence for neither
    named = _named(texts)
    joined = " ".join(word for text in texts for word in words(text))
    named |= {anatomy.value for anatomy in Anatomy if anatomy.value in joined}
    return named if len(named) == 1 else set()


def anatomy_of(
    *,
    region_texts: Iterable[str],
    region_codes: Iterable[str],
    series_texts: Iterable[str],
    study_texts: Iterable[str],
    coil_texts: Iterable[str],
) -> tuple[Anatomy | None, Evidence]:
    """Decide which anatomy a series shows.

    Parameters
    ----------
    region_texts, region_codes
        Body Part Examined and code meanings; codes as ``scheme:value``.
    series_texts, study_texts
        Descriptions of the series and of the study.
    coil_texts
        Receive coil names: asked only where nothing else speaks.

    Returns
    -------
    anatomy and what it was taken from
        None with OTHER_ANATOMY, CONTRADICTION or NONE.
    """
    region = _named(region_texts) | {_CODES[code] for code in region_codes if code in _CODES}
    series, study = _named(series_texts), _named(study_texts)
    # the series speaks for itself; the study may cover several regions and can only confirm or contradict
    for named, evidence in (
        (region | series, Evidence.REGION if region else Evidence.SERIES_TEXT),
        (study, Evidence.STUDY_TEXT),
        (_named_by_coil(coil_texts), Evidence.COIL),
    ):
        if named:
            return _verdict(named, study, evidence)
    return None, Evidence.NONE


def _verdict(named: set[str], study: set[str], evidence: Evidence) -> tuple[Anatomy | None, Evidence]:
    if named == {_OTHER} or (_OTHER in named and evidence in (Evidence.REGION, Evidence.SERIES_TEXT)):
        return None, Evidence.OTHER_ANATOMY
    if len(named) > 1 or (study and not named & study):
        return None, Evidence.CONTRADICTION
    return Anatomy(named.pop()), evidence
