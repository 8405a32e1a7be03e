"""Yes or no, a number, the chosen options: a value is read only where it is said plainly."""

import re

from sgmri.errors import UnparsableAnswer
from sgmri.questions import NONE_OF_THESE, Presence, Question, QuestionKind
from worker.engine.said import Problem, Said, key


def value_of(said: Said, question: Question) -> tuple[Presence | None, int | None, tuple[str, ...]]:
    """Return presence, count and chosen options, as far as the question's kind has them and they are said."""
    match question.kind:
        case QuestionKind.DETECTION:
            return _presence(said.answer.lower(), said.elsewhere.lower()), None, ()
        case QuestionKind.COUNTING:
            return None, _count(said.answer.lower()), ()
        case QuestionKind.CLASSIFICATION:
            return None, None, _chosen(said.answer, question.options)
        case _:
            return None, None, ()


_DECLARED = r"(?:\A|[.!?\n] ?)(?:(?:so|thus|therefore),? )?(?:(?:my|the) )?(?:final )?answer(?: is)? ?:? ?"
_YES_NO = re.compile(rf"(?:\A|{_DECLARED})(?:(yes)(?![\w-])|(no)(?= ?[.,;:!\n]|\Z))", re.ASCII)
_LATER_NO = re.compile(r"[.!?\n] ?no(?= ?[.,;:!\n]|\Z)")
_HEDGE = re.compile(r"\b(?:cannot|can't|unable|unclear|undetermined|indeterminate|uncertain|unsure|not sure|maybe)\b")
_ECHO = re.compile(r"\byes ?(?:or|/) ?no\b|\bno ?(?:or|/) ?yes\b")
_OPEN = ("undetermined", "indeterminate", "uncertain")


def _presence(answer: str, elsewhere: str) -> Presence | None:
    """Read yes or no where it stands as a statement: "no" before a noun, and half a "no", are none."""
    if answer.rstrip(".") in _OPEN:
        return Presence.UNDETERMINED
    if _ECHO.search(answer):
        return None
    said, other = _verdicts(answer), _verdicts(elsewhere)
    denied = "no" in said and re.search(r"\byes\b", answer)
    if len(said) > 1 or denied or len(said | other) > 1 or ("yes" in said and _LATER_NO.search(answer)):
        raise UnparsableAnswer(Problem.CONTRADICTION)
    if not said or ("no" in said and _HEDGE.search(answer)):
        return None
    return Presence.PRESENT if "yes" in said else Presence.ABSENT


def _verdicts(text: str) -> set[str]:
    return {yes or no for yes, no in _YES_NO.findall(text)}


_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_COUNTED = re.compile(
    rf"(?:\A|{_DECLARED}|\btotal\b[^.\n0-9]{{0,60}}?[:=] ?|\bthere (?:is|are) )"
    rf"([0-9]{{1,4}}|{'|'.join(_WORDS)})(?![\w%-])(?![.,][0-9])(?! ?(?:[-–/]|to\b|or\b|mm\b|cm\b))",
    re.ASCII,
)


def _count(answer: str) -> int | None:
    """Read the number that is declared; an enumeration is none."""
    if re.match(r"1[.)]", answer) and re.search(r"\n2[.)]", answer):
        return None
    numbers = {_WORDS.index(word) if word in _WORDS else int(word) for word in _COUNTED.findall(answer)}
    if len(numbers) > 1:
        raise UnparsableAnswer(Problem.CONTRADICTION)
    return numbers.pop() if numbers else None


_LETTERS = re.compile(r"[A-Z](?: ?(?:[,;&]|and) ?[A-Z])*\.?")
_EXCLUDING = re.compile(r"\b(?:not|no|nor|or|neither|except|unlike|rather|absent|excluded|without)\b", re.IGNORECASE)


def _chosen(answer: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """Read letters in parentheses or alone, or options word for word."""
    answer = re.sub(rf"\A{_DECLARED}", "", answer, flags=re.IGNORECASE)
    by_key = {key(option): option for option in options}
    parts = [key(part) for part in answer.split(";")]
    if all(part in by_key for part in parts):
        return _consistent(tuple(dict.fromkeys(by_key[part] for part in parts)))
    first, *others = re.split(r"\.(?: |\Z)|\n", answer)
    if _LETTERS.fullmatch(first):
        letters = re.findall(r"[A-Z]", first)
    elif _EXCLUDING.search(re.sub("|".join(map(re.escape, options)) or r"\Z", "", first)):
        return ()
    else:
        letters = re.findall(r"\(([A-Z])\)", first)
    places = [ord(letter) - ord("A") for letter in letters]
    if not places or max(places) >= len(options):
        return ()
    later = {letter for part in others if not _EXCLUDING.search(part) for letter in re.findall(r"\(([A-Z])\)", part)}
    named = {option for option in options if key(option) in key(first)}
    chosen = tuple(dict.fromkeys(options[place] for place in places))
    if later - set(letters) or not all(any(name in option for option in chosen) for name in named):
        raise UnparsableAnswer(Problem.CONTRADICTION)
    return _consistent(chosen)


def _consistent(chosen: tuple[str, ...]) -> tuple[str, ...]:
    if NONE_OF_THESE in chosen and len(chosen) > 1:
        raise UnparsableAnswer(Problem.CONTRADICTION)
    return chosen
