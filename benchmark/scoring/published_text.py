"""The published AR-score: a judge's opinion and three text measures, mixed by fixed weights, faults included.

The judge sees neither question nor image, a judge that fails counts as 0, and where there is none the text measures
stand alone. What the paper's numbers were made with (arXiv 2604.15808), rewritten from its description.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from nltk.stem.porter import PorterStemmer
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize

from sgmri.errors import ConfigError

JUDGE_WEIGHT = 0.4
TEXT_WEIGHT = 0.6
"""Shared alike by the text measures that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMeasures:
    """How alike two texts are, each 0 to 1 (BERTScore may be negative, for it is rescaled).

    Parameters
    ----------
    bleu
        Lower-cased words between spaces; counts of 0 are smoothed to 0.1 (NLTK's method 1).
    rouge_l
        F1 of the longest common subsequence of word stems.
    bert
        BERTScore F1, rescaled; None where it was not computed.
    """

    bleu: float
    rouge_l: float
    bert: float | None = None

    @property
    def present(self) -> tuple[float, ...]:
        """Those that there are."""
        measured = (self.bert, self.bleu, self.rouge_l)
        return tuple(value for value in measured if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """Marks of a judge, 1 to 10 each: accuracy, relevance, helpfulness.

    Parameters
    ----------
    candidate
        Of the output; None where the judge failed.
    reference
        Of the reference, held against itself.
    """

    candidate: tuple[int, int, int] | None
    reference: tuple[int, int, int] = (10, 10, 10)

    @property
    def published(self) -> float:
        """Marks of the candidate over those of the reference, 1 at most; 0 where the judge failed."""
        return 0.0 if self.candidate is None else min(1.0, sum(self.candidate) / sum(self.reference))


def published_ar_score(measures: TextMeasures, opinion: Opinion | None) -> float:
    """Return the published AR-score.

    Parameters
    ----------
    measures
        Of the output against the reference answer.
    opinion
        The judge's; None where no judge was asked, and the text measures then stand alone.
    """
    text = sum(measures.present) / len(measures.present)
    return text if opinion is None else JUDGE_WEIGHT * opinion.published + TEXT_WEIGHT * text


def measure(candidate: str, reference: str) -> TextMeasures:
    """Compare an output with the reference answer; an empty output has nothing in common with it."""
    if not candidate.strip():
        return TextMeasures(bleu=0.0, rouge_l=0.0)
    words, wanted = candidate.lower().split(), reference.lower().split()
    bleu = float(sentence_bleu([wanted], words, smoothing_function=SmoothingFunction().method1))
    return TextMeasures(bleu=bleu, rouge_l=rouge_l(candidate, reference))


def rouge_l(candidate: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of word stems, 0 to 1."""
    return float(_ROUGE.score(reference, candidate)["rougeL"].fmeasure)


class _Stems:
    """Words to their stems by Porter's rules; the words are few and come again and again, the rules are slow."""

    stem = staticmethod(cache(PorterStemmer().stem))

    def tokenize(self, text: str) -> list[str]:
        """Return the stems of a text."""
        stems: list[str] = tokenize(text, self)
        return stems


_ROUGE = RougeScorer(["rougeL"], tokenizer=_Stems())


def bert_scores(candidates: Sequence[str], references: Sequence[str]) -> list[float]:
    """Return rescaled BERTScore F1 of every pair.

    Raises
    ------
    ConfigError
        If the package is not installed; its model is then not at hand either.
    """
    try:
        from bert_score import score
    except ImportError:
        raise ConfigError(
            "expected the package bert-score, found none; pip install bert-score, or leave --bert-score out"
        ) from None
    _, _, f1 = score(list(candidates), list(references), lang="en", rescale_with_baseline=True)
    return [float(value) for value in f1]


_PLACES = re.compile(
    r"<bbo?x\w*>[^<]*</bbo?x\w*>|\[\s*-?[0-9.]+(?:\s*,\s*-?[0-9.]+){3}\s*\]|\bFrames?\s+[0-9]+(?:\s*[-–,]\s*[0-9]+)*\s*[:,-]?",
    re.IGNORECASE,
)


def without_places(text: str) -> str:
    """Return a text without boxes and frame numbers, as the published score compares localizations."""
    return " ".join(_PLACES.sub(" ", text).split())
