"""What texts say about a contrast agent: whole words of several languages, their prepositions, and signs.

A text that says both, as "with and without" or "pre/post", says nothing: it is about more than one image.
"""

import re
from functools import lru_cache

from dicom_io.anatomy import plain, words


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# English, German, French, Spanish, Italian, Portuguese, Dutch, Scandinavian; without accents
_AGENTS = _set("""
    gd gad gado gadolinium gadolinio gadobutrol gadoterate gadoterat gadopiclenol gadodiamide gadoteridol gadobenate
    gadoxetate gadopentetate gadovist gadavist dotarem clariscan omniscan magnevist multihance prohance primovist
    eovist vueway elucirem ablavar feraheme km kontrastmittel mdc ce postcontrast postgad postgado postgd postkm
    injecte injectee contrastado contrastada contrastato
""")
"""Words that speak of a contrast agent by themselves."""
_AGENTS_BESIDE = _set("""
    contrast contraste contrasto kontrast kontrastgabe kontrastmiddel kontrastmedel contrastmiddel contraststof
    injection injektion inyeccion iniezione injecao inj
""")
"""Words that also mean something else, as in "phase contrast": they speak of an agent behind one of the next."""
_WITH = _set("with w mit avec con com met med post nach apres after dopo despues depois na efter etter following")
_AT_END = _set("without wo ohne sans senza zonder uden uten utan")
"""What means the agent at the end of a text, too ("AX T1 W/O"); before other words it means those ("W/O FS")."""
_WITHOUT = _AT_END | _set("sin sem no non kein keine pre vor avant before prima antes voor fore")
_NATIVE = _set("""
    nativ native nativa nativo natif simple unenhanced nonenhanced noncontrast precontrast pregad pregado pregd prekm
""")
_BETWEEN = _set("i v iv the of von der de d di do du la le el agent medium media medio mezzo gabe produit")
"""May stand between a preposition and its agent."""
_AND = _set("and und et y e en og och")
_OVER_TIME = _set("dyn dynamic dynamisch dynamique dce dsc perfusion perf multiphase")
"""Series that begin before the agent comes."""
_NOT_ABOUT_AGENTS = re.compile(
    # posterior parts of the body, and what is before or after something other than an injection
    r"\b(ant|anterior|status) post\b|\bpost (fossa|horns?|cruciate|limb|circulation|ant|meniscus)\b|"
    r"\bpre (sat|saturation|scan|amp|emphasis)\b|"
    r"\b(post|pre) (op\w*|surg\w*|treat\w*|therap\w*|chemo\w*|radiation|radio\w*|rt|biops\w*|resect\w*|trauma\w*|"
    r"proc\w*|stroke|ictal|partum|filter\w*|transplant\w*|stent\w*|coiling|embol\w*|dbs|ect|exercise|stim\w*|task)\b"
)
_SIGNS = (
    (re.compile(r"_"), " "),
    (re.compile(r"\b(t1|t2|pd)w\b"), " "),  # T1w is no "with"
    (re.compile(r"\bw ?/ ?o\b"), " without "),
    (re.compile(r"\bwwo\b|\+ ?/ ?-|- ?/ ?\+|±"), " with without "),
    (re.compile(r"\bc ?/ ?(?=contr|gad|gd|km)"), " with "),
    (re.compile(r"\bs ?/ ?(?=contr|gad|gd|km)"), " without "),
    (re.compile(r"\bnon[ -]?(contrast|kontrast)\w*"), " noncontrast "),
    (re.compile(r"\b(contrast|kontrast)[ -]?(enhance\w*|verstark\w*)"), " ce "),
    (re.compile(r"\+ ?c\b|\bc ?\+"), " ce "),
    (re.compile(r"(?<!\S)-c(?!\S)|(?<!\S)c-(?!\S)"), " native "),
)
"""Written with signs, and what is read instead."""
_NO_AGENT_IDEOGRAPHS = re.compile("非造影|造影前|造影なし|平扫|単純")
_AGENT_IDEOGRAPHS = re.compile("造影|增强|増強")

_NO_NAME = _set("""
    unknown unk other unspecified specified available anonymized anonymised anonymous anon removed redacted deidentified
""")
_NONE_NAMED = _set("none nil n no not non false nessuno ninguno aucun nenhum geen ingen kein")
_GIVEN = _set("given used administered applied gegeben agent bolus")
_NO_DOSE = re.compile(r"\s*0+([.,]0+)?(?![\d.,])\D*")


@lru_cache(maxsize=64)  # the instances of a series have the same texts
def agent_said(text: str) -> bool | None:
    """Tell whether a description says that a contrast agent had been given; None where it does not say.

    Parameters
    ----------
    text
        Such as a Series Description.
    """
    without_negatives = _NO_AGENT_IDEOGRAPHS.sub(" ", text)
    found = {False} if without_negatives != text else set()
    if _AGENT_IDEOGRAPHS.search(without_negatives):
        found.add(True)
    said = plain(text)
    for sign, reading in _SIGNS:
        said = sign.sub(reading, said)
    spoken = _NOT_ABOUT_AGENTS.sub(" ", " ".join(words(said))).split()
    found |= _in_words([word for word in spoken if word not in _AND])
    if True in found and _OVER_TIME & set(spoken):
        return None
    return found.pop() if len(found) == 1 else None


def _in_words(spoken: list[str]) -> set[bool]:
    found: set[bool] = set()
    for place, word in enumerate(spoken):
        pair = {word, *spoken[place + 1 : place + 2]}
        if pair & _WITH and pair & _WITHOUT:
            return {True, False}
        before = _preposition(spoken[:place])
        if word in _NATIVE or word == "pre" or (word in _AT_END and place == len(spoken) - 1):
            found.add(False)
        elif word == "post":
            found.add(True)
        elif word in _AGENTS or (word in _AGENTS_BESIDE and before in _WITH | _WITHOUT):
            found.add(before not in _WITHOUT)
    return found


def _preposition(before: list[str]) -> str:
    """Return what stands before an agent, past what may be between."""
    between = _BETWEEN | _AGENTS | _AGENTS_BESIDE
    return next((word for word in reversed(before) if word not in between), "")


def agent_named(text: str) -> bool | None:
    """Tell whether a value of Contrast/Bolus Agent names an agent; False for "NO" and the like, None for no name.

    Parameters
    ----------
    text
        Of the attribute, or the meaning of a code.
    """
    spoken = words(text)
    if _NO_DOSE.fullmatch(text):
        return False
    if not spoken or spoken == ("n", "a") or _NO_NAME & set(spoken):
        return None
    if spoken[0] in _NONE_NAMED and set(spoken[1:]) <= _AGENTS | _AGENTS_BESIDE | _GIVEN:
        return False
    return agent_said(text) is not False
