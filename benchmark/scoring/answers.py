"""Every score of every answer of a run: what the paper would say of it, and what we say."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.items import AnswerType, Item, Level, Prediction, Task
from benchmark.scoring.judge import Judge
from benchmark.scoring.published_boxes import WrittenBox, published_runner_boxes, published_v_score
from benchmark.scoring.published_text import (
    Opinion,
    TextMeasures,
    bert_scores,
    measure,
    published_ar_score,
    without_places,
)
from benchmark.scoring.published_values import published_a_score, published_answer_text
from benchmark.scoring.strict import Strict, strict_score
from worker.engine.profiles import PromptProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """One answer and its scores.

    Parameters
    ----------
    item, prediction
        Question, truth and answer.
    published
        Name of a published score (A, V, AR) -> its value; V is missing where there is no truth.
    strict
        Ours.
    """

    item: Item
    prediction: Prediction
    published: Mapping[str, float]
    strict: Strict


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """What texts are compared with beside BLEU and ROUGE-L.

    Parameters
    ----------
    judge
        A model that gives marks; None: none is asked.
    bert
        Whether BERTScore is computed.
    """

    judge: Judge | None = None
    bert: bool = False


def score_answers(
    items: Iterable[Item], predictions: Mapping[str, Prediction], profile: PromptProfile, options: TextOptions
) -> list[ScoredAnswer]:
    """Score every answer that there is.

    Parameters
    ----------
    items
        The questions, with their truth; those without an answer are left out.
    predictions
        By item id.
    profile
        The one that the model was asked in.
    options
        Of the text measures.

    Raises
    ------
    ConfigError
        If a measure that was asked for is not installed.
    """
    pairs = [(item, predictions[item.item_id]) for item in items if item.item_id in predictions]
    texts = [_texts(item, said) for item, said in pairs]
    measures = _measured(texts, with_bert=options.bert)
    opinions = _opinions(texts, options.judge)
    return [
        ScoredAnswer(
            item=item,
            prediction=said,
            published=_published(item, said, None if text is None else (one, opinion)),
            strict=strict_score(item, said, profile),
        )
        for (item, said), text, one, opinion in zip(pairs, texts, measures, opinions, strict=True)
    ]


_Texts = tuple[str, str] | None
"""Output and reference as AR compares them; None where it does not."""


def _texts(item: Item, said: Prediction) -> _Texts:
    if item.task not in (Task.LOCALIZATION, Task.CAPTIONING):
        return None
    # The whole output against the answer alone: the reference's reasoning is never used
    candidate = published_answer_text(said.text, is_volume=False)
    if item.task is Task.LOCALIZATION:
        return without_places(candidate), without_places(item.answer)
    return candidate, item.answer


def _measured(texts: Sequence[_Texts], *, with_bert: bool) -> list[TextMeasures]:
    found = [TextMeasures(bleu=0.0, rouge_l=0.0) if pair is None else measure(*pair) for pair in texts]
    if with_bert:
        places = [place for place, pair in enumerate(texts) if pair is not None]
        pairs = [pair for pair in texts if pair is not None]
        values = bert_scores([said for said, _ in pairs], [wanted for _, wanted in pairs])
        for place, value in zip(places, values, strict=True):
            found[place] = replace(found[place], bert=value)
    return found


def _opinions(texts: Sequence[_Texts], judge: Judge | None) -> Iterator[Opinion | None]:
    if judge is None:
        return iter([None] * len(texts))
    return iter(judge.opinions(texts))


def _published(item: Item, said: Prediction, text: tuple[TextMeasures, Opinion | None] | None) -> dict[str, float]:
    is_volume = item.level is Level.VOLUME
    answer = published_answer_text(said.text, is_volume=is_volume)
    scores: dict[str, float] = {}
    if item.answer_type is not AnswerType.OPEN:
        scores["A"] = published_a_score(answer, item.answer, item.answer_type)
    if item.task is Task.LOCALIZATION:
        truth = [
            WrittenBox(frame_number=box.frame_number, x=box.x, y=box.y, width=box.width, height=box.height)
            for box in item.boxes
        ]
        scored = published_v_score(truth, published_runner_boxes(answer, item.anatomy), is_volume=is_volume)
        if scored is not None:
            scores["V"] = scored.v
    if text is not None:
        scores["AR"] = published_ar_score(*text)
    return scores
