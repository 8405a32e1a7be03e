"""How many answers a bag of words guesses without an image: what the wording of a benchmark gives away.

For each kind of question with a closed or lettered answer, softmax regression over the words of question and options
is fitted on the train split and asked on the test split. Beside it stands the majority: always the answer that is the
most frequent in train. A benchmark whose texts give nothing away has both alike.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from benchmark.items import AnswerType, Counted, Item, Level, Split, Task
from sgmri.volume import Anatomy

_WORD = re.compile(r"[a-z0-9]+")
_PENALTY = 1.0
"""Strength of the L2 penalty on weights, for the sum over items."""
_ROUNDS = 100
Kind = tuple[Anatomy, Level, Task, AnswerType, Counted | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """What the words of one kind of question give away.

    A choice of one and a choice of several are two kinds: which it is, the question says and may say.

    Parameters
    ----------
    anatomy, level, task, answer_type, counted
        The kind; ``counted`` is None but for counting.
    tested
        Items of the test split.
    majority, probe
        Share that is right, 0 to 1.

    """

    anatomy: Anatomy
    level: Level
    task: Task
    answer_type: AnswerType
    counted: Counted | None
    tested: int
    majority: float
    probe: float


def shortcuts(items: Iterable[Item]) -> list[Shortcut]:
    """Return what the words of every kind of question give away, in the order of anatomy, level and task."""
    kinds: defaultdict[Kind, list[tuple[Split, str, str]]] = defaultdict(list)
    for item in items:
        if is_closed(item):
            kinds[kind_of(item)].append((item.split, words_of(item), item.answer))
    found = []
    for kind in sorted(kinds, key=lambda kind: tuple(map(str, kind))):
        train = [(text, answer) for split, text, answer in kinds[kind] if split is Split.TRAIN]
        test = [(text, answer) for split, text, answer in kinds[kind] if split is Split.TEST]
        if train and test:
            anatomy, level, task, answer_type, counted = kind
            majority, probe = _shares(train, test)
            found.append(
                Shortcut(
                    anatomy=anatomy,
                    level=level,
                    task=task,
                    answer_type=answer_type,
                    counted=counted,
                    tested=len(test),
                    majority=majority,
                    probe=probe,
                )
            )
    return found


def is_closed(item: Item) -> bool:
    """Tell whether an item has one of a few answers, which could be guessed."""
    return item.is_choice or item.task in (Task.DETECTION, Task.COUNTING)


def kind_of(item: Item) -> Kind:
    """Return which questions an item is compared with."""
    return item.anatomy, item.level, item.task, item.answer_type, item.counted


def words_of(item: Item) -> str:
    """Return what a guesser reads of an item: question and options."""
    return " ".join((item.question, *item.options)).lower()


def _shares(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]) -> tuple[float, float]:
    majority, said = guesses(train, [text for text, _ in test])
    truth = [answer for _, answer in test]
    right = sum(one == answer for one, answer in zip(said, truth, strict=True))
    return truth.count(majority) / len(test), right / len(test)


def guesses(train: Sequence[tuple[str, str]], texts: Sequence[str]) -> tuple[str, list[str]]:
    """Return the most frequent answer of the training questions, and what their words make of other questions.

    Parameters
    ----------
    train
        Text of a question with its options (:func:`words_of`), and its answer.
    texts
        Texts of the other questions.
    """
    answers = [answer for answer, _ in Counter(answer for _, answer in train).most_common()]
    words = sorted({word for text, _ in train for word in _WORD.findall(text)})
    place = {word: index for index, word in enumerate(words)}
    weights = _fitted(_counts([text for text, _ in train], place), [answers.index(answer) for _, answer in train])
    return answers[0], [answers[index] for index in (_counts(texts, place) @ weights).argmax(axis=1)]


def _counts(texts: Sequence[str], place: dict[str, int]) -> csr_array:
    """Return which words a text has: float64 (texts, words + 1), the last column always 1."""
    rows, columns = [], []
    for row, text in enumerate(texts):
        here = {place[word] for word in _WORD.findall(text) if word in place} | {len(place)}
        rows += [row] * len(here)
        columns += sorted(here)
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(place) + 1))


def _fitted(features: csr_array, answers: Sequence[int]) -> NDArray[np.float64]:
    """Return the weights of a softmax regression: float64 (words + 1, answers)."""
    shape = features.shape[1], max(answers) + 1
    wanted = np.eye(shape[1])[answers]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(shape)
        scores = features @ weights
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        total = chances.sum(axis=1, keepdims=True)
        value = float((np.log(total[:, 0]) - (scores * wanted).sum(axis=1)).sum())
        value += _PENALTY / 2 * float((weights**2).sum())
        slope = features.T @ (chances / total - wanted) + _PENALTY * weights
        return value, slope.ravel()

    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _ROUNDS})
    fitted: NDArray[np.float64] = found.x.reshape(shape)
    return fitted
