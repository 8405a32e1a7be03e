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
from benchmark.metrics import Interval, bootstrap_mean
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
    gain
        The probe's share less the majority's, with its range over resampled volumes: what of it may be chance.
    option
        Share that is right, 0 to 1, by always taking the option that is right most often where it is offered; None but
        for a single choice. It knows how frequent findings are, which no order of options hides.

    """

    anatomy: Anatomy
    level: Level
    task: Task
    answer_type: AnswerType
    counted: Counted | None
    tested: int
    majority: float
    probe: float
    gain: Interval
    option: float | None


def shortcuts(items: Iterable[Item]) -> list[Shortcut]:
    """Return what the words of every kind of question give away, in the order of anatomy, level and task."""
    kinds = by_kind(items)
    found = []
    for kind in sorted(kinds, key=lambda kind: tuple(map(str, kind))):
        train = [item for item in kinds[kind] if item.split is Split.TRAIN]
        test = [item for item in kinds[kind] if item.split is Split.TEST]
        if train and test:
            anatomy, level, task, answer_type, counted = kind
            majority, probe, gain = _shares(train, test)
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
                    gain=gain,
                    option=_by_option(train, test) if answer_type is AnswerType.SINGLE else None,
                )
            )
    return found


def by_kind(items: Iterable[Item]) -> dict[Kind, list[Item]]:
    """Group the items that have one of a few answers by the kind of question."""
    kinds: defaultdict[Kind, list[Item]] = defaultdict(list)
    for item in items:
        if item.is_choice or item.task in (Task.DETECTION, Task.COUNTING):
            kinds[item.anatomy, item.level, item.task, item.answer_type, item.counted].append(item)
    return kinds


def _shares(train: Sequence[Item], test: Sequence[Item]) -> tuple[float, float, Interval]:
    majority, said = guesses(train, test)
    most = np.array([item.answer == majority for item in test], float)
    right = np.array([one == item.answer for one, item in zip(said, test, strict=True)], float)
    gain = bootstrap_mean((right - most).tolist(), [item.volume_id for item in test])
    return float(most.mean()), float(right.mean()), gain


def guesses(train: Sequence[Item], test: Sequence[Item]) -> tuple[str, list[str]]:
    """Return the most frequent answer to the training questions, and what their words make of the test questions.

    Parameters
    ----------
    train, test
        Items of one kind.
    """
    answers = [answer for answer, _ in Counter(item.answer for item in train).most_common()]
    words = sorted({word for item in train for word in _words(item)})
    place = {word: index for index, word in enumerate(words)}
    weights = _fitted(_features(train, place), [answers.index(item.answer) for item in train])
    said = (_features(test, place) @ weights).argmax(axis=1)
    return answers[0], [answers[index] for index in said]


def _by_option(train: Sequence[Item], test: Sequence[Item]) -> float:
    offered = Counter(option for item in train for option in item.options)
    right = Counter(_right(item) for item in train)
    guessed = (max(item.options, key=lambda option: right[option] / max(offered[option], 1)) for item in test)
    return sum(guess == _right(item) for guess, item in zip(guessed, test, strict=True)) / len(test)


def _right(item: Item) -> str:
    return item.lettered_options[item.letters[0]]


def _words(item: Item) -> set[str]:
    return set(_WORD.findall(" ".join((item.question, *item.options)).lower()))


def _features(items: Sequence[Item], place: dict[str, int]) -> csr_array:
    """Return which words an item has: float64 (items, words + 1), the last column always 1."""
    rows, columns = [], []
    for row, item in enumerate(items):
        here = [*sorted(place[word] for word in _words(item) if word in place), len(place)]
        rows += [row] * len(here)
        columns += here
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(items), len(place) + 1))


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
