"""The published A-score, faults included: "abnormal" is read as no, and the article "a" as option A.

What the paper's numbers were made with (arXiv 2604.15808), rewritten from its description; no score of ours uses it.
"""

import re

from benchmark.items import AnswerType

_FINAL = re.compile(r"therefore, the final answer is:", re.IGNORECASE)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)


def published_answer_text(text: str, *, is_volume: bool) -> str:
    """Return what the published scores read of an output: no thoughts, and of volumes what follows the set phrase.

    Parameters
    ----------
    text
        The whole output.
    is_volume
        Whether the question is about a volume; of an image everything is read.
    """
    plain = _THOUGHT.sub("", text).strip()
    return _FINAL.split(plain)[-1].strip() if is_volume else plain


def published_a_score(prediction: str, truth: str, answer_type: AnswerType) -> float:
    """Return the published A-score of one answer, 0 to 1.

    Parameters
    ----------
    prediction, truth
        Text of the answer, and of the truth.
    answer_type
        Anything but open-ended: the paper reports no A-score of those.

    Raises
    ------
    ValueError
        For an open-ended answer.
    """
    if answer_type is AnswerType.OPEN:
        raise ValueError("an open-ended answer has no published A-score; its text is scored by AR")
    if answer_type is AnswerType.CLOSED:
        return float(_closed(prediction, truth))
    said, right = published_letters(prediction), published_letters(truth)
    if not said or not right:
        return 0.0
    if answer_type is AnswerType.SINGLE:
        return float(min(said) == min(right))
    shared = len(said & right)
    return 2 * shared / (len(said) + len(right))


def _closed(prediction: str, truth: str) -> bool:
    said, right = published_yes_no(prediction), published_yes_no(truth)
    if said is not None and right is not None:
        return said == right
    number = published_number(truth)
    return number is not None and published_number(prediction) == number


_FIRST_WORD = {"yes": True, "y": True, "no": False, "n": False}
_DECLARED = re.compile(r"(?:my|the) answer is\W*(yes|no)\b", re.IGNORECASE)


def published_yes_no(text: str) -> bool | None:
    """Read yes or no as published: first word, set phrase, then any substring, so that "abnormal" is a no."""
    lowered = text.lower()
    words = lowered.split()
    first = re.sub(r"\W", "", words[0]) if words else ""
    if first in _FIRST_WORD:
        return _FIRST_WORD[first]
    declared = _DECLARED.search(lowered)
    if declared:
        return declared[1] == "yes"
    has_yes, has_no = "yes" in lowered, "no" in lowered
    return has_yes if has_yes != has_no else None


_MOST_DIGITS = 1000
_NONE = re.compile(r"\bno\b.*\b(?:abnormal\w*|findings?)\b|\bnone\b|\bzero\b", re.IGNORECASE | re.DOTALL)


def published_number(text: str) -> int | None:
    """Read a whole number as published: the *last* one of the text, so that "3 findings on Frames 1-16" is 16."""
    plain = text.strip()
    if re.fullmatch(r"[+-]?[0-9]+", plain):
        return _whole(plain)
    declared = re.search(r"final answer is:?\s*([0-9]+)", plain, re.IGNORECASE)
    if declared:
        return _whole(declared[1])
    numbers = re.findall(r"\b[0-9]+\b", plain)
    if numbers:
        return _whole(numbers[-1])
    return 0 if _NONE.search(plain) else None


def _whole(digits: str) -> int | None:
    """Return a number; None of one that Python refuses to convert, as of a model that repeats a digit for ever."""
    return int(digits) if len(digits) <= _MOST_DIGITS else None


_EXCLUDED = re.compile(r"\bit is not \([a-d]\)[^.]*\.?", re.IGNORECASE)


def published_letters(text: str) -> frozenset[str]:
    """Read option letters as published: in parentheses, else standing alone, so that the article "a" is option A."""
    plain = _EXCLUDED.sub("", text)
    letters = re.findall(r"\(([A-Da-d])\)", plain) or re.findall(r"\b([A-Da-d])\b", plain)
    return frozenset(letter.upper() for letter in letters)
